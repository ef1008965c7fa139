package nexttoken

import (
	"context"

	"phi3/internal/tokenizer"
)

// Find returns the token that a person means by a text. It tries, in this order:
//
//   - the token that the text encodes to
//   - the piece of the vocabulary that is spelled like the text
//   - the token that the text with a blank before it encodes to; then spaced is true. In many vocabularies
//     the token of a word includes the blank before the word.
//
// If there is no such token, Find returns the several tokens of the text.
func Find(ctx context.Context, t *tokenizer.Tokenizer, text string) (ids []int32, spaced bool, err error) {
	alone := tokenizer.EncodeOptions{NoBOS: true}
	if ids, err = t.Encode(ctx, text, alone); err != nil || len(ids) == 1 {
		return ids, false, err
	}
	if id, ok := t.ID(text); ok {
		return []int32{id}, false, nil
	}
	if after, err := t.Encode(ctx, " "+text, alone); err != nil || len(after) == 1 {
		return after, true, err
	}
	return ids, false, nil
}
