// Package cli is the command line: commands, flags, the order of steps, what goes to stdout and to stderr,
// and exit codes. No other package prints to the process's streams or ends the process. The work is done in
// the packages that the commands call.
//
// Only a command's answer goes to stdout, so that it can be piped. Everything else goes to stderr.
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
	exitPipe        = 141 // 128 + SIGPIPE; unless the signal is ignored, it ends the process first
)

// streams are the process's stdin, stdout and stderr, and how much the user wants to read on stderr. All
// output goes through a [show.Writer], so that no text from a file can control the terminal. Values are
// printed with [show.Fprintf], so that none can add a line.
type streams struct {
	in             io.Reader
	out, err       *show.Writer
	quiet, verbose bool

	interrupted sync.Once // writes the line that says so
	// Ctrl-C does not end the command, which handles it itself; see interruptible.
	takesInterrupts atomic.Bool
	patience        atomic.Int64 // how long the command may take to end, in addition to grace
	written         error        // cobra's first error of writing to out, which cobra ignores
}

func newStreams(stdin io.Reader, stdout, stderr io.Writer) *streams {
	return &streams{in: stdin, out: show.NewWriter(stdout), err: show.NewWriter(stderr)}
}

// text is stdout for a model's text and for paths. A pipe or a file gets them unchanged, a terminal without
// control characters.
func (s *streams) text() io.Writer {
	if show.IsTerminal(s.out) {
		return s.out
	}
	return s.out.Unwrap()
}

// notes is stderr for the model's name, warnings and progress. --quiet discards them.
func (s *streams) notes() io.Writer {
	if s.quiet {
		return io.Discard
	}
	return s.err
}

// details is stderr for what only --verbose prints.
func (s *streams) details() io.Writer {
	if s.verbose {
		return s.err
	}
	return io.Discard
}

// Write implements [io.Writer] for cobra. It keeps the first error, so that printing help to a full disk
// fails.
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
	if stdout == os.Stdout && early.StdoutClosed() { // the answer would be lost
		_, _ = show.Fprintln(s.err, "phi3: stdout is closed; use > /dev/null to discard the answer")
		return exitFailure
	}
	ctx, ended := s.interruptible()
	defer ended()
	root := newRoot(s)
	root.SetArgs(args)
	started := false // once it is true, an error is a failure and not a mistake in the command line
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		started = true
		if s.quiet && s.verbose {
			return usage.Errorf("--quiet and --verbose exclude each other")
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
		if errors.Is(err, syscall.EPIPE) { // the reader has closed the pipe, as in phi3 … | head -1
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

// brief returns at most 2,000 bytes of an error's text, which may quote a file.
func brief(err error) string { return show.Clip(err.Error(), 2000) }

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "phi3",
		Short: "Run Microsoft's Phi-3 language models",
		Long: `phi3 runs Microsoft's Phi-3 language models from Hugging Face checkpoints.

If neither --model nor the environment variable PHI3_MODEL names a model, phi3 runs a
tiny built-in demonstration model, so you can try phi3 without a download.`,
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
		"print nothing on stderr except errors, and a note when the context is full")
	root.PersistentFlags().BoolVarP(&s.verbose, "verbose", "v", false, "print more details on stderr")
	root.AddCommand(
		newGenerate(s),
		newChat(s),
		newServe(s),
		newBatch(s),
		newNextToken(s),
		newExplore(s),
		newClassify(s),
		newBench(s),
		newInfo(s),
		newVerify(s),
		newPerplexity(s),
		newTokenize(s),
		newDoctor(s),
		newPull(s),
		newQuantize(s),
		newModels(s),
		newVersion(s),
	)
	for _, cmd := range root.Commands() {
		addFileFlag(cmd)
	}
	usage.Install(root, completions)
	return root
}
