package ahocorasick

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// After every byte the automaton says what a comparison with all patterns says.
func TestAgainstComparison(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abc"[random.IntN(3)]
		}
		return string(b)
	}
	for range 500 {
		patterns := []string{word(1 + random.IntN(5)), word(1 + random.IntN(3)), word(1 + random.IntN(8))}
		a, text, state := New(patterns), word(40), int32(0)
		for end := range text {
			state = a.Step(state, text[end])
			pattern, depth := int32(-1), 0
			for i, p := range patterns {
				if strings.HasSuffix(text[:end+1], p) && (pattern < 0 || len(p) > len(patterns[pattern])) {
					pattern = int32(i)
				}
				for n := range len(p) + 1 {
					if strings.HasSuffix(text[:end+1], p[:n]) {
						depth = max(depth, n)
					}
				}
			}
			require.Equal(t, pattern, a.Pattern(state), "%q in %q", patterns, text[:end+1])
			require.Equal(t, depth, a.Depth(state), "%q in %q", patterns, text[:end+1])
		}
	}
}
