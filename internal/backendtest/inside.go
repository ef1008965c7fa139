package backendtest

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/generate"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/race"
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

// testInside compares what a layer would say and where its attention goes with what Hugging Face finds,
// however the prompt is fed.
func testInside(t *testing.T, testdata string, v Variant) {
	raw, err := os.ReadFile(filepath.Join(testdata, "inside.json"))
	require.NoError(t, err)
	var file struct{ Prompts []insideGolden }
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Prompts)
	for _, g := range file.Prompts {
		for _, maxTokens := range []int{64, 13} {
			if len(g.IDs) > 64 && race.Enabled {
				continue
			}
			t.Run(g.Checkpoint+"/"+g.Prompt, func(t *testing.T) {
				fsys := os.DirFS(filepath.Join(testdata, g.Checkpoint))
				m, err := model.Load(context.Background(), fsys, v.Open(true),
					model.Options{MaxTokens: maxTokens})
				require.NoError(t, err)
				defer func() { require.NoError(t, m.Close()) }()
				g.check(t, m)
			})
		}
	}
}

func (g *insideGolden) check(t *testing.T, m *model.Model) {
	s := generate.NewSession(m, false)
	s.Append(g.IDs...)
	plain, err := s.Logits(context.Background())
	require.NoError(t, err)
	want := slices.Clone(plain)
	s.Close()

	text := inspect.NewText(m, g.IDs)
	defer text.Close()
	var look inspect.Look
	for layer := range m.Config.Layers {
		look.Attention = append(look.Attention, layer+1)
	}
	view, err := text.Look(context.Background(), look)
	require.NoError(t, err)
	require.Equal(t, want, view.Logits, "looking changes nothing")
	require.Empty(t, view.Hidden)

	var lens [][]float32
	for after, err := range text.Lens(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, len(lens), after.Layer)
		lens = append(lens, after.Logits)
	}
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
			require.InDeltaSlice(t, weights, view.Attention[layer][h], 2e-5, "layer %d, head %d", layer+1,
				h+1)
		}
	}
}
