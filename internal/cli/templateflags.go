package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"phi3/internal/input"
	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/tokenizer"
	"phi3/internal/usage"
)

// templateFlags replace the chat template and set its variables.
type templateFlags struct {
	file      string
	source    string   // of file
	variables []string // NAME=JSON
	flags     *pflag.FlagSet
}

func (f *templateFlags) register(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringVar(&f.file, "chat-template", "",
		"`FILE` with a chat template (Jinja) to use instead of the model's own")
	flags.StringArrayVar(&f.variables, "template-var", nil,
		"set a variable of the chat template: `NAME=JSON`, such as enable_thinking=false (repeatable)")
}

// check finds mistakes in the flags and in the file, before a model is loaded. chat is whether the command
// uses a template.
func (f *templateFlags) check(chat bool) error {
	for _, name := range []string{"chat-template", "template-var"} {
		if f.flags.Changed(name) && !chat {
			return usage.Errorf("--%s needs --chat", name)
		}
	}
	if f.flags.Changed("chat-template") {
		var err error
		if f.source, err = readTemplate(f.file); err != nil {
			return fmt.Errorf("read the chat template from %s: %w", f.file, regular.Reason(err))
		}
	}
	return f.apply(&tokenizer.Tokenizer{})
}

// readTemplate reads a file or a named pipe, such as a shell's <(…).
func readTemplate(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := input.Decode(file)
	if err != nil {
		return "", err
	}
	source, err := io.ReadAll(io.LimitReader(text, tokenizer.MaxChatTemplate+1))
	switch {
	case err != nil:
		return "", err
	case len(source) > tokenizer.MaxChatTemplate:
		return "", fmt.Errorf("it is longer than %s, and no more is read",
			show.Bytes(tokenizer.MaxChatTemplate))
	}
	return string(source), regular.Placeholder(source)
}

// apply sets the tokenizer's template and variables.
func (f *templateFlags) apply(t *tokenizer.Tokenizer) error {
	if f.flags.Changed("chat-template") {
		if err := t.SetChatTemplate(f.file, f.source); err != nil {
			return err
		}
	}
	for _, v := range f.variables {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return usage.Errorf("--template-var is %q, not NAME=JSON", v)
		}
		if err := t.SetTemplateVariable(name, value); err != nil {
			return usage.Errorf("--template-var %s: %v; a text has quotes: '%s=\"…\"'", name, err, name)
		}
	}
	return nil
}
