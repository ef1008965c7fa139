package generate

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/sampling"
)

func TestSessionRepeatsItself(t *testing.T) {
	m := open(t, mini, 0)
	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	first, err := s.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(first)
	again, err := s.Logits(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, again)
}

// Several texts from one prompt: the session is cut back to it, which costs one token and no prefill, and
// changes nothing.
func TestSessionGoesBack(t *testing.T) {
	// longrope: going back crosses to the short factors, which costs the cache
	for _, checkpoint := range []string{"mini", "longrope"} {
		m := open(t, os.DirFS("../../testdata/"+checkpoint), 0)
		ids := long(30)
		config := sampling.Defaults()
		config.DoSample = true
		s := NewSession(m, false)
		s.Append(ids...)
		for seed := range uint64(3) {
			s.Truncate(len(ids))
			var fed [][2]int
			s.Progress = func(n, of int) { fed = append(fed, [2]int{n, of}) }
			var got Result
			for token, err := range s.Tokens(context.Background(),
				Options{MaxNewTokens: 8, Sampler: sampling.New(config, seed)}) {
				require.NoError(t, err)
				got.Add(token)
			}
			want, err := Run(context.Background(), m, ids,
				Options{MaxNewTokens: 8, Sampler: sampling.New(config, seed)})
			require.NoError(t, err)
			require.Equal(t, want.IDs, got.IDs, "seed %d", seed)
			require.Equal(t, append(slices.Clone(ids), got.IDs...), s.IDs())
			switch {
			case checkpoint == "longrope":
				require.Zero(t, got.Cached)
				require.Equal(t, [][2]int{{30, 30}, {33, 33}}, fed,
					"the second time, all tokens are computed again with the long factors")
			case seed == 0:
				require.Zero(t, got.Cached)
				require.Equal(t, [][2]int{{30, 30}}, fed)
			default:
				require.Equal(t, 29, got.Cached)
				require.Empty(t, fed)
			}
		}
		s.Close()
	}
}

// A session may change between the ways to ask.
func TestSessionNext(t *testing.T) {
	m := open(t, mini, 0)
	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	for range 5 {
		id, err := s.Next(context.Background())
		require.NoError(t, err)
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		require.Equal(t, sampling.Greedy(logits), id)
		s.Append(id)
	}
}

// fuse is a context that is cancelled when it has been asked for the nth time.
type fuse struct {
	context.Context
	left int
}

func (f *fuse) Err() error {
	if f.left--; f.left < 0 {
		return context.Canceled
	}
	return nil
}

// An interruption, between whichever layers of whichever step, leaves the session fit to go on, with the same
// bits.
func TestSessionAfterInterruption(t *testing.T) {
	// All the blocks that the sequence needs and not one more; three steps of two layers.
	m, err := model.Load(context.Background(), mini, newCPU(t, 0), model.Options{Context: 256, MaxTokens: 50})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	ids := long(130)
	fresh := NewSession(m, false)
	fresh.Append(ids...)
	logits, err := fresh.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(logits)
	fresh.Close()

	// at the start, inside the first step, between two steps, inside the last
	for _, asked := range []int{0, 1, 2, 5} {
		s := NewSession(m, false)
		s.Append(ids...)
		_, err := s.Logits(&fuse{context.Background(), asked})
		require.ErrorIs(t, err, context.Canceled, asked)
		require.Equal(t, len(ids), s.Len())
		logits, err := s.Logits(context.Background())
		require.NoError(t, err)
		require.Equal(t, want, logits, asked)
		s.Close()
	}
}

func TestSessionsGiveTheirBlocksBack(t *testing.T) {
	m := open(t, mini, 128) // one block
	for range 3 {
		_, err := Run(context.Background(), m, prompt, Options{MaxNewTokens: 3})
		require.NoError(t, err)
		_, err = Run(&fuse{context.Background(), 3}, m, prompt, Options{MaxNewTokens: 3})
		require.ErrorIs(t, err, context.Canceled)
		_, err = Run(context.Background(), m, []int32{5, 331}, Options{MaxNewTokens: 3})
		require.EqualError(t, err, "token id 331 is not in the model's vocabulary of 331")
	}
	// Two at a time are one too many, and that harms neither.
	first, second := NewSession(m, false), NewSession(m, false)
	first.Append(prompt...)
	second.Append(prompt...)
	logits, err := first.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(logits)
	_, err = second.Logits(context.Background())
	require.ErrorContains(t, err, "KV cache is full")
	first.Close()
	logits, err = second.Logits(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, logits)
	second.Close()
}
