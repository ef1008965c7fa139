package cli

import (
	"context"
	"crypto/sha256"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

func TestRank(t *testing.T) {
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	logits := []float32{1, 3, 2, 3, -200}
	ranking := rank(tok, logits)
	ranked := ranking.first(100)
	var ids []int32
	var total, cumulative float64
	for _, l := range logits {
		total += math.Exp(float64(l))
	}
	for i, c := range ranked {
		ids = append(ids, c.ID)
		p := math.Exp(float64(logits[c.ID])) / total
		cumulative += p
		require.Equal(t, i+1, c.Rank)
		require.Equal(t, logits[c.ID], c.Logit)
		require.InDelta(t, p, c.Probability, 1e-12)
		require.InDelta(t, cumulative, c.Cumulative, 1e-12)
		alone := ranking.of(c.ID)
		require.InDelta(t, c.Cumulative, alone.Cumulative, 1e-12)
		alone.Cumulative = c.Cumulative
		require.Equal(t, c, alone)
	}
	require.Equal(t, ranked[:2], ranking.first(2))
	require.Equal(t, []int32{1, 3, 2, 0, 4}, ids, "equal logits in the order of their ids")
}

func TestFormats(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123",
		9.994: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 98765.4: "98765",
	} {
		require.Equal(t, want, digits(v))
	}
	require.Equal(t, "12.0 ms", duration(12))
	require.Equal(t, "1.50 s", duration(1500))
	require.Equal(t, "999 ms", duration(999.4))
	require.Equal(t, "1.00 s", duration(999.6))
	require.Equal(t, "99.87%", percent(0.99871))
	require.Equal(t, "1.4e-05%", percent(1.4e-7))
	require.Equal(t, "[ 1.0000, -0.5000,  0.0000, ..., 12.0000, -3.1416,  2.0000]",
		ends([]float32{1, -0.5, 0, 9, 12, -3.1415927, 2}))
	require.Equal(t, "[ 1.0000,  2.0000]", ends([]float32{1, 2}))
	require.Equal(t, "(none)", visible(""))
	require.Equal(t, []int{1, 2, 4, 8, 9}, rowLengths(9))
	require.Equal(t, []int{1}, rowLengths(1))
}

func TestSpread(t *testing.T) {
	require.Equal(t, spread{Mean: 5}, newSpread([]float64{5}), "one value spreads nowhere")
	s := newSpread([]float64{2, 4, 4, 4, 5, 5, 7, 9})
	require.InDelta(t, 5, s.Mean, 1e-12)
	require.InDelta(t, math.Sqrt(32.0/7), s.SD, 1e-12)
}

// A run is what watch would have seen of n tokens.
func run(n int) *generation {
	g := &generation{}
	for i := range n {
		g.ids = append(g.ids, int32(i))
		g.logits = append(g.logits, sha256.Sum256([]byte{byte(i)}))
		g.times = append(g.times, time.Duration(i+1)*time.Millisecond)
	}
	return g
}

// One planted difference between cached and uncached runs must fail the command and say where.
func TestComparisonFindsDifferences(t *testing.T) {
	c := comparison{IdenticalTokens: true, IdenticalLogits: true}
	c.check(run(5), run(5))
	require.NoError(t, c.differs)
	require.True(t, c.IdenticalTokens && c.IdenticalLogits)

	bad := run(5)
	bad.logits[3][0] ^= 1
	c.check(run(5), bad)
	require.EqualError(t, c.differs, "the logits of token 4 differ with and without the KV cache: this is a bug")
	require.True(t, c.IdenticalTokens)
	require.False(t, c.IdenticalLogits)

	c = comparison{IdenticalTokens: true, IdenticalLogits: true}
	bad = run(5)
	bad.ids[4] = 9
	c.check(run(5), bad)
	require.ErrorContains(t, c.differs, "the tokens differ")
	require.False(t, c.IdenticalTokens)
	require.True(t, c.IdenticalLogits)
	c.check(run(5), run(5))
	require.Error(t, c.differs, "a later good run hides nothing")

	c = comparison{IdenticalTokens: true, IdenticalLogits: true}
	c.check(run(5), run(4))
	require.ErrorContains(t, c.differs, "the tokens differ")
}

// The command fails, and the result that shows why is written all the same.
func TestComparisonFailsTheCommand(t *testing.T) {
	for output, want := range map[string]string{
		"md": "identical logits: NO", "csv": "true,false\n",
		"json": `"identical_logits": false`,
	} {
		f := benchFlags{output: output}
		c := &comparison{benchAbout: benchAbout{Gen: 4}, IdenticalTokens: true, IdenticalLogits: true}
		bad := run(4)
		bad.logits[0][31] ^= 1
		c.check(run(4), bad)
		c.fill([]*generation{run(4)}, []*generation{bad})
		var text strings.Builder
		require.EqualError(t, f.write(&text, c),
			"the logits of token 1 differ with and without the KV cache: this is a bug")
		require.Contains(t, text.String(), want)
	}
}

// The sums of bench --no-cache, on times that are known.
func TestComparisonRows(t *testing.T) {
	cached, uncached := run(4), run(4)
	for i := range uncached.times {
		uncached.times[i] *= 3
	}
	c := comparison{benchAbout: benchAbout{Gen: 4}}
	c.fill([]*generation{cached}, []*generation{uncached})
	require.Len(t, c.Lengths, 3)
	last := c.Lengths[2]
	require.Equal(t, 4, last.Generated)
	require.InDelta(t, 4/0.010, last.CachedRate.Mean, 1e-6, "four tokens in 1+2+3+4 ms")
	require.InDelta(t, 3.5, last.CachedMS.Mean, 1e-9, "tokens 3 and 4 took 3 and 4 ms")
	require.InDelta(t, 10.5, last.UncachedMS.Mean, 1e-9)
	require.InDelta(t, 3, last.SpeedUp.Mean, 1e-9)
	require.Zero(t, c.Lengths[0].CachedMS, "the first token is all prefill")
	var text strings.Builder
	require.NoError(t, c.markdown(&text))
	require.Contains(t, text.String(), "| 1 | 1000 ± 0.00 | 333 ± 0.00 | – | – | 3.00× |")
	require.Contains(t, text.String(), "identical logits: NO")
}

// The table of verify fills a terminal and does not break its lines while there is any room.
func TestVerifyWidths(t *testing.T) {
	wide := []int{7, 46, 4, 28, 28}
	require.Equal(t, wide, verifyWidths(0), "no terminal")
	require.Equal(t, wide, verifyWidths(200))
	for _, terminal := range []int{80, 100, 120, 150, 151, 152} {
		total := 28 + 5*2
		for _, width := range verifyWidths(terminal) {
			total += width
		}
		require.LessOrEqual(t, total, terminal)
		require.GreaterOrEqual(t, total, min(terminal, 151)-1)
	}
	require.Equal(t, []int{7, 10, 4, 10, 10}, verifyWidths(20))
}

// --token means a word as it stands in a text, where that is one token.
func TestNamedTokens(t *testing.T) {
	raw, err := os.ReadFile("../tokenizer/testdata/cl100k.json")
	require.NoError(t, err)
	tok, err := tokenizer.Load(fstest.MapFS{"tokenizer.json": {Data: raw}})
	require.NoError(t, err)
	var said strings.Builder
	s := &streams{err: show.NewWriter(&said)}
	ids, err := namedTokens(context.Background(), s, tok, []string{"capital", " world"})
	require.NoError(t, err)
	require.Equal(t, " capital", tok.Piece(ids[0]))
	require.Equal(t, " world", tok.Piece(ids[1]))
	require.Equal(t, "note: --token \"capital\" is 2 tokens; with a blank before it, it is one, and that "+
		"is shown\n", said.String())
	_, err = namedTokens(context.Background(), s, tok, []string{"capital world"})
	require.ErrorContains(t, err, "name one of them")
	said.Reset()
	_, _ = namedTokens(context.Background(), s, tok, []string{"\xff"})
	require.Equal(t, "warning: --token is not valid UTF-8; what is not a character is read as U+FFFD\n",
		said.String())
}

// A token beyond the model's embeddings is refused with its name, before the model runs.
func TestPromptBeyondVocabulary(t *testing.T) {
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	_, ids, err := new(promptFlags).encode(context.Background(), tok, "The capital", 10, 304)
	require.NoError(t, err)
	require.Equal(t, []int32{303, 288}, ids)
	_, _, err = new(promptFlags).encode(context.Background(), tok, "The capital", 10, 303)
	require.ErrorContains(t, err, `the prompt has the token "▁The" with id 303, and the model has embeddings for ids below 303: the tokenizer's files`)
}
