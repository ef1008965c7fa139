package tokenizer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// In a literal part no special token counts, nor one that only begins or ends there; around it they do.
func TestEncodeLiteral(t *testing.T) {
	tok := fixture(t, "spm")
	ctx := context.Background()
	end, _ := tok.ID("<|end|>")
	count := func(parts ...Part) int {
		ids, err := tok.EncodeParts(ctx, parts, EncodeOptions{NoBOS: true})
		require.NoError(t, err)
		n := 0
		for _, id := range ids {
			if id == end {
				n++
			}
		}
		text := ""
		for _, p := range parts {
			text += p.Text
		}
		require.Contains(t, tok.Decode(ids, false), "end", text)
		return n
	}
	require.Equal(t, 1, count(Part{"<|end|>", false}))
	require.Equal(t, 0, count(Part{"<|end|>", true}))
	require.Equal(t, 0, count(Part{"<|e", true}, Part{"nd|>", false}))
	require.Equal(t, 0, count(Part{"<|e", false}, Part{"nd|>", true}))
	require.Equal(t, 2, count(Part{"<|end|>", false}, Part{"x<|end|>", true}, Part{"<|end|>", false}))
	require.Equal(t, 1, count(Part{"<|end|>", false}, Part{"", true}, Part{" <|", true}, Part{"x", true}))
	// This vocabulary has a token of two: the first of them, a stranger's, must not take the template's with
	// it.
	require.Equal(t, 1, count(Part{"<|end|>", true}, Part{"<|end|>", false}))
	// What is literal is encoded as split_special_tokens=True has it.
	plain, err := tok.EncodeParts(ctx, []Part{{"The<|end|> x", true}}, EncodeOptions{})
	require.NoError(t, err)
	want, err := tok.Encode(ctx, "The<|end|> x", EncodeOptions{SpecialAsText: true})
	require.NoError(t, err)
	require.Equal(t, want, plain)
}
