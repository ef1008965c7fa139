package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
)

// alone is a request with its answer.
func (a *answers) alone(t *testing.T, r engine.Request) *question {
	t.Helper()
	q := &question{Request: r, codec: a.codec}
	a.answer(t, q)
	return q
}

// ids are n ids that all vocabularies of the tests have.
func ids(first, n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32((first + 7*i) % 317)
	}
	return all
}

// collect takes a whole answer.
func collect(e *engine.Engine, r engine.Request) (tokens []engine.Token, err error) {
	for token, err := range e.Generate(context.Background(), r) {
		if err != nil {
			return tokens, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// until waits for something that happens soon.
func until(what string, happened func() bool) {
	for start := time.Now(); !happened(); runtime.Gosched() {
		if time.Since(start) > time.Minute {
			panic("never: " + what)
		}
	}
}

// arrive waits until the engine has n requests.
func arrive(e *engine.Engine, n int) {
	until("all requests", func() bool { s := e.Stats(); return s.Running+s.Waiting == n })
}

// A long prompt that comes in while another text is generated is computed in pieces. Each step has a token of
// the text too.
func TestPromptDelaysOthersByOneStep(t *testing.T) {
	a := newAnswers(t, "mini")
	// Fewer tokens than a consumer may leave untaken.
	text := a.alone(t, engine.Request{IDs: ids(1, 3), MaxNewTokens: 31})
	prompt := a.alone(t, engine.Request{IDs: ids(2, 400), MaxNewTokens: 1})

	d := newDevice(t)
	m := load(t, "mini", d, model.Options{Sequences: 2})
	var e *engine.Engine
	var steps [][]model.Span
	var wait sync.WaitGroup
	d.begin = func(s *model.Step) {
		steps = append(steps, slices.Clone(s.Seqs))
		if len(steps) == 4 {
			wait.Go(func() {
				if err := take(e, prompt, whole, nil); err != nil {
					t.Error(err)
				}
			})
			until("a prompt that waits", func() bool { return e.Stats().Waiting == 1 })
		}
	}
	e = start(t, m, engine.Options{Parallel: 2, Queue: 1, MaxStep: 17})
	require.NoError(t, take(e, text, whole, nil))
	wait.Wait()
	pieces := steps[4 : 4+25]
	for i, spans := range pieces {
		require.Len(t, spans, 2)
		require.Equal(t, 1, spans[0].Len)
		require.Equal(t, 3+3+i, spans[0].Position, "no step without a token of the text")
		require.Equal(t, 16, spans[1].Len)
		require.Equal(t, 16*i, spans[1].Position)
	}
}

// No more sequences run than a step has tokens, so that each that runs goes on in every step. The others
// wait.
func TestMoreSequencesThanTokensOfAStep(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(1, 2), MaxNewTokens: 9})
	d := newDevice(t)
	m := load(t, "mini", d, model.Options{Sequences: 10, MaxTokens: 4})
	var e *engine.Engine
	steps, most := 0, 0
	d.begin = func(*model.Step) {
		if steps++; steps == 1 {
			arrive(e, 10)
		}
		most = max(most, e.Stats().Running)
	}
	e = start(t, m, engine.Options{Parallel: 10})
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			if err := take(e, q, whole, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	idle(t, e)
	require.Equal(t, 4, most)
}

// The blocks of a request whose context is done, or whose loop was left, are free before the next step.
func TestLeavingFreesBlocks(t *testing.T) {
	a := newAnswers(t, "mini")
	stays := a.alone(t, engine.Request{IDs: ids(1, 9), MaxNewTokens: 25, LogProbs: true})
	for _, c := range []struct {
		how manner
		at  int // cached positions of the one that leaves
	}{{cancels, 100}, {cancels, 303}, {breaks, 303}} {
		d := newDevice(t)
		m := load(t, "mini", d, model.Options{Sequences: 2})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		now, left := make(chan struct{}), make(chan struct{})
		var e *engine.Engine
		var used []int // blocks in every step
		gone := 0      // the step in which it leaves
		d.begin = func(s *model.Step) {
			if len(used) == 0 {
				arrive(e, 2)
			}
			used = append(used, e.Stats().BlocksUsed)
			for _, span := range s.Seqs {
				switch {
				case span.Position < c.at || gone > 0:
				case c.how == cancels:
					gone = len(used)
					cancel()
				default:
					gone = len(used)
					close(now)
					<-left
				}
			}
		}
		e = start(t, m, engine.Options{Parallel: 2, MaxStep: 50})
		var wait sync.WaitGroup
		wait.Go(func() {
			defer close(left)
			for _, err := range e.Generate(ctx, engine.Request{
				IDs: ids(2, 301), MaxNewTokens: 20, LogProbs: true,
			}) {
				if c.how == breaks {
					<-now
					return
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
		require.NoError(t, take(e, stays, whole, nil))
		wait.Wait()
		idle(t, e)
		e.Close()
		require.Positive(t, gone)
		require.Equal(t, 4, used[gone-1])
		require.Equal(t, 1, used[gone], "one step later")
	}
}

// hold makes the device wait before its next step until the returned function is called.
func (d *device) hold() (goOn func()) {
	gate := make(chan struct{})
	d.begin = func(*model.Step) { <-gate }
	return sync.OnceFunc(func() { close(gate) })
}

// More requests than run or wait are refused at once. So are prompts that can never run.
func TestRefusals(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(1, 9), MaxNewTokens: 3})
	d := newDevice(t)
	m := load(t, "mini", d, model.Options{Sequences: 2})
	e := start(t, m, engine.Options{Parallel: 2, Queue: 3})
	goOn := d.hold()
	defer goOn()
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			if err := take(e, q, whole, nil); err != nil {
				t.Error(err)
			}
		})
	}
	arrive(e, 5)
	_, err := collect(e, q.Request)
	require.ErrorIs(t, err, engine.ErrBusy)

	_, err = collect(e, engine.Request{IDs: ids(1, 513), MaxNewTokens: 1})
	var long *model.TooLongError
	require.ErrorAs(t, err, &long)
	require.Equal(t, model.TooLongError{Text: "prompt", Tokens: 513, Context: 512}, *long)
	_, err = collect(e, engine.Request{MaxNewTokens: 1})
	require.ErrorContains(t, err, "empty")
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range e.Generate(gone, q.Request) {
		require.ErrorIs(t, err, engine.ErrBusy)
	}
	none, err := collect(e, engine.Request{IDs: ids(1, 9)})
	require.NoError(t, err)
	require.Empty(t, none)

	goOn()
	wait.Wait()
	require.NoError(t, take(e, q, whole, nil), "there is room again")
	for _, err := range e.Generate(gone, q.Request) {
		require.ErrorIs(t, err, context.Canceled)
	}
	for _, id := range []int32{-1, 331} {
		_, err = collect(e, engine.Request{IDs: []int32{5, id}, MaxNewTokens: 1})
		require.ErrorContains(t, err, fmt.Sprintf("token id %d is not in the model's vocabulary of 331", id))
	}
}

// Close ends all requests: those that run, those that wait, and one whose consumer is busy. No goroutine is
// left, and the model can be used again.
func TestClose(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(1, 9), MaxNewTokens: 30})
	d := newDevice(t)
	m := load(t, "mini", d, model.Options{Sequences: 3})
	before := runtime.NumGoroutine()
	e := start(t, m, engine.Options{Parallel: 3, Queue: 5})
	ready, closed := make(chan struct{}), make(chan struct{})
	steps := 0
	d.begin = func(*model.Step) {
		if steps++; steps == 3 {
			arrive(e, 8)
			close(ready)
			until("a closed engine", func() bool {
				_, err := collect(e, q.request())
				return errors.Is(err, engine.ErrClosed) // and ErrBusy before
			})
		}
	}
	var busy atomic.Bool
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			n := 0
			var last error
			for token, err := range e.Generate(context.Background(), q.request()) {
				if last = err; err == nil && token.ID != q.want[n].ID {
					t.Errorf("token %d is %d", n, token.ID)
				}
				if n++; busy.CompareAndSwap(false, true) {
					<-closed
				}
			}
			if !errors.Is(last, engine.ErrClosed) {
				t.Errorf("request %d ends with %v", i, last)
			}
		})
	}
	<-ready
	e.Close()
	close(closed)
	wait.Wait()
	e.Close()
	_, err := collect(e, q.Request)
	require.ErrorIs(t, err, engine.ErrClosed)
	s := e.Stats()
	require.Zero(t, s.Running+s.Waiting+s.BlocksUsed)
	until("as few goroutines as before", func() bool { return runtime.NumGoroutine() <= before })

	again := start(t, m, engine.Options{})
	require.NoError(t, take(again, q, whole, nil))
}

// A request that already waits when the consumers of all others stop gets the place of one of them.
func TestWaitingWhenAllOthersPause(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(2, 20), MaxNewTokens: 5})
	d := newDevice(t)
	e := start(t, load(t, "mini", d, model.Options{}), engine.Options{Queue: 1})
	steps := 0
	d.begin = func(*model.Step) {
		if steps++; steps == 3 {
			arrive(e, 2)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := make(chan error, 1)
	for _, err := range e.Generate(ctx, engine.Request{IDs: ids(1, 9), MaxNewTokens: 100}) {
		require.NoError(t, err)
		go func() { answered <- take(e, q, whole, nil) }()
		select {
		case err := <-answered:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Error("the request waits for the consumer of another one")
		}
		break
	}
}

// A consumer that takes no tokens stops only its own text, also if others need the memory of its sequence.
func TestPausedConsumer(t *testing.T) {
	a := newAnswers(t, "mini")
	lazy := a.alone(t, engine.Request{IDs: ids(1, 300), MaxNewTokens: 100})
	others := []*question{
		a.alone(t, engine.Request{IDs: ids(2, 200), MaxNewTokens: 60}),
		a.alone(t, engine.Request{IDs: ids(3, 20), MaxNewTokens: 50, LogProbs: true}),
	}
	for _, c := range []struct{ blocks, parallel int }{{8, 2}, {4, 2}, {4, 1}} {
		d := newDevice(t)
		d.blocks = c.blocks
		m := load(t, "mini", d, model.Options{Sequences: c.parallel})
		e := start(t, m, engine.Options{Parallel: c.parallel, Queue: 9})
		pause, goOn := make(chan struct{}), make(chan struct{})
		var wait sync.WaitGroup
		wait.Go(func() {
			n := 0
			for token, err := range e.Generate(context.Background(), lazy.request()) {
				if err != nil || token.ID != lazy.want[n].ID {
					t.Errorf("token %d is %d, %v", n, token.ID, err)
				}
				if n++; n == 1 {
					close(pause)
					<-goOn
				}
			}
			if n != 100 {
				t.Errorf("%d tokens", n)
			}
		})
		<-pause
		until("a pause", func() bool { return e.Stats().Paused == 1 })
		for _, q := range others {
			require.NoError(t, take(e, q, whole, nil))
		}
		require.Equal(t, 1, e.Stats().Paused)
		require.Less(t, e.Stats().GeneratedTokens, uint64(200))
		close(goOn)
		wait.Wait()
		idle(t, e)
		e.Close()
	}
}
