// Package text turns a user's text into the ids that a model reads, and the ids that the model generates into
// text.
//
//	prompt, messages ──Plain, Chat──► Prompt ──Encode──► ids ──► the model ──► ids ──Answer──► pieces
//
// A [Prompt] is the text that the model sees: a plain text, or messages as the checkpoint's chat template
// renders them. An [Answer] returns generated text in pieces that can be shown at once. They consist of whole
// characters, and end before a stop text.
package text

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"phi3/internal/tokenizer"
)

// Codec encodes prompts for one model and decodes its answers.
type Codec struct {
	Tokenizer *tokenizer.Tokenizer
	// Literal reads special tokens such as <|end|> in plain texts and in messages as ordinary characters.
	// Those of a chat template keep their meaning.
	Literal bool
}

// Prompt is a text that a model reads.
type Prompt struct {
	parts []tokenizer.Part
	whole bool // a chat template has written its BOS, if any
}

// Plain returns the prompt for a plain text. Encode adds the tokens that the checkpoint puts around a text,
// such as a BOS.
func (c *Codec) Plain(text string) Prompt {
	return Prompt{parts: []tokenizer.Part{{Text: text, Literal: c.Literal}}}
}

// Chat applies the chat template to messages, up to the place where the assistant answers.
func (c *Codec) Chat(ctx context.Context, messages []tokenizer.Message) (p Prompt, err error) {
	render := func(messages []tokenizer.Message) (string, error) {
		return c.Tokenizer.ApplyChatTemplate(ctx, messages, true)
	}
	p.whole = true
	if c.Literal {
		p.parts, err = literalParts(messages, render)
		return p, err
	}
	text, err := render(messages)
	p.parts = []tokenizer.Part{{Text: text}}
	return p, err
}

// String is the text as the model sees it.
func (p Prompt) String() string { return join(p.parts) }

// After returns the prompt without the first n bytes of its text, and without a BOS.
func (p Prompt) After(n int) Prompt { return Prompt{parts: after(p.parts, n), whole: true} }

// Encode turns a prompt into ids. If there are more than limit, it returns a [*tokenizer.TooManyError] as
// soon as that is certain. A limit of 0 means no limit.
func (c *Codec) Encode(ctx context.Context, p Prompt, limit int) ([]int32, error) {
	return c.Tokenizer.EncodeParts(ctx, p.parts, tokenizer.EncodeOptions{NoBOS: p.whole, Max: limit})
}

// Check returns an error if ids is empty, or if one of them is not below vocabulary, the number of ids for
// which the model has embeddings.
func (c *Codec) Check(ids []int32, vocabulary int) error {
	if len(ids) == 0 {
		return errors.New("the prompt is empty")
	}
	if id := slices.Max(ids); int(id) >= vocabulary {
		return fmt.Errorf("the prompt has the token %q with id %d, and the model has embeddings for ids "+
			"below %d: the tokenizer's files belong to another model, or a token was added and the model "+
			"not resized", c.Tokenizer.Piece(id), id, vocabulary)
	}
	return nil
}

// Token returns a token as the log probabilities of OpenAI's protocol name it, and its bytes. The text of a
// part of a character is "bytes:" and the bytes in hexadecimal, such as bytes:\xe9\x80, so that two tokens
// have two texts.
func (c *Codec) Token(id int32) (text string, bytes []byte) {
	bytes = c.Tokenizer.Bytes(id)
	if utf8.Valid(bytes) {
		return string(bytes), bytes
	}
	text = "bytes:"
	for _, b := range bytes {
		text += fmt.Sprintf(`\x%02x`, b)
	}
	return text, bytes
}

// DropsSystem reports whether the chat template leaves the system message out, so that another system message
// gives the same prompt.
func (c *Codec) DropsSystem(ctx context.Context, system string) bool {
	if strings.TrimSpace(system) == "" {
		return false
	}
	render := func(system string) (string, error) {
		return c.Tokenizer.ApplyChatTemplate(ctx, []tokenizer.Message{
			{Role: "system", Content: system},
			{Role: "user", Content: "Hello"},
		}, true)
	}
	with, err := render(system)
	if err != nil {
		return false
	}
	other, err := render(system + " And this.")
	return err == nil && with == other
}

// SystemDropped is what to tell a user if [Codec.DropsSystem] is true.
const SystemDropped = "this model's chat template leaves the system message out, so the model does not see it"
