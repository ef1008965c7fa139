package text

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

func TestStopper(t *testing.T) {
	for _, test := range []struct {
		stops  []string
		pieces []string
		texts  []string // after each piece, and at the end
		found  string
	}{
		{nil, []string{"a", "b"}, []string{"a", "b", ""}, ""},
		{[]string{""}, []string{"a", "b"}, []string{"a", "b", ""}, ""},
		{[]string{"\n\n"}, []string{"one\n", "two\n\nthree"}, []string{"one", "\ntwo"}, "\n\n"},
		{[]string{"\n\n"}, []string{"one\n", "\nthree"}, []string{"one", ""}, "\n\n"},
		{[]string{"\n\n"}, []string{"one\n", "two\n"}, []string{"one", "\ntwo", "\n"}, ""},
		{
			[]string{"User:"},
			[]string{"Hi. U", "s", "U", "se", "r", ": what"},
			[]string{"Hi. ", "", "Us", "", "", ""},
			"User:",
		},
		{[]string{"aab"}, []string{"a", "a", "a", "b"}, []string{"", "", "a", ""}, "aab"},
		{[]string{"abcd", "bc"}, []string{"xabcd"}, []string{"xa"}, "bc"},    // ends first
		{[]string{"c", "bc"}, []string{"ab", "cd"}, []string{"a", ""}, "bc"}, // end together: the longest
		{[]string{"über"}, []string{"ü", "bel ", "übe", "r"}, []string{"", "übel ", "", ""}, "über"},
		{[]string{"日本"}, []string{"日", "曜日", "x"}, []string{"", "日曜", "日x", ""}, ""},
	} {
		s := newStopper(test.stops)
		var texts []string
		var found string
		for _, piece := range test.pieces {
			var text string
			text, found = s.push(piece)
			texts = append(texts, text)
			if found != "" {
				break
			}
		}
		if found == "" {
			texts = append(texts, s.flush())
		}
		require.Equal(t, test.texts, texts, "%q in %q", test.stops, test.pieces)
		require.Equal(t, test.found, found)
	}
}

// However a text is cut into pieces, the stop is found at the same place, and no more is held back than has
// to be.
func TestStopperInPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	letters := []string{"a", "b", "é", "è"} // é and è share their first byte
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
	for range 5000 {
		stops := []string{word(1 + random.IntN(4)), word(2 + random.IntN(3))}
		text := word(random.IntN(30))
		// The reference looks at every beginning of the text.
		want, wantFound := text, ""
		for end := 1; end <= len(text) && wantFound == ""; end++ {
			for _, stop := range stops {
				if strings.HasSuffix(text[:end], stop) && len(stop) > len(wantFound) {
					want, wantFound = text[:end-len(stop)], stop
				}
			}
		}
		s := newStopper(stops)
		var got, found string
		for rest := text; rest != "" && found == ""; {
			cut := 0
			for range 1 + random.IntN(3) {
				_, size := utf8.DecodeRuneInString(rest[cut:])
				cut += size
			}
			var out string
			out, found = s.push(rest[:cut])
			rest = rest[cut:]
			got += out
			require.True(t, utf8.ValidString(out), "no half characters")
			held := s.held
			require.True(t, held == "" || strings.HasPrefix(stops[0], held) ||
				strings.HasPrefix(stops[1], held))
		}
		if found == "" {
			got += s.flush()
		}
		require.Equal(t, want, got, "%q in %q", stops, text)
		require.Equal(t, wantFound, found)
	}
}

// A stop text that nearly occurs everywhere costs no more time.
func TestStopperInLinearTime(t *testing.T) {
	race.SkipAlone(t)
	s := newStopper([]string{strings.Repeat("a", 1<<16) + "b"})
	start := time.Now()
	text, found := s.push(strings.Repeat("a", 1<<22))
	require.Empty(t, found)
	require.Len(t, text, 1<<22-1<<16)
	require.Less(t, time.Since(start), time.Minute)
}
