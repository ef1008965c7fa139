package cli

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

func TestFormats(t *testing.T) {
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
