// Package engine generates the texts of many requests together. One goroutine owns the model. In each step it
// computes the new tokens of every running sequence: one token of each sequence that is decoding, and then
// pieces of prompts, up to a number of tokens. So the weights are read once for all sequences, and a long
// prompt delays the others by one step at a time.
//
//	Generate ──► waiting ──admit──► running ──step──► tokens ──► the range loop of Generate
//	                ▲                  │
//	                └──── preempt ─────┘
//
// A request can ask for steps of its own ([Request.Alone]), to be timed or watched ([Request.Watch]). These
// steps take turns with the steps of all the others, so they delay the others by one step at a time too.
//
// Sequences share the blocks of one KV cache ([kvcache.Pool]). A sequence begins with the blocks of its
// prompt that earlier sequences have computed. If no block is left, the youngest running sequence gives its
// blocks back, waits, and is computed again later.
//
// The logits of a sequence depend only on its ids, bit for bit (docs/exactness.md). So no answer depends on
// the other requests, on the cache, or on when the sequence was computed.
package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Options of an [Engine].
type Options struct {
	Parallel      int  // sequences that run at once; 0: 1
	Queue         int  // requests that may wait, besides those that run; for more, Generate returns ErrBusy
	MaxStep       int  // the most new tokens of a step; 0: what the model allows, but at most 512
	NoPrefixCache bool // every sequence computes its whole prompt
}

// defaultMaxStep bounds how long a piece of a prompt delays the sequences that are decoding.
const defaultMaxStep = 512

// The errors of Generate about the engine. Others are those of the request or of the device.
var (
	ErrBusy   = errors.New("the engine has as many requests as it can take")
	ErrClosed = errors.New("the engine is closed")
)

// Engine runs a model for many requests. Any goroutine may call its methods.
type Engine struct {
	model   *model.Model
	pool    *kvcache.Pool
	options Options
	wake    chan struct{} // something has changed that the engine's goroutine must look at
	stopped chan struct{} // closed when the engine's goroutine has ended

	mu       sync.Mutex
	closed   bool
	requests map[*sequence]struct{} // of the range loops that have not ended
	arrivals []*sequence            // that the engine's goroutine has not seen
	stats    Stats

	// The rest belongs to the engine's goroutine.
	ctx     context.Context // done when the engine is closed
	cancel  context.CancelFunc
	waiting []*sequence // the oldest first
	running []*sequence // the oldest first
	arrived uint64      // sequences so far
	counts  Stats       // the counters; the gauges are set by publish
	step    step
	turn    uint64      // steps that were laid out so far
	alone   bool        // the last one had a sequence that is computed alone
	failed  error       // of the last step of decode: the next step must not begin another one ahead
	ended   []*sequence // publish ends their range loops
}

// New starts an engine. Until it is closed, it owns the model: nobody else may use it.
func New(m *model.Model, o Options) *Engine {
	o.Parallel = max(1, o.Parallel)
	if o.MaxStep <= 0 {
		o.MaxStep = defaultMaxStep
	}
	// Each decoding sequence has a token in every step. Those that would have none wait.
	if more := o.Parallel - m.MaxTokens(); more > 0 {
		o.Parallel, o.Queue = o.Parallel-more, o.Queue+more
	}
	o.MaxStep = min(max(o.MaxStep, o.Parallel), m.MaxTokens())
	e := &Engine{
		model: m, pool: m.Pool(), options: o, wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		requests: map[*sequence]struct{}{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.publish()
	go e.run()
	return e
}

// Parallel is how many sequences run at once.
func (e *Engine) Parallel() int { return e.options.Parallel }

// Close ends every request with [ErrClosed], and waits until the model is free.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	for s := range e.requests {
		s.cancel(ErrClosed)
	}
	e.mu.Unlock()
	e.cancel()
	e.notify()
	<-e.stopped
}

// Generate continues the prompt of a request token by token. The Finish of the last token says why the text
// ended; if MaxNewTokens is 0, there is none. An error ends the loop, and the tokens before it are valid.
//
// If ctx is done, or the caller breaks the loop, the sequence gives its blocks back within one step. A caller
// that does not take its tokens stops only its own sequence, some tokens later. If others wait, that sequence
// gives its place and its blocks to them.
func (e *Engine) Generate(ctx context.Context, r Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		s, err := e.submit(ctx, r)
		if err != nil {
			yield(Token{}, err)
			return
		}
		if s == nil {
			return
		}
		defer e.leave(s)
		for token := range s.tokens {
			if s.paused.Load() {
				e.notify()
			}
			if err := s.done(); err != nil { // tokens that were computed ahead of the caller do not matter
				yield(Token{}, err)
				return
			}
			if !yield(token, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Token{}, s.err)
		}
	}
}

// submit hands a request to the engine's goroutine. It returns nil if there is nothing to do.
func (e *Engine) submit(ctx context.Context, r Request) (*sequence, error) {
	switch {
	case len(r.IDs) == 0:
		return nil, errors.New("the prompt is empty")
	case len(r.IDs) > e.model.Context:
		return nil, &model.TooLongError{Text: "prompt", Tokens: len(r.IDs), Context: e.model.Context}
	case r.MaxNewTokens <= 0 && !r.PromptLogProbs:
		return nil, nil
	}
	for _, id := range r.IDs { // Forward would return the error for all sequences of the step
		if vocabulary := e.model.Config.VocabSize; id < 0 || int(id) >= vocabulary {
			return nil, fmt.Errorf("token id %d is not in the model's vocabulary of %d", id, vocabulary)
		}
	}
	if err := r.Watch.check(r.IDs); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, ErrClosed
	case len(e.requests) >= e.options.Parallel+e.options.Queue:
		return nil, ErrBusy
	}
	s := newSequence(ctx, r, e.model.NewCache())
	s.forget = context.AfterFunc(s.ctx, e.notify)
	e.requests[s] = struct{}{}
	e.arrivals = append(e.arrivals, s)
	e.notify()
	return s, nil
}

// leave ends the request of a range loop that has ended.
func (e *Engine) leave(s *sequence) {
	e.mu.Lock()
	delete(e.requests, s)
	e.mu.Unlock()
	s.cancel(context.Canceled)
}

// notify wakes the engine's goroutine, or ends its steps ahead.
func (e *Engine) notify() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Stats is what an engine has done since New, and what it does now.
type Stats struct {
	Running, Waiting, Paused int // requests; the consumer of a paused one takes no tokens
	// the last step has failed: the device, or a file of weights that can no longer be read. A watched step
	// that fails changes nothing here, because the error may be the watcher's.
	Failing bool
	// of the KV cache: all, those of running sequences, and those that are kept for prompts that begin alike
	Blocks, BlocksUsed, BlocksKnown int

	Steps, PromptTokens, GeneratedTokens uint64 // PromptTokens counts those of admitted requests
	PrefixQueries, PrefixHits            uint64 // tokens that were looked up in the prefix cache, and found
	Preemptions                          uint64
}

// Stats returns the numbers after the last step.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting += len(e.arrivals)
	return s
}

// publish sets what Stats returns. Only then the range loops of the sequences that have ended end, so that
// their callers find all tokens in Stats.
func (e *Engine) publish() {
	s := e.counts
	s.Running, s.Waiting = len(e.running), len(e.waiting)
	for _, sequences := range [][]*sequence{e.running, e.waiting} {
		for _, r := range sequences {
			if r.paused.Load() {
				s.Paused++
			}
		}
	}
	s.Blocks, s.BlocksUsed, s.BlocksKnown = e.pool.Blocks(), e.pool.InUse(), e.pool.Known()
	e.mu.Lock()
	e.stats = s
	e.mu.Unlock()
	for _, s := range e.ended {
		close(s.tokens)
	}
	clear(e.ended)
	e.ended = e.ended[:0]
}

// run is the engine's goroutine.
func (e *Engine) run() {
	defer close(e.stopped)
	for {
		select {
		case <-e.wake:
		default:
		}
		if e.receive() {
			for _, s := range append(e.running, e.waiting...) {
				e.end(s, ErrClosed)
			}
			e.running, e.waiting = nil, nil
			e.publish()
			return
		}
		e.reap()
		e.pause()
		e.admit()
		e.layOut()
		e.publish()
		if len(e.step.parts) == 0 {
			<-e.wake
			continue
		}
		if !e.decode() {
			e.forward()
		}
	}
}

// receive moves the arrivals to the waiting sequences.
func (e *Engine) receive() (closed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.arrivals {
		e.arrived++
		s.number = e.arrived
		e.waiting = append(e.waiting, s)
	}
	e.arrivals = e.arrivals[:0]
	return e.closed
}

// end ends a sequence, whose blocks stay known for other prompts, with the error of its range loop or nil.
// publish must follow.
func (e *Engine) end(s *sequence, err error) {
	s.forget()
	e.giveBack(s)
	s.err = err
	e.ended = append(e.ended, s)
}

// now is the time; a test may hold it.
var now = time.Now
