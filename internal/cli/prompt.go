package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"phi3/internal/checkpoint"
	"phi3/internal/model"
	"phi3/internal/show"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
	"phi3/internal/usage"
)

// promptFlags name the prompt and say how the model reads it.
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

const noSpecialHelp = "read special tokens such as <|end|> in texts as ordinary characters; those of the " +
	"chat template keep their meaning"

// read returns the prompt as the user gave it, in valid UTF-8.
func (f *promptFlags) read(ctx context.Context, s *streams) (string, error) {
	if f.flags.Changed("system") && !f.chat {
		return "", usage.Errorf("--system needs --chat")
	}
	if err := f.template.check(f.chat); err != nil {
		return "", err
	}
	f.notes = s.notes()
	f.system = validUTF8("system message", f.system, s)
	return f.inputFlags.read(ctx, s)
}

// codec returns the codec that the flags ask for.
func (f *promptFlags) codec(t *tokenizer.Tokenizer) *text.Codec {
	return &text.Codec{Tokenizer: t, Literal: f.noSpecial}
}

// render makes the text that the model reads from the prompt that the user gave.
func (f *promptFlags) render(ctx context.Context, c *text.Codec, given string) (text.Prompt, error) {
	if !f.chat {
		return c.Plain(given), nil
	}
	if err := f.template.apply(c.Tokenizer); err != nil {
		return text.Prompt{}, err
	}
	var messages []tokenizer.Message
	if f.flags.Changed("system") {
		messages = append(messages, tokenizer.Message{Role: "system", Content: f.system})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: given})
	prompt, err := c.Chat(ctx, messages)
	if err == nil && c.DropsSystem(ctx, f.system) {
		_, _ = show.Fprintf(f.notes, "note: %s\n", text.SystemDropped)
	}
	return prompt, err
}

// task is what generate and next-token start from: a loaded model and a prompt that it can read.
type task struct {
	checkpoint *checkpoint.Checkpoint
	model      *model.Model
	took       time.Duration // to load the model
	tokenizer  *tokenizer.Tokenizer
	codec      *text.Codec
	text       string  // the prompt as the model sees it: with --chat, after the template
	ids        []int32 // the same as token ids, at least one
}

// openTask reads the prompt, which can fail at once, before it loads the model, which can take long. early,
// if set, checks the command's other texts before the model is loaded. The caller closes the task.
func openTask(
	ctx context.Context, s *streams, mf *modelFlags, pf *promptFlags, early func(*tokenizer.Tokenizer) error,
) (_ *task, err error) {
	given, err := pf.read(ctx, s)
	if err != nil {
		return nil, err
	}
	if given == "" {
		return nil, errors.New("the prompt is empty")
	}
	t := &task{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.checkpoint, err = mf.open(ctx, s); err != nil {
		return nil, err
	}
	if early != nil {
		if err := mf.checkHead(t.checkpoint); err != nil {
			return nil, err
		}
		// A tokenizer that cannot be loaded is reported after mistakes in the weights' files.
		if tok, err := loadTokenizer(t.checkpoint); err == nil {
			if err := early(tok); err != nil {
				return nil, err
			}
		}
	}
	m, err := mf.load(ctx, s, t.checkpoint)
	if err != nil {
		return nil, err
	}
	t.model, t.took = m.Model, m.Took
	if t.tokenizer, err = loadTokenizer(t.checkpoint); err != nil {
		return nil, err
	}
	t.codec = pf.codec(t.tokenizer)
	prompt, err := pf.render(ctx, t.codec, given)
	if err != nil {
		return nil, err
	}
	t.text = prompt.String()
	// Beyond twice the context it does not matter how long the prompt is.
	if t.ids, err = t.codec.Encode(ctx, prompt, 2*t.model.Context); err != nil {
		return nil, tooLong(fmt.Errorf("encode the prompt: %w", err), "prompt", t.model)
	}
	return t, t.codec.Check(t.ids, t.model.Config.VocabSize)
}

func (t *task) close() {
	if t.model != nil {
		_ = t.model.Close()
	}
	if t.checkpoint != nil {
		_ = t.checkpoint.Close()
	}
}
