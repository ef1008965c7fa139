package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// grace is how long a command may take to end by itself after Ctrl-C or SIGTERM. Within it a step of the
// model ends, files are closed and a terminal gets its settings back. What takes longer cannot be told to
// stop: opening a named pipe, a write to a pipe that nobody reads, a file on a network drive that does not
// answer.
const grace = 500 * time.Millisecond

// interruptible returns a context that Ctrl-C and SIGTERM end. A process that is still running [grace] later
// ends with [exitInterrupted], whatever it is doing, and a second signal ends it at once. The command calls
// ended when it is done.
func (s *streams) interruptible() (ctx context.Context, ended func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for ctx.Err() == nil {
			select {
			case sig := <-signals:
				if sig != os.Interrupt || !s.takesInterrupts.Load() {
					signal.Stop(signals) // from here on a signal does what it does to any process
					cancel()
				}
			case <-done:
				return
			}
		}
		select {
		case <-done:
		case <-time.After(grace):
			s.sayInterrupted()
			os.Exit(exitInterrupted)
		}
	}()
	return ctx, func() {
		close(done)
		signal.Stop(signals)
		cancel()
	}
}

// sayInterrupted writes the line that ends an interrupted command. It does not wait for a stderr that nobody
// reads.
func (s *streams) sayInterrupted() {
	said := make(chan struct{})
	go s.interrupted.Do(func() {
		_, _ = io.WriteString(s.err.Unwrap(), "phi3: interrupted\n")
		close(said)
	})
	select {
	case <-said:
	case <-time.After(grace / 5):
	}
}
