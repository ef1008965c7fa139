package generate

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

var prompt = []int32{5, 77, 300, 12, 9}

func newCPU(t *testing.T, threads int) *cpu.Backend {
	t.Helper()
	b, err := cpu.New(cpu.Options{Threads: threads})
	require.NoError(t, err)
	return b
}

// open loads a checkpoint with a context of room tokens; 0: its own.
func open(t *testing.T, fsys fs.FS, room int) *model.Model {
	t.Helper()
	m, err := model.Load(context.Background(), fsys, newCPU(t, 2), model.Options{Context: room})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

var mini = os.DirFS("../../testdata/mini")

// run is Run, with or without the cache.
func run(ctx context.Context, m *model.Model, ids []int32, noCache bool, o Options) (r Result, err error) {
	s := NewSession(m, noCache)
	defer s.Close()
	s.Append(ids...)
	for token, err := range s.Tokens(ctx, o) {
		if err != nil {
			return r, err
		}
		r.Add(token)
	}
	return r, nil
}

func TestRunStops(t *testing.T) {
	m := open(t, mini, 0)
	ctx := context.Background()
	free, err := Run(ctx, m, prompt, Options{MaxNewTokens: 10})
	require.NoError(t, err)
	require.Len(t, free.IDs, 10)
	require.Equal(t, FinishLength, free.Finish)
	require.Len(t, free.Steps, 9)
	require.Positive(t, free.Prefill)

	for _, n := range []int{0, 1} {
		r, err := Run(ctx, m, prompt, Options{MaxNewTokens: n})
		require.NoError(t, err)
		require.Len(t, r.IDs, n)
		require.Empty(t, r.Steps)
	}

	// Any id of the list ends the text and is part of it. Ids of the prompt end nothing.
	at := slices.IndexFunc(free.IDs, func(id int32) bool { return id != free.IDs[0] })
	require.Positive(t, at)
	r, err := Run(ctx, m, prompt, Options{MaxNewTokens: 10, Stop: []int32{prompt[1], free.IDs[at], 1}})
	require.NoError(t, err)
	require.Equal(t, free.IDs[:at+1], r.IDs)
	require.Equal(t, FinishStop, r.Finish)
}

func TestRunEndsWithTheContext(t *testing.T) {
	m := open(t, mini, len(prompt)+3)
	r, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 100})
	require.NoError(t, err)
	require.Equal(t, FinishContext, r.Finish)
	require.Len(t, r.IDs, 4, "three that fit the context, and the one that follows a full context")

	_, err = Run(context.Background(), m, make([]int32, len(prompt)+4), Options{MaxNewTokens: 1})
	require.EqualError(t, err, "the prompt has 9 tokens, the context holds 8")
	_, err = Run(context.Background(), m, nil, Options{MaxNewTokens: 1})
	require.ErrorContains(t, err, "empty")
}

// A token arrives as soon as it is chosen. An interruption loses none, and after the end of a loop the caller
// can begin another one.
func TestTokensCome(t *testing.T) {
	m := open(t, mini, 0)
	free, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 10})
	require.NoError(t, err)

	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seen []int32
	var failed error
	for token, err := range s.Tokens(ctx, Options{MaxNewTokens: 10}) {
		require.NoError(t, failed, "an error is the last")
		if failed = err; err != nil {
			continue
		}
		require.Equal(t, append(slices.Clone(prompt), append(seen, token.ID)...), s.IDs())
		require.Equal(t, s.Len()-1, token.Cached+token.Fed)
		require.Nil(t, token.Logits, "nobody asked")
		if seen = append(seen, token.ID); len(seen) == 3 {
			cancel() // as Ctrl-C does
		}
	}
	require.ErrorIs(t, failed, context.Canceled)
	require.Len(t, seen, 3)

	for token, err := range s.Tokens(context.Background(), Options{MaxNewTokens: 10}) {
		require.NoError(t, err)
		require.Empty(t, token.Finish)
		if seen = append(seen, token.ID); len(seen) == 5 {
			break
		}
	}
	for token, err := range s.Tokens(context.Background(), Options{MaxNewTokens: 5}) {
		require.NoError(t, err)
		require.Equal(t, 1, token.Fed)
		seen = append(seen, token.ID)
		require.Equal(t, len(seen) == 10, token.Finish == FinishLength)
	}
	require.Equal(t, free.IDs, seen)
}

// lowest is a sampler of another mind.
type lowest struct{}

func (lowest) Sample(logits []float32, _ []int32) (int32, error) {
	least := 0
	for i, l := range logits {
		if l < logits[least] {
			least = i
		}
	}
	return int32(least), nil
}

// The choice is the same on the device and from the logits on the host, and a sampler's where there is one.
func TestRunChooses(t *testing.T) {
	m := open(t, mini, 0)
	for _, noCache := range []bool{false, true} {
		onDevice, err := run(context.Background(), m, prompt, noCache, Options{MaxNewTokens: 20})
		require.NoError(t, err)
		onHost, err := run(context.Background(), m, prompt, noCache, Options{MaxNewTokens: 20, Logits: true})
		require.NoError(t, err)
		require.Equal(t, onHost.IDs, onDevice.IDs)
	}

	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	var least []int32
	for token, err := range s.Tokens(context.Background(),
		Options{MaxNewTokens: 5, Sampler: lowest{}, Logits: true}) {
		require.NoError(t, err)
		require.Len(t, token.Logits, m.Config.VocabSize)
		want, _ := lowest{}.Sample(token.Logits, nil)
		require.Equal(t, want, token.ID)
		least = append(least, token.ID)
	}
	again, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 5, Sampler: lowest{}})
	require.NoError(t, err)
	require.Equal(t, least, again.IDs)
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
	r, err := Run(context.Background(), open(t, mini, 0), prompt, Options{MaxNewTokens: 10, Sampler: w})
	require.ErrorIs(t, err, errWatcher)
	require.Equal(t, []int32{1, 2}, r.IDs)
	require.Equal(t, [][]int32{prompt, append(slices.Clone(prompt), 1), append(slices.Clone(prompt), 1, 2)},
		w.seen)
}

// The same seed gives the same ids: with the cache and without, however the prompt is cut, on any number of
// threads. Another gives others.
func TestSeed(t *testing.T) {
	config := sampling.Defaults()
	config.DoSample, config.TopK, config.TopP, config.RepetitionPenalty = true, 0, 0.95, 1.05
	ids := long(130)
	generated := func(maxTokens, threads int, noCache bool, seed uint64) []int32 {
		m, err := model.Load(context.Background(), mini, newCPU(t, threads),
			model.Options{Context: 256, MaxTokens: maxTokens})
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		r, err := run(context.Background(), m, ids, noCache,
			Options{MaxNewTokens: 12, Sampler: sampling.New(config, seed)})
		require.NoError(t, err)
		return r.IDs
	}
	want := generated(64, 2, false, 3)
	require.Equal(t, want, generated(64, 2, true, 3))
	require.Equal(t, want, generated(7, 1, false, 3))
	require.Equal(t, want, generated(256, 3, false, 3))
	require.NotEqual(t, want, generated(64, 2, false, 4))
}

// Progress of a prompt that takes several steps.
func TestProgress(t *testing.T) {
	m, err := model.Load(context.Background(), mini, newCPU(t, 0), model.Options{Context: 256, MaxTokens: 50})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	s := NewSession(m, false)
	s.Append(long(130)...)
	var fed [][2]int
	s.Progress = func(n, of int) { fed = append(fed, [2]int{n, of}) }
	for _, err := range s.Tokens(context.Background(), Options{MaxNewTokens: 3}) {
		require.NoError(t, err)
	}
	require.Equal(t, [][2]int{{50, 130}, {100, 130}, {130, 130}}, fed)
}

// long is a prompt of n ids that differ.
func long(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * 7 % 331)
	}
	return ids
}

// The KV cache changes no bit of any logit, here across the end of its first block of 128.
func TestRunWithoutCache(t *testing.T) {
	m := open(t, mini, 0)
	var runs [2][][]float32
	var ids [2][]int32
	for i, noCache := range []bool{false, true} {
		s := NewSession(m, noCache)
		s.Append(long(126)...)
		for token, err := range s.Tokens(context.Background(), Options{MaxNewTokens: 4, Logits: true}) {
			require.NoError(t, err)
			ids[i] = append(ids[i], token.ID)
			runs[i] = append(runs[i], slices.Clone(token.Logits))
		}
		s.Close()
	}
	require.Equal(t, ids[0], ids[1])
	require.Equal(t, runs[0], runs[1])
	require.Len(t, runs[0], 4)
}
