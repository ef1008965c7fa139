package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
)

// While a prompt is watched, a text has a step after each of its steps.
func TestWatchDelaysOthersByOneStep(t *testing.T) {
	a := newAnswers(t, "mini")
	text := a.alone(t, engine.Request{IDs: ids(1, 3), MaxNewTokens: 31})
	prompt := a.alone(t, engine.Request{
		IDs: ids(2, 290), MaxNewTokens: 1, Watch: &engine.Watch{From: 90, Tokens: 10},
	})
	for _, ahead := range []bool{false, true} {
		d := newDevice(t)
		var b model.Backend = d
		if ahead {
			b = &aheadDevice{device: d}
		}
		var e *engine.Engine
		var wait sync.WaitGroup
		var lengths []int
		kinds := d.kinds(func(n int) {
			if n == 3 {
				wait.Go(func() {
					if err := take(e, prompt, whole, nil); err != nil {
						t.Error(err)
					}
				})
				until("a prompt that waits", func() bool { return e.Stats().Waiting == 1 })
			}
		})
		begin := d.begin
		d.begin = func(s *model.Step) {
			begin(s)
			lengths = append(lengths, len(s.IDs))
		}
		m := load(t, "mini", b, model.Options{Sequences: 2, MaxTokens: 512})
		e = start(t, m, engine.Options{Parallel: 2, MaxStep: 90})
		require.NoError(t, take(e, text, whole, nil))
		wait.Wait()
		e.Close()
		// The text begins alone, and a device that computes ahead has begun a step more.
		first := slices.Index(lengths, 90)
		require.Contains(t, []int{3, 4}, first)
		for i, n := range lengths[first : first+42] {
			switch {
			case i%2 == 1:
				require.Equal(t, 1, n, "%v", lengths)
				require.EqualValues(t, 'o', (*kinds)[first+i])
			case i > 0:
				require.Equal(t, 10, n, "%v", lengths)
			}
		}
	}
}

// A client that goes away ends its step between two layers, and nothing of it is left.
func TestWatchCancelled(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(1, 300), MaxNewTokens: 3})
	d := newDevice(t)
	m := load(t, "mini", d, model.Options{Sequences: 2, MaxTokens: 512})
	e := start(t, m, engine.Options{Parallel: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := q.request()
	r.Watch = &engine.Watch{From: 20, Tokens: 100}
	seen := watch(&r)
	layers := 0
	seen.attend = func(w *watcher) {
		if len(w.steps) == 2 {
			layers++
			cancel()
		}
	}
	for _, err := range e.Generate(ctx, r) {
		require.ErrorIs(t, err, context.Canceled)
	}
	idle(t, e)
	require.Equal(t, 1, layers)
	require.False(t, seen.active)
	require.Equal(t, [][2]int{{20, 100}, {120, 100}}, seen.steps)
	require.False(t, e.Stats().Failing)
	require.NoError(t, take(e, q, whole, nil))
}

// The error of a watcher ends its own request. It is not one of the device.
func TestWatcherFails(t *testing.T) {
	a := newAnswers(t, "mini")
	q := a.alone(t, engine.Request{IDs: ids(1, 30), MaxNewTokens: 3})
	d := newDevice(t)
	e := start(t, load(t, "mini", d, model.Options{}), engine.Options{Queue: 1})
	mine := errors.New("the watcher has had enough")
	for _, failing := range []bool{false, true} {
		if failing {
			err := errFault
			d.fault.Store(&err)
			require.ErrorIs(t, take(e, q, whole, nil), errFault)
		}
		r := q.request()
		r.Watch = &engine.Watch{}
		seen := watch(&r)
		seen.read = mine
		_, err := collect(e, r)
		require.ErrorIs(t, err, mine)
		require.False(t, seen.active)
		idle(t, e)
		require.Equal(t, failing, e.Stats().Failing)
		require.NoError(t, take(e, q, whole, nil))
		require.False(t, e.Stats().Failing)
	}
}

// A sequence that gives its blocks back while it is watched is watched again from the beginning. What comes
// after its first token is not.
func TestWatchAfterPreemption(t *testing.T) {
	a := newAnswers(t, "mini")
	text := a.alone(t, engine.Request{IDs: ids(1, 120), MaxNewTokens: 30})
	for _, c := range []struct{ most, tokens, again int }{{1, 10, 1}, {31, 512, 0}} {
		prompt := a.alone(t, engine.Request{IDs: ids(2, 290), MaxNewTokens: c.most})
		d := newDevice(t)
		d.blocks = 4
		m := load(t, "mini", d, model.Options{Sequences: 2, MaxTokens: 512})
		e := start(t, m, engine.Options{Parallel: 2, Queue: 1})
		begun := make(chan struct{})
		var once sync.Once
		d.begin = func(*model.Step) {
			once.Do(func() {
				close(begun)
				arrive(e, 2)
			})
		}
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := take(e, text, whole, nil); err != nil {
				t.Error(err)
			}
		})
		<-begun
		r := prompt.request()
		r.Watch = &engine.Watch{From: 100, Tokens: c.tokens}
		seen := watch(&r)
		got, err := collect(e, r)
		require.NoError(t, err)
		require.NoError(t, seen.all())
		require.True(t, slices.EqualFunc(prompt.want, got, same))
		require.Equal(t, c.again, seen.again)
		wait.Wait()
		idle(t, e)
		require.Positive(t, e.Stats().Preemptions)
	}
}
