package explore

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/export"
	"phi3/internal/gguf"
	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/nexttoken"
	"phi3/internal/quantize"
	"phi3/internal/race"
)

// Direct logit attribution adds up to the logit. The model rounds the head's inputs to bfloat16, and adds in
// float32.
func TestContributions(t *testing.T) {
	for _, tokens := range []int{1, 20, 300} {
		ids := someIDs(tokens)
		var all []Contribution
		e := newParser(t)
		t.Run("contributions", func(t *testing.T) {
			e := newExplorer(t, engine.Options{Parallel: 2})
			value, err := e.Contributions(t.Context(),
				body(t, ContributionsRequest{ids, []int32{0, 7, 2559, 7}}))
			require.NoError(t, err)
			all = value.(Contributions).Tokens
		})
		report := reportOf(t, e, ids, nexttoken.Options{Top: 1})
		parts, direction := partsOf(t, ids, 7)
		require.Len(t, all, 4)
		require.Equal(t, all[1], all[3])
		for i, part := range parts.Logit(direction, e.Config.RMSNormEps) {
			switch {
			case i == 0:
				require.Equal(t, part, all[1].Embedding)
			case i%2 == 1:
				require.Equal(t, part, all[1].Attention[i/2])
			default:
				require.Equal(t, part, all[1].MLP[i/2-1])
			}
		}
		for _, c := range all {
			require.Equal(t, e.token(c.ID), c.Token)
			require.Equal(t, report.Logits[c.ID], c.Logit)
			require.Len(t, c.Attention, 4)
			require.Len(t, c.MLP, 4)
			sum, size := c.Embedding, math.Abs(c.Embedding)
			for i := range c.Attention {
				sum += c.Attention[i] + c.MLP[i]
				size += math.Abs(c.Attention[i]) + math.Abs(c.MLP[i])
			}
			require.InDelta(t, sum, c.Sum, 1e-9)
			require.Greater(t, size, 0.1)
			require.InDelta(t, float64(c.Logit), c.Sum, 0.02*size)
		}
	}
}

// partsOf is what inspect sees of a text. No engine may own the model.
func partsOf(t *testing.T, ids []int32, id int32) (parts inspect.Parts, direction []float64) {
	t.Helper()
	m, err := loadDemo()
	require.NoError(t, err)
	defer parts.Watch(m)()
	cache := m.NewCache()
	defer cache.Reset()
	_, err = m.Feed(t.Context(), model.Input{IDs: ids, Cache: cache}, nil)
	require.NoError(t, err)
	direction, err = m.HeadDirection(t.Context(), id)
	require.NoError(t, err)
	return parts, direction
}

// The head's weights are those that the device has: quantized while the checkpoint loads, or in a GGUF file.
func TestContributionsQuantized(t *testing.T) {
	race.SkipAlone(t)
	recipe, err := quantize.Parse("q5_0")
	require.NoError(t, err)
	plan, err := export.NewPlan(demo.FS(), demo.Name, &recipe)
	require.NoError(t, err)
	defer func() { require.NoError(t, plan.Close()) }()
	dir := t.TempDir()
	require.NoError(t, plan.Write(t.Context(), filepath.Join(dir, "demo.gguf"), func(int64, int64) {}))
	file, err := gguf.Open(os.DirFS(dir), "demo.gguf")
	require.NoError(t, err)
	contributions := func(fsys fs.FS, o model.Options) []Contribution {
		backend, err := cpu.New(cpu.Options{Threads: 2, Float32: true})
		require.NoError(t, err)
		m, err := model.Load(t.Context(), fsys, backend, o)
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		e := newParser(t)
		e.Engine = engine.New(m, engine.Options{})
		defer e.Engine.Close()
		value, err := e.Contributions(t.Context(), body(t, ContributionsRequest{someIDs(9), []int32{3, 900}}))
		require.NoError(t, err)
		return value.(Contributions).Tokens
	}
	fromFile := contributions(file, model.Options{})
	require.Equal(t, fromFile, contributions(demo.FS(), model.Options{Weights: &recipe}))
	plain := contributions(demo.FS(), model.Options{})
	for i, c := range fromFile {
		require.NotEqual(t, plain[i].Sum, c.Sum)
		require.InDelta(t, float64(c.Logit), c.Sum, 1e-4, "with inputs in float32")
	}
}
