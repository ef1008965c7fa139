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

// --token takes a word with the blank that precedes it in a text, if that is one token.
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
	require.Equal(t, "note: --token \"capital\" is one token only with a blank before it, and that one is "+
		"shown\n", said.String())
	_, err = namedTokens(context.Background(), s, tok, []string{"capital world"})
	require.ErrorContains(t, err, "name one of them")
	said.Reset()
	_, _ = namedTokens(context.Background(), s, tok, []string{"\xff"})
	require.Equal(t, "warning: --token is not valid UTF-8; what is not a character is read as U+FFFD\n",
		said.String())
}
