// Package cli is the command line: cobra commands, flags, what goes to stdout and to stderr, exit codes. It
// is the only package that prints or decides how the process ends. There is no mathematics here; each command
// is a thin layer over [generate.Session] and [model.Model].
//
// Only a command's answer goes to stdout, so that it can be piped; everything else goes to stderr.
package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"phi3/internal/early"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells count
	exitPipe        = 141 // 128 + SIGPIPE; where that signal is not ignored, it ends the process itself
)

// streams are the three files of the process, and how much the user wants to hear on stderr. Whatever goes to
// out and err passes a [show.Writer], so no string of a stranger can control the terminal; values belong into
// [show.Fprintf], so that none can forge a line.
type streams struct {
	in             io.Reader
	out, err       *show.Writer
	quiet, verbose bool

	interrupted sync.Once // the line about it is written once
	// the command stops at Ctrl-C what it is doing, and goes on: see interruptible
	takesInterrupts atomic.Bool
	written         error // the first error of writing to out by cobra, which does not look
}

func newStreams(stdin io.Reader, stdout, stderr io.Writer) *streams {
	return &streams{in: stdin, out: show.NewWriter(stdout), err: show.NewWriter(stderr)}
}

// text is stdout for a model's text and for paths: unchanged in a pipe or a file, and without control
// characters on a terminal.
func (s *streams) text() io.Writer {
	if show.IsTerminal(s.out) {
		return s.out
	}
	return s.out.Unwrap()
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

// Write implements [io.Writer] for cobra: it keeps the first error, so that help on a full disk is no
// success.
func (s *streams) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	if s.written == nil {
		s.written = err
	}
	return n, err
}

// Main runs the program and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := newStreams(stdin, stdout, stderr)
	if stdout == os.Stdout && early.StdoutClosed() { // every answer would be lost
		_, _ = show.Fprintln(s.err, "phi3: stdout is closed; > /dev/null throws an answer away")
		return exitFailure
	}
	ctx, ended := s.interruptible()
	defer ended()
	root := newRoot(s)
	root.SetArgs(args)
	started := false // from here on, errors are failures and not mistakes in the command line
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		started = true
		if s.quiet && s.verbose {
			return usage.Errorf("--quiet and --verbose contradict each other")
		}
		if err := usage.NoEmptyFlag(cmd); err != nil {
			return err
		}
		if n := early.BoundGOMAXPROCS(); n > 0 {
			_, _ = show.Fprintf(s.notes(), "note: GOMAXPROCS is %d; this machine has %d processors\n", n,
				runtime.NumCPU())
		}
		return nil
	}
	cmd, err := root.ExecuteContextC(ctx)
	if flushErr := s.out.Flush(); err == nil {
		err = cmp.Or(s.written, flushErr)
	}
	var mistake usage.Error
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
		_, _ = show.Fprintf(s.err, "phi3: write the output: %v\n", file.Err)
		return exitFailure
	case !started || errors.As(err, &mistake):
		_, _ = show.Fprintf(s.err, "phi3: %s\nSee '%s --help'.\n", brief(err), cmd.CommandPath())
		return exitUsage
	default:
		_, _ = show.Fprintf(s.err, "phi3: %s\n", brief(err))
		return exitFailure
	}
}

// brief is an error's text, at most 2,000 bytes of it: it may quote a stranger's file.
func brief(err error) string { return show.Clip(err.Error(), 2000) }

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "phi3",
		Short: "Run Microsoft's Phi-3 language models",
		Long: `phi3 runs Microsoft's Phi-3 language models from Hugging Face directories.

Without --model, or PHI3_MODEL in the environment, it answers with a tiny demonstration
model that it carries inside, so every command can be tried at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.Version = version()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(s.in)
	root.SetOut(s)
	root.SetErr(s.err)
	root.PersistentFlags().BoolVarP(&s.quiet, "quiet", "q", false,
		"say nothing on stderr but errors, and when the context is full")
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
	usage.Install(root, completions)
	return root
}
