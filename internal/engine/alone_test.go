package engine_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// watcher is a Watch that checks what it sees: steps of its own sequence, in order, from Watch.From on to the
// end of the prompt.
type watcher struct {
	model.Backend
	watch  engine.Watch
	prompt int            // tokens
	first  int            // position of the step
	steps  [][2]int       // position and length; those of the last computation of the prompt
	again  int            // how often the prompt was computed again
	attend func(*watcher) // called before every layer, if it is set
	read   error          // what Read returns, if it is set
	active bool
	err    error // what was wrong
}

// watch sets the Begin of a request's Watch. Without a Watch, it returns nil.
func watch(r *engine.Request) *watcher {
	if r.Watch == nil {
		return nil
	}
	w := &watcher{watch: *r.Watch, prompt: len(r.IDs)}
	w.watch.Begin = func(m *model.Model, first int) func() {
		w.wrong(w.active, "two steps at once")
		w.first, w.active = first, true
		stop := m.Watch(func(b model.Backend) model.Backend {
			w.Backend = b
			return w
		})
		return func() {
			w.wrong(!w.active, "a step ends twice")
			w.active = false
			stop()
		}
	}
	r.Watch = &w.watch
	return w
}

func (w *watcher) wrong(is bool, what string) {
	if is && w.err == nil {
		w.err = fmt.Errorf("%s; watched %v of %d from %d", what, w.steps, w.prompt, w.watch.From)
	}
}

// next is the position that must be watched next.
func (w *watcher) next() int {
	if n := len(w.steps); n > 0 {
		return w.steps[n-1][0] + w.steps[n-1][1]
	}
	return w.watch.From
}

func (w *watcher) Begin(s *model.Step) {
	w.wrong(len(s.Seqs) != 1, "other sequences in the step")
	at, n := s.Seqs[0].Position, s.Seqs[0].Len
	if at != w.next() && at == w.watch.From { // the sequence has given its blocks back
		w.steps = nil
		w.again++
	}
	w.wrong(at != w.first || at != w.next(), fmt.Sprintf("a step at %d, and Begin says %d", at, w.first))
	w.wrong(w.watch.Tokens > 0 && n > w.watch.Tokens || at+n > w.prompt, fmt.Sprintf("%d tokens", n))
	w.steps = append(w.steps, [2]int{at, n})
	w.Backend.Begin(s)
}

func (w *watcher) Attend(dst, qkv model.Matrix, layer int) {
	if w.attend != nil {
		w.attend(w)
	}
	w.Backend.Attend(dst, qkv, layer)
}

func (w *watcher) Read(dst []float32, x model.Matrix) error {
	if err := w.Backend.Read(dst, x); err != nil {
		return err
	}
	return w.read
}

// all returns an error if the watcher has not seen all that it should have seen before the first token.
func (w *watcher) all() error {
	if w == nil {
		return nil
	}
	w.wrong(w.active, "a step that has not ended")
	w.wrong(w.next() != w.prompt, "not all positions")
	return w.err
}

// kinds returns a letter for each step: which sequence it computes, told by the length of the prompts: under
// 100 "o", under 200 "a", and others "b". Steps with several sequences are in upper case.
func (d *device) kinds(before func(n int)) *[]byte {
	var kinds []byte
	d.begin = func(s *model.Step) {
		if before != nil {
			before(len(kinds) + 1)
		}
		kind := "oab"[(s.Seqs[0].Position+s.Seqs[0].Len)/100]
		if len(s.Seqs) > 1 {
			kind -= 'a' - 'A'
		}
		kinds = append(kinds, kind)
	}
	return &kinds
}

// Steps of sequences that are computed alone take turns with those of all others, and with each other. An
// answer is the same to the last bit.
func TestAloneTakesTurns(t *testing.T) {
	a := newAnswers(t, "mini")
	config := sampling.Defaults()
	config.DoSample = true
	for _, ahead := range []bool{false, true} {
		for _, c := range []struct {
			texts, tokens int // ordinary requests, and the tokens of each
		}{{1, 31}, {2, 31}, {1, 5}, {0, 0}} {
			var all []*question
			for i := range c.texts {
				all = append(all, a.alone(t, engine.Request{IDs: ids(1+i, 30), MaxNewTokens: c.tokens}))
			}
			for i, r := range []engine.Request{
				{IDs: ids(5, 110), NoCache: true}, {IDs: ids(9, 210), LogProbs: true},
			} {
				r.Alone, r.MaxNewTokens = true, 10
				q := &question{Request: r, codec: a.codec, seed: 5}
				if i == 1 {
					q.config = &config
				}
				a.answer(t, q)
				all = append(all, q)
			}
			d := newDevice(t)
			var b model.Backend = d
			if ahead {
				b = &aheadDevice{device: d}
			}
			e := start(t, load(t, "mini", b, model.Options{Sequences: 4, MaxTokens: 512}),
				engine.Options{Parallel: 4})
			kinds := d.kinds(func(n int) {
				if n == 1 {
					arrive(e, len(all))
				}
			})
			var wait sync.WaitGroup
			for _, q := range all {
				wait.Go(func() {
					if err := take(e, q, whole, nil); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			idle(t, e)
			e.Close()
			t.Logf("%s", *kinds)
			requireTurns(t, *kinds, c.texts > 0)
			count := func(letters string) (n int) {
				for _, k := range *kinds {
					if slices.Contains([]byte(letters), k) {
						n++
					}
				}
				return n
			}
			require.Equal(t, 10, count("a"))
			require.Equal(t, 10, count("b"))
			require.Zero(t, count("AB"))
			if c.texts <= 1 {
				require.Equal(t, c.tokens, count("o"))
			}
		}
	}
}

// requireTurns checks the order of steps, but for the first one, which had no others beside it.
func requireTurns(t *testing.T, kinds []byte, ordinary bool) {
	t.Helper()
	kinds = kinds[1:]
	last := map[byte]int{} // the last step of each kind
	var alone []byte
	for i, k := range kinds {
		if last[k|0x20] = i; k|0x20 != 'o' {
			alone = append(alone, k)
		}
	}
	for i, k := range alone[min(1, len(alone)):] { // they alternate as long as there are both
		only := len(bytes.Trim(alone[i:], string(k))) == 0
		require.True(t, k != alone[i] || only, "step %d of %s", i+2, alone)
	}
	for i, k := range kinds[1:] {
		before, k := kinds[i]|0x20, k|0x20
		switch {
		case before == 'o' && k == 'o':
			require.LessOrEqual(t, max(last['a'], last['b']), i, "step %d of %s", i+2, kinds)
		case before != 'o' && k != 'o':
			require.True(t, !ordinary || last['o'] <= i, "step %d of %s", i+2, kinds)
		}
	}
}

// What is watched of a prompt of 300 tokens, and what is computed before it without a look.
func TestWatch(t *testing.T) {
	a := newAnswers(t, "mini")
	for _, c := range []struct {
		name         string
		o            engine.Options
		again        bool // the prompt is known
		from, tokens int
		most         int // MaxStep
		cached       int
		steps        []int // new tokens, of all steps of the prompt
		watched      int   // the last ones of them
	}{
		{"all at once", engine.Options{Parallel: 2}, false, 0, 0, 512, 0, []int{300}, 1},
		{"in pieces", engine.Options{Parallel: 2}, false, 0, 128, 512, 0, []int{128, 128, 44}, 3},
		{"the last one", engine.Options{Parallel: 2}, false, 299, 7, 512, 0, []int{299, 1}, 1},
		{"in a block", engine.Options{Parallel: 2}, false, 150, 64, 100, 0, []int{100, 50, 64, 64, 22}, 3},
		{"a known prompt", engine.Options{Parallel: 2}, true, 150, 64, 100, 128, []int{22, 64, 64, 22}, 3},
		{"known to the end of a block", engine.Options{Parallel: 2}, true, 256, 0, 100, 256, []int{44}, 1},
		{"one caller", engine.Options{}, true, 150, 64, 100, 150, []int{64, 64, 22}, 3},
		{"all of it watched again", engine.Options{}, true, 0, 128, 512, 0, []int{128, 128, 44}, 3},
		{
			"nothing kept",
			engine.Options{NoPrefixCache: true},
			true, 200, 0, 80, 0,
			[]int{80, 80, 40, 80, 20},
			2,
		},
	} {
		d := newDevice(t)
		c.o.MaxStep = c.most
		e := start(t, load(t, "mini", d, model.Options{Sequences: 2, MaxTokens: 512}), c.o)
		q := a.alone(t, engine.Request{IDs: ids(1, 300), MaxNewTokens: 4})
		if c.again {
			require.NoError(t, take(e, q, whole, nil))
		}
		var steps []int
		d.begin = func(s *model.Step) { steps = append(steps, len(s.IDs)) }
		r := q.request()
		r.Watch = &engine.Watch{From: c.from, Tokens: c.tokens}
		seen := watch(&r)
		got, err := collect(e, r)
		require.NoError(t, err)
		require.NoError(t, seen.all(), c.name)
		require.Equal(t, append(c.steps, 1, 1, 1), steps, c.name)
		require.Len(t, seen.steps, c.watched, c.name)
		require.Equal(t, c.cached, got[0].Cached, c.name)
		require.True(t, slices.EqualFunc(q.want, got, same), c.name)
		idle(t, e)
	}
}

// A watch of something that is not there is refused.
func TestWatchRefused(t *testing.T) {
	e := start(t, load(t, "mini", newDevice(t), model.Options{}), engine.Options{})
	begin := func(*model.Model, int) func() { return func() {} }
	for _, w := range []engine.Watch{
		{From: -1, Begin: begin}, {From: 5, Begin: begin}, {Tokens: -1, Begin: begin}, {},
	} {
		_, err := collect(e, engine.Request{IDs: ids(1, 5), MaxNewTokens: 1, Watch: &w})
		require.ErrorContains(t, err, "watch", "%+v", w)
	}
}
