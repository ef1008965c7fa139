package bench

import (
	"crypto/sha256"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	require.Equal(t, Spread{Mean: 5}, newSpread([]float64{5}), "one value spreads nowhere")
	s := newSpread([]float64{2, 4, 4, 4, 5, 5, 7, 9})
	require.InDelta(t, 5, s.Mean, 1e-12)
	require.InDelta(t, math.Sqrt(32.0/7), s.SD, 1e-12)
}

// runOf returns what record would have returned for n tokens.
func runOf(n int) *run {
	g := &run{}
	for i := range n {
		g.ids = append(g.ids, int32(i))
		g.logits = append(g.logits, sha256.Sum256([]byte{byte(i)}))
		g.times = append(g.times, time.Duration(i+1)*time.Millisecond)
	}
	return g
}

// A difference between a cached and an uncached run is found, and its place is named.
func TestComparisonFindsDifferences(t *testing.T) {
	c := Comparison{IdenticalTokens: true, IdenticalLogits: true}
	c.check(runOf(5), runOf(5))
	require.NoError(t, c.differs)
	require.True(t, c.IdenticalTokens && c.IdenticalLogits)

	bad := runOf(5)
	bad.logits[3][0] ^= 1
	c.check(runOf(5), bad)
	require.EqualError(t, c.differs,
		"the logits of token 4 differ with and without the KV cache: this is a bug")
	require.True(t, c.IdenticalTokens)
	require.False(t, c.IdenticalLogits)

	c = Comparison{IdenticalTokens: true, IdenticalLogits: true}
	bad = runOf(5)
	bad.ids[4] = 9
	c.check(runOf(5), bad)
	require.ErrorContains(t, c.differs, "the tokens differ")
	require.False(t, c.IdenticalTokens)
	require.True(t, c.IdenticalLogits)
	c.check(runOf(5), runOf(5))
	require.Error(t, c.differs, "a later good run hides nothing")

	c = Comparison{IdenticalTokens: true, IdenticalLogits: true}
	c.check(runOf(5), runOf(4))
	require.ErrorContains(t, c.differs, "the tokens differ")
}

// On a difference, the result is written and the command fails.
func TestComparisonFailsTheCommand(t *testing.T) {
	for output, want := range map[string]string{
		"md": "identical logits: NO", "csv": "true,false\n",
		"json": `"identical_logits": false`,
	} {
		c := &Comparison{About: About{Gen: 4}, IdenticalTokens: true, IdenticalLogits: true}
		bad := runOf(4)
		bad.logits[0][31] ^= 1
		c.check(runOf(4), bad)
		c.fill([]*run{runOf(4)}, []*run{bad})
		var text strings.Builder
		require.EqualError(t, Write(&text, c, output),
			"the logits of token 1 differ with and without the KV cache: this is a bug")
		require.Contains(t, text.String(), want)
	}
}

// The rows of a comparison of known times.
func TestComparisonRows(t *testing.T) {
	cached, uncached := runOf(4), runOf(4)
	for i := range uncached.times {
		uncached.times[i] *= 3
	}
	c := Comparison{About: About{Gen: 4}}
	c.fill([]*run{cached}, []*run{uncached})
	require.Len(t, c.Lengths, 3)
	last := c.Lengths[2]
	require.Equal(t, 4, last.Generated)
	require.InDelta(t, 4/0.010, last.CachedRate.Mean, 1e-6, "four tokens in 1+2+3+4 ms")
	require.InDelta(t, 3.5, last.CachedMS.Mean, 1e-9, "tokens 3 and 4 took 3 and 4 ms")
	require.InDelta(t, 10.5, last.UncachedMS.Mean, 1e-9)
	require.InDelta(t, 3, last.SpeedUp.Mean, 1e-9)
	require.Zero(t, c.Lengths[0].CachedMS, "the first token is all prefill")
	require.Contains(t, c.markdown(), "| 1 | 1000 ± 0.00 | 333 ± 0.00 | – | – | 3.00× |")
	require.Contains(t, c.markdown(), "identical logits: NO")
}

func TestRowLengths(t *testing.T) {
	require.Equal(t, []int{1, 2, 4, 8, 9}, rowLengths(9))
	require.Equal(t, []int{1}, rowLengths(1))
}
