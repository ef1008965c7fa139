package progress

import (
	"io"
	"sync"

	"phi3/internal/show"
)

// Reading shows how much of a prompt the model has computed. Later it prints one line that explains the pause
// in which a model with long RoPE computes everything again. The engine calls Update while the reader of its
// tokens may be behind, so any goroutine may call the methods.
type Reading struct {
	notes   io.Writer
	midLine bool

	mu       sync.Mutex
	bar      *Bar
	crossing int
	computed bool // the prompt
	stopped  bool
}

// NewReading starts a bar on notes. crossing is the number of tokens beyond which the model uses different
// RoPE factors; with 0, no pause is explained. midLine says that the terminal's cursor is then in the middle
// of a line of text.
func NewReading(notes io.Writer, crossing int, midLine bool) *Reading {
	return &Reading{bar: Start(notes, ReadingPrompt), notes: notes, crossing: crossing, midLine: midLine}
}

// Update takes the number of tokens computed so far, and the number to compute.
func (r *Reading) Update(fed, of int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.stopped && !r.computed:
		r.bar.Update(int64(fed), int64(of))
		r.computed = fed == of
	case r.crossing > 0:
		if r.midLine {
			_, _ = io.WriteString(r.notes, "\n")
		}
		_, _ = show.Fprintf(r.notes, "note: beyond %d tokens this model uses different RoPE factors (long "+
			"RoPE), so everything so far is computed again\n", r.crossing)
		r.crossing = 0
	}
}

// Stop removes the bar. Call it when the text begins, or when an error ends it before that. Later calls do
// nothing.
func (r *Reading) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.bar.Stop()
}
