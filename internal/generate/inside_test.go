package generate

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/model"
)

// Hugging Face's models from inside, for the last position of a prompt (testdata/make_inside.py).
type insideGolden struct {
	Checkpoint, Prompt string
	IDs                []int32
	Lens               []struct { // the embeddings, then every layer
		IDs    []int32 // the five highest logits
		Logits []float32
	}
	Attention [][][]float64 // [layers][heads][tokens]
}

// What a layer would say and where its attention goes is what Hugging Face finds, however the prompt is fed.
func TestInspectAgainstHuggingFace(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/inside.json")
	require.NoError(t, err)
	var file struct{ Prompts []insideGolden }
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Prompts)
	for _, g := range file.Prompts {
		for _, maxTokens := range []int{64, 13} {
			t.Run(g.Checkpoint+"/"+g.Prompt, func(t *testing.T) { testInspect(t, g, maxTokens) })
		}
	}
}

func testInspect(t *testing.T, g insideGolden, maxTokens int) {
	backend, err := cpu.New(cpu.Options{Threads: 2, Float32: true})
	require.NoError(t, err)
	m, err := model.Load(context.Background(), os.DirFS("../../testdata/"+g.Checkpoint), backend, model.Options{MaxTokens: maxTokens})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	s := NewSession(m, false)
	s.Append(g.IDs...)
	plain, err := s.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(plain)

	var lens [][]float32
	look := Look{EachLens: func(layer int, logits []float32) {
		require.Equal(t, len(lens), layer)
		lens = append(lens, slices.Clone(logits))
	}}
	for layer := range m.Config.Layers {
		look.Attention = append(look.Attention, layer+1)
	}
	view, err := s.Inspect(context.Background(), look)
	require.NoError(t, err)
	require.Equal(t, want, view.Logits, "looking changes nothing")
	require.Empty(t, view.Hidden)

	require.Len(t, lens, m.Config.Layers+1)
	require.Equal(t, want, lens[m.Config.Layers], "after the last layer the model says what it says")
	for layer, golden := range g.Lens {
		order := make([]int32, len(lens[layer]))
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(lens[layer][b], lens[layer][a]) })
		require.Equal(t, golden.IDs, order[:5], "layer %d", layer)
		for i, id := range golden.IDs {
			require.InDelta(t, golden.Logits[i], lens[layer][id], 2e-4, "layer %d", layer)
		}
	}

	require.Len(t, view.Attention, len(g.Attention))
	for layer, heads := range g.Attention {
		require.Len(t, view.Attention[layer], len(heads))
		for h, weights := range heads {
			require.InDeltaSlice(t, weights, view.Attention[layer][h], 2e-5, "layer %d, head %d", layer+1, h+1)
		}
	}
}

// After a look nothing is watched any longer.
func TestInspectLeavesNothingBehind(t *testing.T) {
	m := open(t, mini, 0)
	s := NewSession(m, false)
	s.Append(prompt...)
	seen := 0
	_, err := s.Inspect(context.Background(), Look{EachLens: func(int, []float32) { seen++ }, Attention: []int{2}})
	require.NoError(t, err)
	require.Equal(t, m.Config.Layers+1, seen)
	_, err = s.Logits(context.Background())
	require.NoError(t, err)
	view, err := s.Inspect(context.Background(), Look{})
	require.NoError(t, err)
	require.Equal(t, m.Config.Layers+1, seen)
	require.Nil(t, view.Attention)
}
