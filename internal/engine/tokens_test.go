package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

var (
	mini   = os.DirFS("../../testdata/mini")
	prompt = []int32{5, 77, 300, 12, 9}
)

// long is a prompt of n ids that differ.
func long(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * 7 % 331)
	}
	return ids
}

// hooked is the CPU. If they are set, it calls before ahead of every layer, and chosen with every choice.
type hooked struct {
	model.Backend
	before func(layer int)
	chosen func(next []int32)
}

func (h *hooked) Attend(dst, qkv model.Matrix, layer int) {
	if h.before != nil {
		h.before(layer)
	}
	h.Backend.Attend(dst, qkv, layer)
}

func (h *hooked) Argmax(next []int32, logits model.Matrix) error {
	err := h.Backend.Argmax(next, logits)
	if h.chosen != nil {
		h.chosen(next)
	}
	return err
}

// openOn loads a checkpoint on so many threads; 0: one for each core.
func openOn(t *testing.T, fsys fs.FS, threads int, o model.Options) (*model.Model, *hooked) {
	t.Helper()
	b, err := cpu.New(cpu.Options{Threads: threads})
	require.NoError(t, err)
	h := &hooked{Backend: b}
	m, err := model.Load(context.Background(), fsys, h, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m, h
}

func openMini(t *testing.T, room int) *model.Model {
	t.Helper()
	m, _ := openOn(t, mini, 2, model.Options{Context: room})
	return m
}

func TestRunStops(t *testing.T) {
	m := openMini(t, 0)
	ctx := context.Background()
	free, err := Run(ctx, m, Request{IDs: prompt, MaxNewTokens: 10})
	require.NoError(t, err)
	require.Len(t, free.IDs, 10)
	require.Equal(t, FinishLength, free.Finish)
	require.Len(t, free.Steps, 9)
	require.Positive(t, free.Prefill)

	for _, n := range []int{0, 1} {
		r, err := Run(ctx, m, Request{IDs: prompt, MaxNewTokens: n})
		require.NoError(t, err)
		require.Len(t, r.IDs, n)
		require.Equal(t, FinishLength, r.Finish)
		require.Empty(t, r.Steps)
	}

	// Any id of the list ends the text and is part of it. Ids of the prompt end nothing.
	at := slices.IndexFunc(free.IDs, func(id int32) bool { return id != free.IDs[0] })
	require.Positive(t, at)
	for _, logProbs := range []bool{false, true} { // the device chooses, or the host
		r, err := Run(ctx, m, Request{
			IDs: prompt, MaxNewTokens: 10, Stop: []int32{prompt[1], free.IDs[at], 1}, LogProbs: logProbs,
		})
		require.NoError(t, err)
		require.Equal(t, free.IDs[:at+1], r.IDs)
		require.Equal(t, FinishStop, r.Finish)
	}
}

func TestRunEndsWithTheContext(t *testing.T) {
	m := openMini(t, len(prompt)+3)
	for _, logProbs := range []bool{false, true} {
		r, err := Run(context.Background(), m, Request{IDs: prompt, MaxNewTokens: 100, LogProbs: logProbs})
		require.NoError(t, err)
		require.Equal(t, FinishContext, r.Finish)
		require.Len(t, r.IDs, 4, "three that fit the context, and the one that follows a full context")
	}
	_, err := Run(context.Background(), m, Request{IDs: make([]int32, len(prompt)+4), MaxNewTokens: 1})
	require.EqualError(t, err, "the prompt has 9 tokens, the context holds 8")
	_, err = Run(context.Background(), m, Request{MaxNewTokens: 1})
	require.ErrorContains(t, err, "empty")
}

// A token arrives as soon as it is chosen: here the next step begins only when the consumer has it.
func TestTokensCome(t *testing.T) {
	const n = 10
	m, h := openOn(t, mini, 2, model.Options{})
	for _, logProbs := range []bool{false, true} {
		came := make(chan struct{}, n)
		steps := 0
		h.before = func(layer int) {
			if layer > 0 {
				return
			}
			if steps++; steps > 1 { // the first one is the prompt's
				<-came
			}
		}
		e := New(m, Options{})
		tokens := 0
		for _, err := range e.Generate(context.Background(),
			Request{IDs: prompt, MaxNewTokens: n, LogProbs: logProbs}) {
			require.NoError(t, err)
			tokens++
			came <- struct{}{}
		}
		e.Close()
		require.Equal(t, n, tokens)
		require.Equal(t, n, steps)
	}
}

// An interruption loses no token that has come, and brings no other. A request for the text so far goes on
// from there: only its last token is computed.
func TestInterruption(t *testing.T) {
	m := openMini(t, 0)
	for _, logProbs := range []bool{false, true} {
		free, err := Run(context.Background(), m, Request{IDs: prompt, MaxNewTokens: 10})
		require.NoError(t, err)
		e := New(m, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var seen []int32
		rest := func() Request {
			return Request{IDs: slices.Concat(prompt, seen), MaxNewTokens: 10 - len(seen), LogProbs: logProbs}
		}
		var failed error
		for token, err := range e.Generate(ctx, rest()) {
			require.NoError(t, failed, "an error is the last")
			if failed = err; err != nil {
				continue
			}
			require.Equal(t, len(prompt)+len(seen), token.Cached+token.Fed)
			if seen = append(seen, token.ID); len(seen) == 3 {
				cancel() // as Ctrl-C does
			}
		}
		require.ErrorIs(t, failed, context.Canceled)
		require.Len(t, seen, 3)

		for token, err := range e.Generate(context.Background(), rest()) {
			require.NoError(t, err)
			require.Equal(t, 1, token.Fed)
			require.Empty(t, token.Finish)
			if seen = append(seen, token.ID); len(seen) == 5 {
				break
			}
		}
		for token, err := range e.Generate(context.Background(), rest()) {
			require.NoError(t, err)
			require.Equal(t, 1, token.Fed)
			seen = append(seen, token.ID)
			require.Equal(t, len(seen) == 10, token.Finish == FinishLength)
		}
		require.Equal(t, free.IDs, seen)
		e.Close()
	}
}

// An interruption between whichever layers of whichever step leaves the model fit to go on, with the same
// bits.
func TestRunAfterInterruption(t *testing.T) {
	// All the blocks that the sequence needs and not one more; three steps of two layers, then the tokens'.
	m, h := openOn(t, mini, 0, model.Options{Context: 256, MaxTokens: 50})
	record := func() (r recorder) {
		_, err := Run(context.Background(), m, Request{IDs: long(130), MaxNewTokens: 3, Sampler: &r})
		require.NoError(t, err)
		require.Len(t, r.logits, 3)
		return r
	}
	want := record()
	for _, logProbs := range []bool{false, true} {
		for _, at := range []int{0, 1, 2, 5, 6, 7} {
			ctx, cancel := context.WithCancel(context.Background())
			layers := 0
			h.before = func(int) {
				if layers == at {
					cancel()
				}
				layers++
			}
			r, err := Run(ctx, m, Request{IDs: long(130), MaxNewTokens: 30, LogProbs: logProbs})
			cancel()
			require.ErrorIs(t, err, context.Canceled, at)
			require.LessOrEqual(t, len(r.IDs), 1)
			h.before = nil
			require.Zero(t, m.Pool().InUse())
			require.Equal(t, want, record(), at)
		}
	}
}

// Requests give their blocks back, however they end.
func TestRunsGiveTheirBlocksBack(t *testing.T) {
	m, h := openOn(t, mini, 2, model.Options{Context: 128}) // one block
	for range 3 {
		_, err := Run(context.Background(), m, Request{IDs: prompt, MaxNewTokens: 3})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		h.before = func(int) { cancel() }
		_, err = Run(ctx, m, Request{IDs: prompt, MaxNewTokens: 3})
		require.ErrorIs(t, err, context.Canceled)
		h.before = nil
		_, err = Run(context.Background(), m, Request{IDs: []int32{5, 331}, MaxNewTokens: 3})
		require.EqualError(t, err, "token id 331 is not in the model's vocabulary of 331")
		require.Zero(t, m.Pool().InUse())
	}
}

// recorder is a sampler that chooses the most probable token, and keeps the logits.
type recorder struct{ logits [][]float32 }

func (r *recorder) Sample(logits []float32, _ []int32) (int32, error) {
	r.logits = append(r.logits, slices.Clone(logits))
	return sampling.Greedy(logits), nil
}

// lowest is a sampler of another mind.
type lowest struct{ logits [][]float32 }

func (l *lowest) Sample(logits []float32, _ []int32) (int32, error) {
	l.logits = append(l.logits, slices.Clone(logits))
	return lowestOf(logits), nil
}

func lowestOf(logits []float32) int32 { return int32(slices.Index(logits, slices.Min(logits))) }

// The choice is the same on the device and from the logits on the host, and a sampler's where there is one.
func TestRunChooses(t *testing.T) {
	m := openMini(t, 0)
	for _, noCache := range []bool{false, true} {
		r := Request{IDs: prompt, MaxNewTokens: 20, NoCache: noCache}
		onDevice, err := Run(context.Background(), m, r)
		require.NoError(t, err)
		r.Sampler = &recorder{}
		onHost, err := Run(context.Background(), m, r)
		require.NoError(t, err)
		require.Equal(t, onHost.IDs, onDevice.IDs)
		r.Sampler, r.LogProbs = nil, true
		onHost, err = Run(context.Background(), m, r)
		require.NoError(t, err)
		require.Equal(t, onHost.IDs, onDevice.IDs)
	}
	for _, logProbs := range []bool{false, true} {
		sampler := &lowest{}
		r, err := Run(context.Background(), m,
			Request{IDs: prompt, MaxNewTokens: 5, Sampler: sampler, LogProbs: logProbs})
		require.NoError(t, err)
		require.Len(t, sampler.logits, 5)
		for i, logits := range sampler.logits {
			require.Len(t, logits, m.Config.VocabSize)
			require.Equal(t, lowestOf(logits), r.IDs[i])
		}
	}
}

// A sampler sees the whole sequence so far; its error ends the text and is not hidden.
type watcher struct{ seen [][]int32 }

var errWatcher = errors.New("seen enough")

func (w *watcher) Sample(_ []float32, ids []int32) (int32, error) {
	w.seen = append(w.seen, slices.Clone(ids))
	if len(w.seen) == 3 {
		return 0, errWatcher
	}
	return int32(len(w.seen)), nil
}

func TestSamplerSeesTheSequence(t *testing.T) {
	w := &watcher{}
	r, err := Run(context.Background(), openMini(t, 0), Request{IDs: prompt, MaxNewTokens: 10, Sampler: w})
	require.ErrorIs(t, err, errWatcher)
	require.Equal(t, []int32{1, 2}, r.IDs)
	require.Equal(t, [][]int32{prompt, append(slices.Clone(prompt), 1), append(slices.Clone(prompt), 1, 2)},
		w.seen)
}

// The KV cache changes no bit of any logit, here across the end of its first block of 128.
func TestRunWithoutCache(t *testing.T) {
	m := openMini(t, 0)
	var runs [2]recorder
	var ids [2][]int32
	for i, noCache := range []bool{false, true} {
		r, err := Run(context.Background(), m,
			Request{IDs: long(126), MaxNewTokens: 4, Sampler: &runs[i], NoCache: noCache})
		require.NoError(t, err)
		ids[i] = r.IDs
	}
	require.Equal(t, ids[0], ids[1])
	require.Equal(t, runs[0], runs[1])
	require.Len(t, runs[0].logits, 4)
}
