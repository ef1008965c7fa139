package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phi3/internal/gguf"
)

// fileFlag is the value of --file, the file with the text of a command. The name of a GGUF file is the value
// of --gguf instead: such a file holds a model and no text.
type fileFlag struct {
	flags *pflag.FlagSet
	text  *string // nil: the command reads no text
	given bool    // text was set
	last  string  // what Set was called with
}

func (f *fileFlag) String() string { return f.last }

func (f *fileFlag) Type() string {
	if f.text == nil {
		return "gguf"
	}
	return "string"
}

func (f *fileFlag) Set(name string) error {
	f.last = name
	switch {
	case gguf.IsName(name):
		return f.flags.Set("gguf", name)
	case f.text == nil:
		return errors.New("not a GGUF file")
	}
	*f.text, f.given = name, true
	return nil
}

// addFileFlag gives a command that takes a GGUF file and reads no text a hidden --file, so that --file
// model.gguf works with every command.
func addFileFlag(cmd *cobra.Command) {
	if cmd.Flags().Lookup("gguf") == nil || cmd.Flags().Lookup("file") != nil {
		return
	}
	cmd.Flags().Var(&fileFlag{flags: cmd.Flags()}, "file", "")
	_ = cmd.Flags().MarkHidden("file") // the flag exists
}
