package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// inputFlags say where a text comes from.
type inputFlags struct {
	name  string // what the text is: also the flag that holds it
	text  string
	file  string
	flags *pflag.FlagSet
}

func (f *inputFlags) register(flags *pflag.FlagSet, name, shorthand string) {
	f.name, f.flags = name, flags
	flags.StringVarP(&f.text, name, shorthand, "", "the "+name+"; - reads it from stdin, as a pipe does without any of these flags")
	flags.StringVarP(&f.file, "file", "f", "", "`file` to read the "+name+" from; its last newline is dropped")
}

// read returns the text as the user gave it.
func (f *inputFlags) read(ctx context.Context, stdin io.Reader) (string, error) {
	byFlag, byFile := f.flags.Changed(f.name), f.flags.Changed("file")
	switch {
	case byFlag && byFile:
		return "", usagef("--%[1]s and --file both give the %[1]s", f.name)
	case byFlag && f.text != "-":
		return f.text, nil
	case byFile && f.file != "-":
		data, err := os.ReadFile(f.file)
		if err != nil {
			return "", fmt.Errorf("read the %s: %w", f.name, err)
		}
		return withoutLastNewline(data), nil
	case !byFlag && !byFile && !piped(stdin):
		return "", usagef("no %[1]s: give --%[1]s, --file, or pipe it in", f.name)
	}
	data, err := readAll(ctx, stdin)
	if err != nil {
		return "", fmt.Errorf("read the %s from stdin: %w", f.name, err)
	}
	return withoutLastNewline(data), nil
}

// promptFlags say what the prompt is.
type promptFlags struct {
	inputFlags
	chat   bool
	system string
}

func (f *promptFlags) register(flags *pflag.FlagSet) {
	f.inputFlags.register(flags, "prompt", "p")
	flags.BoolVar(&f.chat, "chat", false, "the prompt is a user's message: apply the model's chat template")
	flags.StringVar(&f.system, "system", "", "system message for --chat")
}

// read returns the prompt as the user gave it.
func (f *promptFlags) read(ctx context.Context, stdin io.Reader) (string, error) {
	if f.flags.Changed("system") && !f.chat {
		return "", usagef("--system needs --chat")
	}
	return f.inputFlags.read(ctx, stdin)
}

// validUTF8 replaces what is not UTF-8 in the prompt and the system message by U+FFFD, as the tokenizer would, so that --echo and --json
// show what the model sees; and it says so.
func (f *promptFlags) validUTF8(prompt string, stderr io.Writer) string {
	for _, text := range []struct {
		what  string
		value *string
	}{{"prompt", &prompt}, {"system message", &f.system}} {
		if valid := tokenizer.ValidUTF8(*text.value); valid != *text.value {
			_, _ = show.Fprintf(stderr, "warning: the %s is not valid UTF-8; what is not a character is read as U+FFFD\n", text.what)
			*text.value = valid
		}
	}
	return prompt
}

// readAll reads to the end, or until ctx is done: whoever is typing may change their mind. The read itself cannot be stopped
// and is left to end with the process.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	var data []byte
	done := make(chan error, 1)
	go func() {
		var err error
		data, err = io.ReadAll(r)
		done <- err
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-done:
		return data, err
	}
}

// piped tells whether stdin comes from a pipe or a file, as opposed to a person or nowhere.
func piped(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// withoutLastNewline drops the newline that editors and echo put at the end.
func withoutLastNewline(data []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
}

// encode turns the prompt into the text and ids that the model sees, at least one and no more than limit.
func (f *promptFlags) encode(ctx context.Context, t *tokenizer.Tokenizer, prompt string, limit int) (text string, ids []int32, err error) {
	text, o, err := f.render(t, prompt)
	if err != nil {
		return "", nil, err
	}
	o.Max = limit
	ids, err = t.Encode(ctx, text, o)
	if err != nil {
		return "", nil, fmt.Errorf("encode the prompt: %w", err)
	}
	if len(ids) == 0 {
		return "", nil, errors.New("the prompt is empty")
	}
	return text, ids, nil
}

// render makes the text to be encoded. A plain prompt gets the tokenizer's special tokens (BOS, where the checkpoint wants one); a
// chat's come from its template (spec 4.1 and 5.3).
func (f *promptFlags) render(t *tokenizer.Tokenizer, prompt string) (text string, o tokenizer.EncodeOptions, err error) {
	if !f.chat {
		return prompt, o, nil
	}
	var messages []tokenizer.Message
	if f.flags.Changed("system") {
		messages = append(messages, tokenizer.Message{Role: "system", Content: f.system})
	}
	messages = append(messages, tokenizer.Message{Role: "user", Content: prompt})
	if text, err = t.ApplyChatTemplate(messages, true); err != nil {
		return "", o, fmt.Errorf("apply the chat template: %w", err)
	}
	return text, tokenizer.EncodeOptions{NoBOS: true}, nil
}
