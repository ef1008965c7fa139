package cli

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

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
	require.Equal(t, "99.87%", percent(0.99871))
	require.Equal(t, "1.4e-05%", percent(1.4e-7))
	require.Equal(t, "[ 1.0000, -0.5000,  0.0000, ..., 12.0000, -3.1416,  2.0000]",
		ends([]float32{1, -0.5, 0, 9, 12, -3.1415927, 2}))
	require.Equal(t, "[ 1.0000,  2.0000]", ends([]float32{1, 2}))
	require.Equal(t, "(none)", visible(""))
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
