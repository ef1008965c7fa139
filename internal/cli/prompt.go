package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"

	"phi3/internal/tokenizer"
)

// promptFlags say what the prompt is.
type promptFlags struct {
	inputFlags
	chat      bool
	system    string
	noSpecial bool
	template  templateFlags
	notes     io.Writer
}

func (f *promptFlags) register(flags *pflag.FlagSet) {
	f.inputFlags.register(flags, "prompt", "p")
	flags.BoolVar(&f.chat, "chat", false, "the prompt is a user's message: apply the model's chat template")
	flags.StringVar(&f.system, "system", "", "system message for --chat")
	flags.BoolVar(&f.noSpecial, "no-special", false, noSpecialHelp)
	f.template.register(flags)
}

const noSpecialHelp = "read special tokens such as <|end|> in texts as ordinary characters; those of a " +
	"chat template count"

// read returns the prompt as the user gave it, in valid UTF-8.
func (f *promptFlags) read(ctx context.Context, s *streams) (string, error) {
	if f.flags.Changed("system") && !f.chat {
		return "", usagef("--system needs --chat")
	}
	if err := f.template.check(f.chat); err != nil {
		return "", err
	}
	f.notes = s.notes()
	f.system = validUTF8("system message", f.system, s)
	return f.inputFlags.read(ctx, s)
}

// encode turns the prompt into the text and ids that the model sees, at least one and no more than limit.
// vocabulary is how many ids the model knows.
func (f *promptFlags) encode(
	ctx context.Context, t *tokenizer.Tokenizer, prompt string, limit, vocabulary int,
) (text string, ids []int32, err error) {
	parts, o, err := f.render(ctx, t, prompt)
	if err != nil {
		return "", nil, err
	}
	o.Max = limit
	ids, err = t.EncodeParts(ctx, parts, o)
	if err != nil {
		return "", nil, fmt.Errorf("encode the prompt: %w", err)
	}
	if len(ids) == 0 {
		return "", nil, errors.New("the prompt is empty")
	}
	if id := slices.Max(ids); int(id) >= vocabulary {
		return "", nil, fmt.Errorf("the prompt has the token %q with id %d, and the model has embeddings "+
			"for ids below %d: "+
			"the tokenizer's files belong to another model, or a token was added and the model not resized", t.Piece(id), id, vocabulary)
	}
	return tokenizer.JoinParts(parts), ids, nil
}

// render makes the text to be encoded. A plain prompt gets the tokenizer's special tokens (BOS, where the
// checkpoint wants one); a chat's come from its template (spec 4.1 and 5.3).
func (f *promptFlags) render(
	ctx context.Context, t *tokenizer.Tokenizer, prompt string,
) (parts []tokenizer.Part, o tokenizer.EncodeOptions, err error) {
	if !f.chat {
		return []tokenizer.Part{{Text: prompt, Literal: f.noSpecial}}, o, nil
	}
	if err := f.template.apply(t); err != nil {
		return nil, o, err
	}
	var messages []tokenizer.Message
	if f.flags.Changed("system") {
		messages = append(messages, tokenizer.Message{Role: "system", Content: f.system})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: prompt})
	apply := func(messages []tokenizer.Message) (string,
		error,
	) {
		return t.ApplyChatTemplate(ctx, messages, true)
	}
	if parts, err = tokenizer.ChatParts(messages, f.noSpecial, apply); err != nil {
		return nil, o, err
	}
	noteSystemDropped(ctx, f.notes, t, f.system)
	return parts, tokenizer.EncodeOptions{NoBOS: true}, nil
}
