// Package cli is the command line: cobra commands, flags, what goes to stdout and to stderr, exit codes. It is the only package
// that prints or decides how the process ends. There is no mathematics here; each command is a thin layer over [generate.Run]
// and [model.Model].
//
// Only a command's answer goes to stdout, so that it can be piped; everything else goes to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells count
)

// usageError is a mistake in the command line, as opposed to a failure of what it asked for.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// streams are the three files of the process, and how much the user wants to hear on stderr.
type streams struct {
	in             io.Reader
	out, err       io.Writer
	quiet, verbose bool
}

// notes is for what a user may want to know and did not ask for: which model, warnings, progress.
func (s *streams) notes() io.Writer {
	if s.quiet {
		return io.Discard
	}
	return s.err
}

// details is for what only -v asks for.
func (s *streams) details() io.Writer {
	if s.verbose {
		return s.err
	}
	return io.Discard
}

// isTerminal tells whether a person sees what is written there.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Main runs the program and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C is not caught: it ends the process at once
	}()

	s := &streams{in: stdin, out: stdout, err: stderr}
	root := newRoot(s)
	root.SetArgs(args)
	started := false // from here on, errors are failures and not mistakes in the command line
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		started = true
		if s.quiet && s.verbose {
			return usagef("--quiet and --verbose contradict each other")
		}
		return nil
	}
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "phi3: interrupted")
		return exitInterrupted
	case !started || errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "phi3: %s\nSee '%s --help'.\n", printable(err), cmd.CommandPath())
		return exitUsage
	default:
		_, _ = fmt.Fprintf(stderr, "phi3: %s\n", printable(err))
		return exitFailure
	}
}

// printable is an error's text. It may quote a stranger's file, which could be long, or have control characters that the terminal
// would obey.
func printable(err error) string {
	const limit = 2000 // bytes
	text := err.Error()
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return harmless(text)
}

// noArguments refuses words that belong to no flag, most often a prompt without --prompt.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for _, name := range []string{"prompt", "text"} {
		if cmd.Flags().Lookup(name) != nil {
			return usagef("unexpected argument %q; the %[2]s goes after --%[2]s, in quotes", args[0], name)
		}
	}
	return usagef("unexpected argument %q", args[0])
}

// suggestFlag adds to the error for an unknown flag the one that was probably meant.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	name := strings.ReplaceAll(unknown.GetSpecifiedName(), "_", "-")
	best, distance := "", 3 // further away it is another word
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		d := editDistance(name, f.Name)
		if strings.HasPrefix(f.Name, name) {
			d = min(d, 1)
		}
		if d < distance && d < len(name) && !f.Hidden {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return err
	}
	return fmt.Errorf("%w; did you mean --%s?", err, best)
}

// editDistance is the number of letters to insert, delete or change that turns a into b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // distances from the letters of a so far to every beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "phi3",
		Short: "Run Microsoft's Phi-3 language models",
		Long: `phi3 runs Microsoft's Phi-3 language models from Hugging Face directories.

Without --model it answers with a tiny demonstration model that it carries inside,
so every command can be tried at once.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.Version = version()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(suggestFlag)
	root.PersistentFlags().BoolVarP(&s.quiet, "quiet", "q", false, "say nothing on stderr but errors, and when the context is full")
	root.PersistentFlags().BoolVarP(&s.verbose, "verbose", "v", false, "say more on stderr")
	root.AddCommand(
		newGenerate(s),
		newChat(s),
		newNextToken(s),
		newClassify(s),
		newBench(s),
		newInfo(s),
		newVerify(s),
		newTokenize(s),
		newDoctor(s),
		newPull(s),
		newModels(s),
	)
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup("model") != nil {
			_ = cmd.RegisterFlagCompletionFunc("model", completeModels)
		}
	}
	return root
}
