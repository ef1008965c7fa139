package explore

import (
	"context"
	"encoding/hex"
	"errors"

	"phi3/internal/openai"
	"phi3/internal/show"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// TokensRequest is the body of POST /explore/tokens: a text, or ids whose tokens are asked for.
type TokensRequest struct {
	Text string  `json:"text"`
	Chat bool    `json:"chat"` // the text is a user's message, which the chat template surrounds
	IDs  []int32 `json:"ids"`  // without text and chat
}

// Tokens is the response.
type Tokens struct {
	Text   string  `json:"text"` // what the model reads; of ids, what they stand for
	Tokens []Token `json:"tokens"`
}

// Token is a token of a text.
type Token struct {
	tokenizer.Token        // id, piece, text
	Bytes           string `json:"bytes"`   // what it stands for, in hexadecimal; of a byte-level token, a part of a character
	Special         bool   `json:"special"` // such as <|user|>
}

// Tokenize cuts a text into tokens, as phi3 generate does. In a chat it is read as POST /v1/chat/completions
// reads the only message of a user. An empty text has the tokens that the tokenizer puts around every text,
// perhaps none.
func (e *Explorer) Tokenize(ctx context.Context, body []byte) (any, error) {
	r, err := e.parseTokens(body)
	if err != nil {
		return nil, err
	}
	read, ids, err := e.read(ctx, r)
	if err != nil {
		return nil, err
	}
	return Tokens{read, e.tokens(ids)}, nil
}

// read returns what the model reads of a request, as text and as ids.
func (e *Explorer) read(ctx context.Context, r TokensRequest) (string, []int32, error) {
	if r.IDs != nil {
		return e.Codec.Tokenizer.Decode(r.IDs, false), r.IDs, nil
	}
	prompt := e.Codec.Plain(r.Text)
	if r.Chat {
		var err error
		if prompt, err = e.message(ctx, r.Text); err != nil {
			return "", nil, err
		}
	}
	ids, err := e.Codec.Encode(ctx, prompt, e.Context)
	var tooMany *tokenizer.TooManyError
	switch {
	case ctx.Err() != nil:
		return "", nil, openai.AsError(ctx.Err())
	case errors.As(err, &tooMany):
		return "", nil, openai.Invalid("text", " has more than %d tokens, which is the model's context. "+
			"Shorten the text.", e.Context)
	case err == nil && len(ids) > 0:
		err = e.Codec.Check(ids, e.Config.VocabSize)
	}
	if err != nil {
		return "", nil, openai.Invalid("text", ": %s.", show.Message(err.Error()))
	}
	return prompt.String(), ids, nil
}

// message is the prompt of a user's message.
func (e *Explorer) message(ctx context.Context, content string) (p text.Prompt, err error) {
	if !e.Codec.Tokenizer.HasChatTemplate() {
		return p, openai.Invalid("chat", " is true, but this model has no chat template.")
	}
	return e.Render(ctx, []tokenizer.Message{{Role: "user", Content: content}})
}

// tokens returns the tokens with the given ids.
func (e *Explorer) tokens(ids []int32) []Token {
	all := make([]Token, len(ids))
	for i, id := range ids {
		all[i] = e.token(id)
	}
	return all
}

func (e *Explorer) token(id int32) Token {
	t := e.Codec.Tokenizer
	return Token{t.Token(id), hex.EncodeToString(t.Bytes(id)), t.IsSpecial(id)}
}
