package backendtest

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/quantize"
	"phi3/internal/race"
)

// testPositions looks inside at many positions of a text at once. It compares what it sees with what is seen
// at the last position of shorter texts, bit for bit; testInside compares that with Hugging Face's numbers.
func testPositions(t *testing.T, testdata string, v Variant) {
	for _, test := range []struct {
		checkpoint, recipe string
		tokens             int
	}{
		{"mini", "", 33},
		{"medium", "", 20}, // grouped queries
		{"medium", "q8_0", 20},
		{"partial", "", 20}, // grouped queries, partial RoPE, tied embeddings
		{"partial", "q4_k", 20},
		{"window", "", 20},
		{"longrope", "", 35}, // with the long factors
		{"f16", "", 5},
		{"f32", "", 5},
		{"f32", "q5_0", 5},
	} {
		if race.Enabled && test.checkpoint != "mini" {
			continue
		}
		for _, float32 := range []bool{false, true} {
			t.Run(test.checkpoint+","+test.recipe, func(t *testing.T) {
				o := model.Options{MaxTokens: 18}
				if test.recipe != "" {
					recipe, err := quantize.Parse(test.recipe)
					require.NoError(t, err)
					o.Weights = &recipe
				}
				fsys := os.DirFS(filepath.Join(testdata, test.checkpoint))
				m, err := model.Load(context.Background(), fsys, v.Open(float32), o)
				require.NoError(t, err)
				defer func() { require.NoError(t, m.Close()) }()
				ids := randomIDs(m, test.tokens)
				checkLens(t, m, ids)
				checkAttention(t, m, ids)
				checkParts(t, m, ids, float32)
			})
		}
	}
}

// checkLens compares the logits of all positions after every layer.
func checkLens(t *testing.T, m *model.Model, ids []int32) {
	t.Helper()
	lens := make([][][]float32, m.Config.Layers+1) // [layers][positions][vocab]
	stop := inspect.AfterLayers(m, func(layer int) error {
		logits, err := m.LensLogits(nil, true)
		for row := range slices.Chunk(logits, m.Config.VocabSize) {
			lens[layer] = append(lens[layer], row)
		}
		return err
	})
	cache := m.NewCache()
	defer cache.Reset()
	out := model.Output{AllLogits: true}
	_, err := m.Feed(context.Background(), model.Input{IDs: ids, Cache: cache}, &out)
	stop()
	require.NoError(t, err)
	require.Equal(t, slices.Collect(slices.Chunk(out.Logits, m.Config.VocabSize)), lens[m.Config.Layers])
	// The RoPE factors depend on the length of the text, so only longer texts than the short factors allow
	// are parts of the whole one.
	for _, position := range []int{0, len(ids) / 2, len(ids) - 1} {
		if crossing := m.Config.Crossing(); crossing > 0 && position < crossing && len(ids) > crossing {
			continue
		}
		text := inspect.NewText(m, ids[:position+1])
		for after, err := range text.Lens(context.Background()) {
			require.NoError(t, err)
			require.Equal(t, after.Logits, lens[after.Layer][position], "layer %d, position %d", after.Layer,
				position)
		}
		text.Close()
	}
}

// checkAttention compares the weights of the last positions of every layer.
func checkAttention(t *testing.T, m *model.Model, ids []int32) {
	t.Helper()
	for layer := 1; layer <= m.Config.Layers; layer++ {
		from := len(ids) / 2
		if crossing := m.Config.Crossing(); crossing > 0 && len(ids) > crossing {
			from = crossing // see checkLens
		}
		seen := inspect.NewAttention(&m.Config, layer, from, len(ids))
		cache := m.NewCache()
		stop := seen.Watch(m)
		_, err := m.Feed(context.Background(), model.Input{IDs: ids, Cache: cache}, nil)
		stop()
		cache.Reset()
		require.NoError(t, err)
		var got [][][]float64 // [heads][positions][positions up to it]
		for head := range m.Config.Heads {
			var rows [][]float64
			see := func(position int, weights []float64) {
				require.Equal(t, from+len(rows), position)
				rows = append(rows, weights)
			}
			require.NoError(t, seen.Weights(context.Background(), head, see))
			got = append(got, rows)
		}
		for p := from; p < len(ids); p++ {
			text := inspect.NewText(m, ids[:p+1])
			view, err := text.Look(context.Background(), inspect.Look{Attention: []int{layer}})
			text.Close()
			require.NoError(t, err)
			for head, weights := range view.Attention[0] {
				require.Equal(t, weights, got[head][p-from], "layer %d, head %d, position %d", layer, head, p)
			}
		}
	}
}

// stream is a backend that keeps the residual stream of the last token, after the embeddings and after each
// addition, with the width of what is added.
type stream struct {
	model.Backend
	t      *testing.T
	x      [][]float32
	widths []int
}

func (s *stream) keep(x model.Matrix, width int) {
	values := make([]float32, x.Rows*x.Cols)
	require.NoError(s.t, s.Read(values, x))
	s.x, s.widths = append(s.x, values[len(values)-x.Cols:]), append(s.widths, width)
}

func (s *stream) Embed(x model.Matrix, table model.Weight) {
	s.x, s.widths = nil, nil
	s.Backend.Embed(x, table)
	s.keep(x, 0)
}

func (s *stream) LinearAdd(x, a model.Matrix, w model.Weight) {
	s.Backend.LinearAdd(x, a, w)
	s.keep(x, a.Cols)
}

// checkParts compares direct logit attribution with its definition, and its sum with the logits.
func checkParts(t *testing.T, m *model.Model, ids []int32, float32 bool) {
	t.Helper()
	c := &m.Config
	s := &stream{t: t}
	defer m.Watch(func(b model.Backend) model.Backend {
		s.Backend = b
		return s
	})()
	var parts inspect.Parts
	defer parts.Watch(m)()
	cache := m.NewCache()
	defer cache.Reset()
	var out model.Output
	_, err := m.Feed(context.Background(), model.Input{IDs: ids, Cache: cache}, &out)
	require.NoError(t, err)
	require.Len(t, s.x, 1+2*c.Layers)
	square := 0.0
	for _, x := range s.x[2*c.Layers] {
		square += float64(x) * float64(x)
	}
	rms := math.Sqrt(square/float64(c.HiddenSize) + float64(c.RMSNormEps))
	for _, id := range []int32{0, 7, int32(c.VocabSize) - 1} {
		direction, err := m.HeadDirection(context.Background(), id)
		require.NoError(t, err)
		got := parts.Logit(direction, c.RMSNormEps)
		require.Len(t, got, 1+2*c.Layers)
		sum, size := 0.0, 0.0 // of the products that make the logit; size adds their magnitudes
		for i, part := range got {
			want := 0.0
			for d, x := range s.x[i] {
				if want += direction[d] * float64(x); i > 0 {
					want -= direction[d] * float64(s.x[i-1][d])
				}
			}
			require.InDelta(t, want/rms, part, 1e-12*(1+math.Abs(want/rms)), "part %d", i)
			sum += part
		}
		for d, x := range s.x[2*c.Layers] {
			size += math.Abs(direction[d] * float64(x) / rms)
		}
		for i, width := range s.widths[1:] {
			if i%2 == 0 {
				require.Equal(t, c.Heads*c.HeadDim, width)
			} else {
				require.Equal(t, c.IntermediateSize, width)
			}
		}
		require.InDelta(t, sum, float64(out.Logits[id]), size*headError(c, float32), "token %d", id)
	}
}

// headError bounds the error of a logit of the head in float32, relative to the sum of the magnitudes of its
// products: the scale and the products of the norm, the sum of hidden products, and, unless float32 is set,
// an input that is rounded to bfloat16, which has 8 bits. A GPU keeps float32 weights with 8 bits or more.
func headError(c *model.Config, float32 bool) float64 {
	bound := float64(c.HiddenSize+8) * 0x1p-24
	if !float32 {
		bound += 2 * 0x1p-8
	}
	return bound
}
