package engine_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
)

// cached asks for one token and returns how many tokens of the prompt were cached.
func cached(t *testing.T, e *engine.Engine, r engine.Request) (id int32, cached int) {
	t.Helper()
	r.MaxNewTokens = 1
	got, err := collect(e, r)
	require.NoError(t, err)
	require.Equal(t, len(r.IDs), got[0].Cached+got[0].Fed)
	return got[0].ID, got[0].Cached
}

// What is found of a prompt of 300 tokens, two full blocks and a part of one.
func TestPrefixCache(t *testing.T) {
	for _, c := range []struct {
		o                         engine.Options
		again, otherEnd, nextTurn int
	}{
		{engine.Options{Parallel: 2}, 256, 256, 300},
		{engine.Options{Parallel: 1}, 299, 280, 300},
		{engine.Options{NoPrefixCache: true}, 0, 0, 0},
	} {
		prompt := ids(1, 300)
		e := start(t, load(t, "mini", newDevice(t), model.Options{Sequences: 2}), c.o)
		id, n := cached(t, e, engine.Request{IDs: prompt})
		require.Zero(t, n)
		turn := append(append(slices.Clone(prompt), id), ids(5, 9)...)
		_, n = cached(t, e, engine.Request{IDs: turn})
		require.Equal(t, c.nextTurn, n, "%+v", c.o)
		_, n = cached(t, e, engine.Request{IDs: prompt})
		require.Equal(t, c.again, n, "%+v", c.o)
		_, n = cached(t, e, engine.Request{IDs: append(slices.Clone(prompt[:280]), ids(9, 9)...)})
		require.Equal(t, c.otherEnd, n, "%+v", c.o)
		for _, r := range []engine.Request{{NoCache: true}, {PromptLogProbs: true}} {
			r.IDs = prompt
			_, n = cached(t, e, r)
			require.Zero(t, n)
		}
		s := e.Stats()
		if !c.o.NoPrefixCache {
			require.EqualValues(t, c.again+c.otherEnd+c.nextTurn, s.PrefixHits)
			require.EqualValues(t, 300+310+300+289, s.PrefixQueries)
		}
		require.EqualValues(t, 300+310+300+289+300+300, s.PromptTokens)
		require.EqualValues(t, 6, s.GeneratedTokens)
	}
}

// Two texts that begin alike, in less than a block, do not take each other's blocks, also if one runs at a
// time.
func TestPrefixOfTwoTexts(t *testing.T) {
	for parallel := 1; parallel <= 2; parallel++ {
		e := start(t, load(t, "mini", newDevice(t), model.Options{Sequences: 2}),
			engine.Options{Parallel: parallel, Queue: 1})
		one := ids(1, 400)
		two := append(slices.Clone(one[:50]), ids(7, 300)...)
		for _, want := range []int{0, 384, 384} {
			_, n := cached(t, e, engine.Request{IDs: one})
			require.Equal(t, want, n)
			_, n = cached(t, e, engine.Request{IDs: two})
			require.Equal(t, want/384*256, n)
		}
	}
}

// A prompt finds what another sequence has computed that is still running, also when both came together.
func TestPrefixOfRunning(t *testing.T) {
	for _, together := range []bool{false, true} {
		d := newDevice(t)
		m := load(t, "mini", d, model.Options{Sequences: 2})
		e := start(t, m, engine.Options{Parallel: 2, MaxStep: 64})
		steps, at := 0, 1
		if !together {
			at = 10 // the first one is decoding
		}
		begun := make(chan struct{})
		d.begin = func(*model.Step) {
			if steps++; steps == at {
				close(begun)
				arrive(e, 2)
			}
		}
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := collect(e, engine.Request{IDs: ids(1, 300), MaxNewTokens: 30}); err != nil {
				t.Error(err)
			}
		})
		<-begun
		_, n := cached(t, e, engine.Request{IDs: ids(1, 300)})
		require.Equal(t, 256, n, "together: %v", together)
		wait.Wait()
		require.EqualValues(t, 256, e.Stats().PrefixHits)
	}
}

// Progress tells of the prompt's steps, and of none later.
func TestProgress(t *testing.T) {
	e := start(t, load(t, "mini", newDevice(t), model.Options{}), engine.Options{MaxStep: 50})
	var fed [][2]int
	r := engine.Request{IDs: ids(1, 130), MaxNewTokens: 3}
	r.Progress = func(n, of int) { fed = append(fed, [2]int{n, of}) }
	_, err := collect(e, r)
	require.NoError(t, err)
	require.Equal(t, [][2]int{{50, 130}, {100, 130}, {130, 130}}, fed)
	fed = nil
	_, err = collect(e, r)
	require.NoError(t, err)
	require.Empty(t, fed, "all but the last token are cached")
}

// Blocks that become full while a text is generated are found under the ids of prompt and text, and under no
// others. The device chooses the tokens, or the host.
func TestPrefixOfGenerated(t *testing.T) {
	a := newAnswers(t, "mini")
	for _, logProbs := range []bool{false, true} {
		m := load(t, "mini", newDevice(t), model.Options{Sequences: 2})
		e := start(t, m, engine.Options{Parallel: 2})
		prompt := ids(1, 120)
		got, err := collect(e, engine.Request{IDs: prompt, MaxNewTokens: 20, LogProbs: logProbs})
		require.NoError(t, err)
		for _, token := range got {
			prompt = append(prompt, token.ID)
		}
		other := append([]int32{7}, prompt...)
		for _, test := range []struct {
			ids    []int32
			cached int
		}{{other, 0}, {append(prompt, ids(2, 3)...), 139}} {
			_, n := cached(t, e, engine.Request{IDs: test.ids})
			require.Equal(t, test.cached, n)
			q := a.alone(t, engine.Request{IDs: test.ids, MaxNewTokens: 3, LogProbs: true})
			require.NoError(t, take(e, q, whole, nil))
		}
	}
}
