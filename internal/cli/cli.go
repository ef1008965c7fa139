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
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells count
	exitPipe        = 141 // 128 + SIGPIPE; where that signal is not ignored, it ends the process itself
)

// streams are the three files of the process, and how much the user wants to hear on stderr.
type streams struct {
	in             io.Reader
	out, err       io.Writer
	quiet, verbose bool

	interrupted     sync.Once   // the line about it is written once
	takesInterrupts atomic.Bool // the command stops at Ctrl-C what it is doing, and goes on: see interruptible
	written         error       // the first error of writing to out by cobra, which does not look
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

// Write implements [io.Writer] for cobra: it keeps the first error, so that help on a full disk is no success.
func (s *streams) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	if s.written == nil {
		s.written = err
	}
	return n, err
}

// isTerminal tells whether a person sees what is written there.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Main runs the program and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &streams{in: stdin, out: stdout, err: stderr}
	ctx, ended := s.interruptible()
	defer ended()
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
	if err == nil {
		err = s.written
	}
	var usage usageError
	var file *fs.PathError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		s.sayInterrupted()
		return exitInterrupted
	case errors.As(err, &file) && file.Op == "write" && file.Path == os.Stdout.Name():
		if errors.Is(err, syscall.EPIPE) { // who reads has enough, as in phi3 … | head -1
			return exitPipe
		}
		_, _ = fmt.Fprintf(stderr, "phi3: write the output: %v\n", file.Err)
		return exitFailure
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

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "phi3",
		Short: "Run Microsoft's Phi-3 language models",
		Long: `phi3 runs Microsoft's Phi-3 language models from Hugging Face directories.

Without --model it answers with a tiny demonstration model that it carries inside,
so every command can be tried at once.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.Version = version()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.in)
	root.SetOut(s)
	root.SetErr(s.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagMistake)
	root.SetHelpCommand(newHelp())
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
		newVersion(s),
	)
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup("model") != nil {
			_ = cmd.RegisterFlagCompletionFunc("model", completeModels)
		}
	}
	return root
}
