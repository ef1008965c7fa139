package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
)

// A range loop ends only when Stats counts its tokens.
func TestStatsBeforeTheEndOfALoop(t *testing.T) {
	m := openMini(t, 0)
	e := New(m, Options{})
	e.Close() // the test is in the place of the engine's goroutine
	s := newSequence(context.Background(), Request{IDs: prompt}, m.NewCache())
	defer s.cancel(nil)
	s.forget = func() bool { return true }
	e.counts.GeneratedTokens = 7
	e.end(s, nil)
	select {
	case <-s.tokens:
		t.Fatal("the loop has ended")
	default:
	}
	e.publish()
	_, more := <-s.tokens
	require.False(t, more)
	require.EqualValues(t, 7, e.Stats().GeneratedTokens)
}

// The logits of all new tokens are wanted of several prompts at once. They are not more than scoredTokens
// rows in a step, besides those of the sequences that are decoding.
func TestScoredTokensOfAStep(t *testing.T) {
	const requests = 6
	m, h := openOn(t, mini, 0, model.Options{Context: 256, Sequences: requests, MaxTokens: 512})
	want, err := Run(context.Background(), m, Request{IDs: long(130), MaxNewTokens: 5})
	require.NoError(t, err)
	e := New(m, Options{Parallel: requests})
	h.before = func(int) { // the first step waits for all
		for s := e.Stats(); s.Running+s.Waiting < requests; s = e.Stats() {
			runtime.Gosched()
		}
		h.before = nil
	}
	var wait sync.WaitGroup
	for range requests {
		wait.Go(func() {
			var ids []int32
			for token, err := range e.Generate(context.Background(),
				Request{IDs: long(130), MaxNewTokens: 5, PromptLogProbs: true}) {
				if err != nil || len(ids) == 0 && len(token.Prompt) != 129 {
					t.Errorf("%d log probabilities, %v", len(token.Prompt), err)
				}
				ids = append(ids, token.ID)
			}
			if !slices.Equal(ids, want.IDs) {
				t.Errorf("%v, not %v", ids, want.IDs)
			}
		})
	}
	wait.Wait()
	e.Close()
	require.LessOrEqual(t, cap(e.step.out.Logits), (scoredTokens+requests)*m.Config.HeadRows())
}

// The time of a token that is computed alone is that of its own steps. The time of others counts all steps.
func TestTimeOfAlone(t *testing.T) {
	const own, others = time.Second, time.Hour
	var clock atomic.Int64
	now = func() time.Time { return time.Unix(0, clock.Load()) }
	t.Cleanup(func() { now = time.Now }) // after the engine is closed
	m, h := openOn(t, mini, 0, model.Options{Context: 256, Sequences: 3, MaxTokens: 512})
	e := New(m, Options{Parallel: 3, MaxStep: 50})
	defer e.Close()
	first := true
	h.before = func(layer int) {
		for s := e.Stats(); first && s.Running+s.Waiting < 3; s = e.Stats() {
			runtime.Gosched()
		}
		switch first = false; {
		case layer > 0:
		case e.alone && e.step.parts[0].IDs[0] == long(130)[0]:
			clock.Add(int64(own))
		default:
			clock.Add(int64(others))
		}
	}
	var wait sync.WaitGroup
	for i, r := range []Request{
		{IDs: long(130), MaxNewTokens: 5, Alone: true},
		{IDs: prompt, MaxNewTokens: 20},
		{IDs: prompt, MaxNewTokens: 5, Alone: true},
	} {
		wait.Go(func() {
			n := 0
			for token, err := range e.Generate(context.Background(), r) {
				want := []time.Duration{own, 0, others}[i]
				if i == 0 && n == 0 {
					want = 3 * own // the prompt's steps
				}
				if err != nil || want > 0 && token.Time != want || token.Time < want {
					t.Errorf("request %d, token %d: %v, not %v, %v", i, n, token.Time, want, err)
				}
				if i == 1 && (n == 2 || n == 3) && token.Time < others+own {
					t.Errorf("%v without the steps of the others", token.Time)
				}
				n++
			}
		})
	}
	wait.Wait()
}
