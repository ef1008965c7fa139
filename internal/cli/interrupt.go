package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// grace is how long a command may take to end after Ctrl-C or SIGTERM. This is enough to finish a step of the
// model, close files and restore the terminal. What takes longer cannot be stopped: opening a named pipe,
// writing to a pipe that nobody reads, or a file on a network drive that does not answer.
// A test of what is printed at the end makes it longer.
var grace = 500 * time.Millisecond

// interruptible returns a context that ends at Ctrl-C or SIGTERM. If the process still runs [grace] later, it
// ends with [exitInterrupted], unless the command has asked for more time (patience). A second signal ends it
// at once. The caller calls ended when the command is done.
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
					signal.Stop(signals) // the next signal ends the process
					cancel()
				}
			case <-done:
				return
			}
		}
		select {
		case <-done:
		case <-time.After(grace + time.Duration(s.patience.Load())):
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

// sayInterrupted prints the last line of an interrupted command. If nobody reads stderr, it gives up soon.
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
