package explore

import (
	"context"
	"errors"

	"phi3/internal/tokenizer"
)

var errNotYet = errors.New("not yet")

// TokensRequest is the body of POST /explore/tokens.
type TokensRequest struct {
	Text string `json:"text"`
	Chat bool   `json:"chat"` // the text is a user's message, which the chat template surrounds
}

// Tokens is the response.
type Tokens struct {
	Text   string  `json:"text"` // what the model reads
	Tokens []Token `json:"tokens"`
}

// Token is a token of a text.
type Token struct {
	tokenizer.Token        // id, piece, text
	Bytes           string `json:"bytes"`   // what it stands for, in hexadecimal; of a byte-level token, a part of a character
	Special         bool   `json:"special"` // such as <|user|>
}

// Tokenize cuts a text into tokens, as phi3 generate does.
func (e *Explorer) Tokenize(ctx context.Context, body []byte) (any, error) { return nil, errNotYet }
