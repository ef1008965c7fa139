package generate

import (
	"context"
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

// long is a prompt of n ids that differ.
func long(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * 7 % 331)
	}
	return ids
}

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

// Several texts from one prompt: the session is cut back to it, which changes nothing.
func TestSessionGoesBack(t *testing.T) {
	// longrope: going back crosses to the short factors, which costs the cache
	for _, checkpoint := range []string{"mini", "longrope"} {
		m := open(t, os.DirFS("../../testdata/"+checkpoint), 0)
		ids := long(30)
		config := sampling.Defaults()
		config.DoSample = true
		// generated continues the session's 30 ids.
		generated := func(s *Session, seed uint64) []int32 {
			sampler := sampling.New(config, seed)
			for range 8 {
				logits, err := s.Logits(context.Background())
				require.NoError(t, err)
				id, err := sampler.Sample(logits, s.IDs())
				require.NoError(t, err)
				s.Append(id)
			}
			require.Equal(t, ids, s.IDs()[:30])
			return slices.Clone(s.IDs()[30:])
		}
		s := NewSession(m, false)
		s.Append(ids...)
		for seed := range uint64(3) {
			s.Truncate(len(ids))
			require.Equal(t, len(ids), s.Len())
			got := generated(s, seed)
			fresh := NewSession(m, seed == 1) // with the cache and without
			fresh.Append(ids...)
			require.Equal(t, generated(fresh, seed), got, "seed %d", seed)
			fresh.Close()
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
		s := NewSession(m, false)
		s.Append(prompt...)
		_, err := s.Logits(context.Background())
		require.NoError(t, err)
		s.Append(1)
		_, err = s.Logits(&fuse{context.Background(), 1})
		require.ErrorIs(t, err, context.Canceled)
		s.Append(331)
		_, err = s.Logits(context.Background())
		require.EqualError(t, err, "token id 331 is not in the model's vocabulary of 331")
		s.Close()
		require.Zero(t, m.Pool().InUse())
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
