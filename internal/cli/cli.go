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
	"syscall"

	"github.com/spf13/cobra"
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

// streams are the three files of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Main runs the program and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C is not caught: it ends the process at once
	}()

	root := newRoot(&streams{stdin, stdout, stderr})
	root.SetArgs(args)
	started := false // from here on, errors are failures and not mistakes in the command line
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "phi3: interrupted")
		return exitInterrupted
	case !started || errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "phi3: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	default:
		_, _ = fmt.Fprintf(stderr, "phi3: %v\n", err)
		return exitFailure
	}
}

// noArguments refuses words that belong to no flag, most often a prompt without --prompt.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.Flags().Lookup("prompt") == nil {
		return usagef("unexpected argument %q", args[0])
	}
	return usagef("unexpected argument %q; the prompt goes after --prompt, in quotes", args[0])
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
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newGenerate(s), newNextToken(s), newBench(s), newInfo(s), newVerify(s))
	return root
}
