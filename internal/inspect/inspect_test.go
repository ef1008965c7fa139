package inspect

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
)

// What is seen inside is compared with Hugging Face's models in internal/backendtest, on every backend.
// Here is what does not depend on one.

var prompt = []int32{5, 77, 300, 12, 9}

func open(t *testing.T, dir string, o model.Options) *model.Model {
	t.Helper()
	b, err := cpu.New(cpu.Options{Threads: 2})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), os.DirFS("../../testdata/"+dir), b, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// logits are those of a pass that nobody watches.
func logits(t *testing.T, m *model.Model, ids []int32) []float32 {
	t.Helper()
	cache := m.NewCache()
	defer cache.Reset()
	var out model.Output
	_, err := m.Feed(context.Background(), model.Input{IDs: ids, Cache: cache}, &out)
	require.NoError(t, err)
	return out.Logits
}

// lensLogits are the logits after each layer.
func lensLogits(t *testing.T, text *Text) (lens [][]float32) {
	t.Helper()
	for after, err := range text.Lens(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, len(lens), after.Layer)
		lens = append(lens, after.Logits)
	}
	return lens
}

func TestLookingChangesNothing(t *testing.T) {
	m := open(t, "mini", model.Options{})
	want := logits(t, m, prompt)
	text := NewText(m, prompt)
	defer text.Close()
	for _, look := range []Look{
		{}, {Hidden: true}, {Attention: []int{2}}, {Hidden: true, Attention: []int{2, 1, 2}},
	} {
		view, err := text.Look(context.Background(), look)
		require.NoError(t, err)
		require.Equal(t, want, view.Logits)
		require.Len(t, view.Attention, len(look.Attention))
		if look.Hidden {
			require.Len(t, view.Hidden, len(prompt)*m.Config.HiddenSize)
		}
	}
	lens := lensLogits(t, text)
	require.Equal(t, want, lens[len(lens)-1])
	require.Equal(t, want, logits(t, m, prompt))
}

// After a look, nothing is watched any more.
func TestStop(t *testing.T) {
	m := open(t, "mini", model.Options{})
	text := NewText(m, prompt)
	defer text.Close()
	for range 2 { // the first computes the whole prompt, the second its last token
		require.Len(t, lensLogits(t, text), m.Config.Layers+1)
	}
	for after, err := range text.Lens(context.Background()) { // somebody looks away
		require.NoError(t, err)
		if after.Layer == 1 {
			break
		}
	}
	require.Len(t, lensLogits(t, text), m.Config.Layers+1)
	seen := 0
	stop := EachLayer(m, func(int, []float32) { seen++ })
	logits(t, m, prompt)
	require.Equal(t, m.Config.Layers+1, seen)
	stop()
	logits(t, m, prompt)
	view, err := text.Look(context.Background(), Look{})
	require.NoError(t, err)
	require.Equal(t, m.Config.Layers+1, seen)
	require.Nil(t, view.Attention)
}

// Every token is seen, also where the text takes several steps and crosses into the long RoPE factors.
func TestSteps(t *testing.T) {
	ids := make([]int32, 50)
	for i := range ids {
		ids[i] = int32(i * 3)
	}
	look := Look{Hidden: true, Attention: []int{1, 2}}
	var want View
	var wantLens [][]float32
	for _, maxTokens := range []int{64, 16} {
		m := open(t, "longrope", model.Options{MaxTokens: maxTokens})
		text := NewText(m, ids)
		lens := lensLogits(t, text)
		require.Len(t, lens, m.Config.Layers+1)
		view, err := text.Look(context.Background(), look)
		require.NoError(t, err)
		require.Len(t, view.Hidden, len(ids)*m.Config.HiddenSize)
		for _, heads := range view.Attention {
			require.Len(t, heads, m.Config.Heads)
			for _, weights := range heads {
				require.Len(t, weights, len(ids))
			}
		}
		if maxTokens == 64 {
			want, wantLens = view, lens
		}
		require.Equal(t, want, view)
		require.Equal(t, wantLens, lens)
		text.Close()
	}
}

func TestInterruption(t *testing.T) {
	m := open(t, "mini", model.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	text := NewText(m, prompt)
	defer text.Close()
	var failed error
	for after, err := range text.Lens(ctx) {
		if failed = err; after.Layer == 1 {
			cancel()
		}
	}
	require.ErrorIs(t, failed, context.Canceled)
	_, err := text.Look(ctx, Look{Hidden: true, Attention: []int{1}})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, lensLogits(t, text), m.Config.Layers+1)
}

// failing is a backend whose nth Read fails.
type failing struct {
	model.Backend
	left int
}

var errRead = errors.New("the device is on fire")

func (f *failing) Read(dst []float32, x model.Matrix) error {
	if f.left--; f.left < 0 {
		return errRead
	}
	return f.Backend.Read(dst, x)
}

// An error of the device while somebody looks ends the pass, wherever it comes.
func TestErrorsOfTheDevice(t *testing.T) {
	m := open(t, "mini", model.Options{})
	f := &failing{}
	defer m.Watch(func(b model.Backend) model.Backend {
		f.Backend = b
		return f
	})()
	text := NewText(m, prompt)
	defer text.Close()
	for _, look := range []func() error{
		func() (failed error) {
			for _, err := range text.Lens(context.Background()) {
				failed = err
			}
			return failed
		},
		func() error {
			_, err := text.Look(context.Background(), Look{Attention: []int{1, 2}})
			return err
		},
		func() error {
			defer EachLayer(m, func(int, []float32) {})()
			_, err := m.Feed(context.Background(), text.input(), &model.Output{Greedy: true})
			return err
		},
	} {
		failed := 0
		for f.left = 0; ; f.left = failed {
			text.cache.Reset()
			err := look()
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errRead)
			failed++
		}
		require.GreaterOrEqual(t, failed, 3)
	}
}

func TestFirstNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	require.Equal(t, -1, FirstNotFinite(nil))
	require.Equal(t, -1, FirstNotFinite([]float32{0, math.MaxFloat32}))
	require.Equal(t, 1, FirstNotFinite([]float32{0, nan, inf}))
	require.Equal(t, 0, FirstNotFinite([]float32{inf, nan}))
}
