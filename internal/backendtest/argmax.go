package backendtest

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// choices compares the tokens that the device chooses with the greatest logits.
func (b *bits) choices(t *testing.T) {
	m, ids, want := b.m, b.ids, b.want
	cache := m.NewCache()
	defer cache.Reset()
	from, err := cache.Prepare(len(ids))
	require.NoError(t, err)
	out := &model.Output{Greedy: true, AllLogits: true}
	for part := range slices.Chunk(ids, m.MaxTokens()) {
		require.NoError(t, m.Forward(context.Background(), []model.Sequence{{IDs: part, Cache: cache}}, out))
		require.Len(t, out.Next, len(part))
		for _, next := range out.Next {
			if from++; from > m.Config.Crossing() {
				require.Equal(t, choice(want[from]), next, "after %d tokens", from)
			}
		}
	}

	const tokens = 10
	request := engine.Request{IDs: ids[:5], MaxNewTokens: tokens}
	onDevice, err := engine.Run(context.Background(), m, request)
	require.NoError(t, err)
	request.Sampler = &recorder{}
	onHost, err := engine.Run(context.Background(), m, request)
	require.NoError(t, err)
	require.Equal(t, onHost.IDs, onDevice.IDs)
	require.Len(t, onDevice.IDs, tokens)
	b.together(t, onDevice.IDs)
}

// together generates a text three times at once. In the steps, one sequence wants logits, and the others want
// a choice.
func (b *bits) together(t *testing.T, want []int32) {
	e := engine.New(b.m, engine.Options{Parallel: 3})
	defer e.Close()
	var wait sync.WaitGroup
	for _, sampler := range []engine.Sampler{nil, &recorder{}, nil} {
		wait.Go(func() {
			var got []int32
			for token, err := range e.Generate(context.Background(),
				engine.Request{IDs: b.ids[:5], MaxNewTokens: len(want), Sampler: sampler}) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, token.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("with a sampler: %v: %v, not %v", sampler != nil, got, want)
			}
		})
	}
	wait.Wait()
}

// choice is what Argmax answers for a row of logits.
func choice(logits []float32) int32 {
	best := 0
	for id, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return int32(^id)
		}
		if l > logits[best] {
			best = id
		}
	}
	return int32(best)
}

// testArgmax tests rows in which the greatest logit is hard to find. They go to the device as a table of
// embeddings.
func testArgmax(t *testing.T, g *Golden, v Variant) {
	config, err := model.ReadConfig(g.FS())
	require.NoError(t, err)
	rng := rand.New(rand.NewSource(6))
	for _, cols := range []int{8, 1000, 1032, 32064} {
		rows := hardRows(rng, cols)
		table := &weight.Tensor{Name: "rows", Format: weight.F32, Shape: []int{len(rows), cols}}
		want, next, ids := make([]int32, len(rows)), make([]int32, len(rows)), make([]int32, len(rows))
		for i, r := range rows {
			want[i], next[i], ids[i] = choice(r), math.MinInt32, int32(i)
			for _, l := range r {
				table.Data = binary.LittleEndian.AppendUint32(table.Data, math.Float32bits(l))
			}
		}
		b := v.Open(true) // the table is not rounded either
		tensors := []*weight.Tensor{table}
		config.VocabSize = cols
		plan := &model.Plan{Config: config, Tensors: tensors, MaxTokens: 16, Context: 1, Least: 1}
		require.NoError(t, b.Plan(plan))
		w, err := b.Upload(table)
		require.NoError(t, err)
		x := plan.Logits.First(len(rows))
		b.Begin(&model.Step{IDs: ids})
		b.Embed(x, w)
		require.NoError(t, b.Argmax(next, x))
		require.Equal(t, want, next, "rows of %d", cols)
		require.NoError(t, b.Argmax(next[:1], x.First(1)))
		require.Equal(t, want, next)
		require.NoError(t, b.Close())
	}
}

// hardRows are rows of logits with ties, signed zeros, NaN and infinities.
func hardRows(rng *rand.Rand, cols int) (rows [][]float32) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	row := func(fill func(row []float32)) {
		r := make([]float32, cols)
		for i := range r {
			r[i] = rng.Float32() - 2
		}
		fill(r)
		rows = append(rows, r)
	}
	last := cols - 1
	row(func([]float32) {})
	row(func(r []float32) { r[0] = 1 })
	row(func(r []float32) { r[last] = 1 })
	row(func(r []float32) { r[cols/2], r[last] = 1, 1 }) // a tie
	row(func(r []float32) { r[cols/2], r[cols/2-1], r[last-1] = 1, 1, 1 })
	row(func(r []float32) { r[3], r[5] = 0, float32(math.Copysign(0, -1)) }) // equal
	row(func(r []float32) { r[3], r[5] = float32(math.Copysign(0, -1)), 0 })
	row(func(r []float32) { clear(r) })
	row(func(r []float32) { // many ties
		for i := range r {
			r[i] = float32(rng.Intn(3))
		}
	})
	row(func(r []float32) { r[0] = nan })
	row(func(r []float32) { r[last] = nan })
	row(func(r []float32) { r[cols/2], r[2] = -inf, 1 })
	row(func(r []float32) { r[cols/2], r[last], r[last-1] = inf, nan, nan })
	row(func(r []float32) { r[cols/2], r[last] = nan, inf })
	return rows
}
