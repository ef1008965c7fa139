package usage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phi3/internal/spell"
)

// Error is a mistake in the command line, as opposed to a failure of the command.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e Error) Unwrap() error { return e.Err }

// Errorf returns an [Error].
func Errorf(format string, args ...any) error { return Error{fmt.Errorf(format, args...)} }

// NoArguments refuses arguments that are not flags. Most often, such an argument is a prompt without
// --prompt.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for _, name := range []string{"prompt", "text"} {
		if cmd.Flags().Lookup(name) != nil {
			return Errorf("unexpected argument %q; the %[2]s goes after --%[2]s, in quotes", args[0], name)
		}
	}
	return Errorf("unexpected argument %q", args[0])
}

// flagMistake says what is wrong with a flag: what was given, and what is expected.
func flagMistake(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	switch words := cmd.Flags().Args(); {
	case !cmd.HasParent() && len(words) > 0: // the flags of a command that does not exist
		return unknownCommand(cmd, words)
	case errors.As(err, &unknown):
		return suggestFlag(cmd, unknown)
	case errors.As(err, &value):
		return fmt.Errorf("--%s is %q, not %s", value.GetFlag().Name, value.GetValue(),
			wanted(value.GetFlag().Value.Type()))
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value after it", missing.GetFlag().Name)
	case errors.As(err, &syntax):
		return fmt.Errorf("%q is not a flag", syntax.GetSpecifiedFlag())
	}
	return err
}

// NoEmptyFlag refuses a flag whose text is empty. Most often the text came from a shell variable that is not
// set.
func NoEmptyFlag(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = Errorf("--%s is empty", f.Name)
		}
	})
	return err
}

// wanted describes the values that a type of pflag accepts.
func wanted(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "uint64":
		return "a whole number from 0 to 18446744073709551615"
	case "float32", "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a time with its unit, such as 30s or 2m"
	case "gguf":
		return "the name of a GGUF file, which ends in .gguf"
	}
	return "a value that it accepts"
}

// suggestFlag adds the flag that was probably meant to the error for an unknown one.
func suggestFlag(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	if unknown.GetSpecifiedShortnames() != "" {
		return unknown
	}
	name := strings.ReplaceAll(unknown.GetSpecifiedName(), "_", "-")
	best, distance := "", 3 // further away it is another word
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		d := spell.Distance(name, f.Name)
		if strings.HasPrefix(f.Name, name) {
			d = min(d, 1)
		}
		if d < distance && d < len(name) && !f.Hidden {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return unknown
	}
	return fmt.Errorf("%w; did you mean --%s?", unknown, best)
}

// otherNames are commands of other programs, and what to use in phi3.
var otherNames = map[string]string{
	"api":       "phi3 serve answers the OpenAI protocol over HTTP",
	"ask":       "phi3 generate --chat answers one question, and phi3 chat holds a conversation",
	"benchmark": "phi3 bench measures the speed",
	"complete":  "phi3 generate continues a prompt",
	"decode":    "phi3 tokenize --decode turns ids into text",
	"delete":    "phi3 models rm removes models",
	"download":  "phi3 pull downloads a model",
	"embed":     "phi3 next-token --hidden-states shows the last hidden states of a text",
	"encode":    "phi3 tokenize turns text into ids",
	"gen":       "phi3 generate continues a prompt",
	"infer":     "phi3 generate continues a prompt",
	"install":   "phi3 pull downloads a model",
	"list":      "phi3 models lists the models in the cache",
	"login": "phi3 pull reads a token of huggingface.co from HF_TOKEN, or from the file that hf auth " +
		"login writes",
	"ls":          "phi3 models lists the models in the cache",
	"predict":     "phi3 next-token shows the most probable next tokens, and phi3 classify labels texts",
	"ps":          "phi3 models lists the models in the cache; no model runs in the background",
	"remove":      "phi3 models rm removes models",
	"rm":          "phi3 models rm removes models",
	"run":         "phi3 generate continues a prompt, and phi3 chat holds a conversation",
	"search":      "huggingface.co lists the models, and phi3 pull downloads one",
	"server":      "phi3 serve answers the OpenAI protocol over HTTP",
	"show":        "phi3 info describes a model",
	"start":       "phi3 chat holds a conversation, and phi3 generate answers one prompt",
	"test":        "phi3 verify checks a GPU and a model",
	"train":       "phi3 runs models and does not train them",
	"finetune":    "phi3 runs models and does not train them",
	"convert":     "phi3 runs Hugging Face checkpoints as they are; phi3 quantize makes a GGUF file of one",
	"update":      "phi3 pull downloads a model's newest files",
	"upgrade":     "phi3 pull downloads a model's newest files",
	"completions": "phi3 completion writes a shell's completion script",
}

// unknownCommand refuses a word that is not a command, and names the command that was probably meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	said := fmt.Sprintf("there is no command %q", args[0])
	word := strings.ToLower(args[0])
	if other, ok := otherNames[word]; ok {
		return Errorf("%s: %s", said, other)
	}
	best, distance := "", 3 // further away it is another word
	for _, c := range cmd.Root().Commands() {
		if d := spell.Distance(word, c.Name()); d < distance && d < len(word) && !c.Hidden {
			best, distance = c.Name(), d
		}
	}
	if best != "" {
		return Errorf("%s; did you mean phi3 %s?", said, best)
	}
	if strings.ContainsAny(args[0], " \n") {
		return Errorf("%s: phi3 generate --prompt takes a prompt", said)
	}
	return Errorf("%s; phi3 --help lists the commands", said)
}

// helpCommand is the command help: what --help of another command prints.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd, args)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion,
			cobra.ShellCompDirective,
		) {
			about, _, err := cmd.Root().Find(args)
			var names []cobra.Completion
			for _, c := range about.Commands() {
				if err == nil && c.IsAvailableCommand() && strings.HasPrefix(c.Name(), begun) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
