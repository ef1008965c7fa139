package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"

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
