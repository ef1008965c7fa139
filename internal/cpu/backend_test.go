package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// onEveryPath runs a test with each path that this processor can run.
func onEveryPath(t *testing.T, test func(t *testing.T)) {
	for _, k := range append(nativeKernels(), goKernels) {
		t.Run(k.name, func(t *testing.T) {
			t.Setenv(pathVariable, k.name)
			test(t)
		})
	}
}

// newBackend plans a backend for the configuration and closes it when the test ends.
func newBackend(t *testing.T, o Options, c *model.Config, maxTokens, blocks int) *Backend {
	t.Helper()
	b, err := New(o)
	require.NoError(t, err)
	require.NoError(t, b.Plan(&model.Plan{Config: c, MaxTokens: maxTokens, Context: blocks * chunk}))
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// upload makes a BF16 weight. It also returns the values of the weight, rounded to bfloat16.
func upload(t testing.TB, b *Backend, rng *rand.Rand, shape ...int) (model.Weight, []float32) {
	t.Helper()
	n := 1
	for _, s := range shape {
		n *= s
	}
	w := normals(rng, n)
	goRoundBF16(w)
	var data []byte
	for _, v := range w {
		data = binary.LittleEndian.AppendUint16(data, weight.ToBF16(v))
	}
	weight, err := b.Upload(&weight.Tensor{Name: "w", Format: weight.BF16, Shape: shape, Data: data})
	require.NoError(t, err)
	return weight, w
}

func matrixOf(rows, cols int, v []float32) model.Matrix {
	return model.Matrix{Rows: rows, Cols: cols, Data: slices.Clone(v)}
}

// poisoned returns a matrix of NaN, so that values which no verb writes are noticed.
func poisoned(rows, cols int) model.Matrix {
	return matrixOf(rows, cols, slices.Repeat([]float32{float32(math.NaN())}, rows*cols))
}

// normed is RMSNorm in float64, rounded as the input of a matrix product if round is set.
func normed(x, w []float32, round bool) []float32 {
	y := make([]float32, len(x))
	for t := range len(x) / len(w) {
		var mean float64
		for _, v := range row(x, t, len(w)) {
			mean += float64(v) * float64(v) / float64(len(w))
		}
		for i := range w {
			y[t*len(w)+i] = float32(float64(x[t*len(w)+i]) / math.Sqrt(mean+1e-5) * float64(w[i]))
		}
	}
	if round {
		goRoundBF16(y)
	}
	return y
}

// The linear verbs are compared with float64, at sizes that are not multiples of anything.
func TestLinearVerbs(t *testing.T) { onEveryPath(t, testLinearVerbs) }

func testLinearVerbs(t *testing.T) {
	for _, f32 := range []bool{false, true} {
		for _, tokens := range []int{1, 2, 3, 6, 7, 17} {
			for _, size := range []struct{ in, out int }{
				{4, 1},
				{5, 7},
				{12, 8},
				{96, 9},
				{64, 31},
				{33, 40},
				{1047, 18},
			} {
				t.Run(fmt.Sprintf("f32=%v,tokens=%d,in=%d,out=%d", f32, tokens, size.in, size.out),
					func(t *testing.T) {
						rng := rand.New(rand.NewSource(int64(tokens*100 + size.in)))
						c := &model.Config{
							HiddenSize: size.in, IntermediateSize: size.out, Heads: 1, KVHeads: 1,
							RMSNormEps: 1e-5,
						}
						b := newBackend(t, Options{Threads: 3, Float32: f32}, c, tokens, 0)
						norm, normValues := upload(t, b, rng, size.in)
						w, wv := upload(t, b, rng, size.out, size.in)
						gu, guv := upload(t, b, rng, 2*size.out, size.in)
						x := normals(rng, tokens*size.in)
						in := normed(x, normValues, !f32)
						product := func(w []float32, n, token int) (sum, size float64) {
							for k := range c.HiddenSize {
								p := float64(w[n*c.HiddenSize+k]) * float64(in[token*c.HiddenSize+k])
								sum += p
								size += math.Abs(p)
							}
							return sum, size
						}
						// One of a few hundred inputs is rounded in the other direction, because the last bit
						// of the norm differs from float64's.
						tolerance := 1e-6
						if !f32 {
							tolerance = 4e-3
						}

						y := poisoned(tokens, size.out)
						b.NormLinear(y, matrixOf(tokens, size.in, x), norm, w)
						h := poisoned(tokens, size.out)
						b.NormGateUp(h, matrixOf(tokens, size.in, x), norm, gu)
						a := slices.Clone(in)
						sum := normals(rng, tokens*size.out)
						added := matrixOf(tokens, size.out, sum)
						b.LinearAdd(added, matrixOf(tokens, size.in, a), w)
						require.NoError(t, b.Read(nil, y))
						rounded := slices.Clone(values(h))
						goRoundBF16(rounded)
						require.Equal(t, !f32, slices.Equal(rounded, values(h)),
							"a matrix product's input is bfloat16, unless nothing is rounded")
						for token := range tokens {
							for n := range size.out {
								i := token*size.out + n
								want, mag := product(wv, n, token)
								require.InDelta(t, want, float64(values(y)[i]), mag*tolerance,
									"NormLinear %d,%d",
									token, n)
								require.InDelta(t, float64(sum[i])+want, float64(values(added)[i]),
									1e-6*(1+mag),
									"LinearAdd %d,%d", token, n)
								g, gm := product(guv, n, token)
								u, um := product(guv, size.out+n, token)
								require.InDelta(t, g/(1+math.Exp(-g))*u, float64(values(h)[i]),
									(1+gm)*(1+um)*max(tolerance, 1e-6), "NormGateUp %d,%d", token, n)
							}
						}
					})
			}
		}
	}
}

func TestEmbedAndSelect(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	b := newBackend(t, Options{Threads: 2}, &model.Config{HiddenSize: 6, Heads: 1, KVHeads: 1}, 4, 0)
	table, tv := upload(t, b, rng, 11, 6)
	x := poisoned(3, 6)
	b.Begin(&model.Step{IDs: []int32{10, 0, 4}})
	b.Embed(x, table)
	require.Equal(t, slices.Concat(row(tv, 10, 6), row(tv, 0, 6), row(tv, 4, 6)), values(x))
	y := poisoned(2, 6)
	b.Select(y, x, []int32{2, 0})
	require.Equal(t, slices.Concat(row(tv, 4, 6), row(tv, 10, 6)), values(y))
}

func TestArgmax(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	b := newBackend(t, Options{Threads: 1}, &model.Config{HiddenSize: 1, Heads: 1, KVHeads: 1}, 1, 0)
	rows := []float32{
		3, 1, 2, 3, // a tie: the lowest id
		-4, -3, -1, -2,
		float32(math.Copysign(0, -1)), 0, -1, 0, // -0 and 0 are equal
		9, nan, inf, 1, // the first that is not finite, not the greatest
		1, 2, 3, -inf,
		inf, 1, nan, 1,
		1, 2, 3, 4,
	}
	next := []int32{9, 9, 9, 9, 9, 9}
	require.NoError(t, b.Argmax(next, matrixOf(len(next), 4, rows)))
	require.Equal(t, []int32{0, 2, 0, ^1, ^3, ^0}, next)
}

// counting counts how often each item is done, and notices if two goroutines are the same worker at once.
type counting struct {
	seen, busy []atomic.Int32
	twice      atomic.Bool
}

func (c *counting) work(worker, from, to int) {
	if c.busy[worker].Add(1) != 1 {
		c.twice.Store(true)
	}
	for i := from; i < to; i++ {
		c.seen[i].Add(1)
	}
	c.busy[worker].Add(-1)
}

func TestPoolRunsEveryItemOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := newPool(threads)
		for _, items := range []int{0, 1, 2, 7, 64, 1000} {
			for _, grain := range []int{1, 3, 100} {
				for range 10 { // one after another, so that a late worker finds the next loop
					c := &counting{seen: make([]atomic.Int32, items), busy: make([]atomic.Int32, threads)}
					p.run(items, grain, c)
					require.False(t, c.twice.Load())
					for i := range c.seen {
						require.EqualValues(t, 1, c.seen[i].Load(), "item %d of %d, grain %d, %d threads", i,
							items, grain, threads)
					}
				}
			}
		}
		p.stop()
	}
}

// Several backends run at once while the garbage collector runs all the time: assembly has pointers in
// registers, and stacks move.
func TestUnderGarbageCollection(t *testing.T) { onEveryPath(t, testUnderGarbageCollection) }

func testUnderGarbageCollection(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	c := &model.Config{
		Layers: 1, HiddenSize: 96, IntermediateSize: 56, Heads: 2, KVHeads: 2, HeadDim: 48, RMSNormEps: 1e-5,
		RoPE: model.RoPEConfig{Dim: 48},
	}
	const tokens = 7
	rng := rand.New(rand.NewSource(9))
	x, qkv := normals(rng, tokens*c.HiddenSize), normals(rng, tokens*c.QKVRows())
	step := &model.Step{
		Seqs: []model.Span{{Len: tokens, Blocks: []int32{0}}},
		Cos:  normals(rng, tokens*c.RoPE.Dim/2), Sin: normals(rng, tokens*c.RoPE.Dim/2),
	}
	var wait sync.WaitGroup
	results := make([][]float32, 6)
	for i := range results {
		b := newBackend(t, Options{Threads: 3}, c, tokens, 1)
		own := rand.New(rand.NewSource(10)) // the same weights for all
		norm, _ := upload(t, b, own, c.HiddenSize)
		gu, _ := upload(t, b, own, 2*c.IntermediateSize, c.HiddenSize)
		wait.Go(func() {
			for range 50 {
				h, a := poisoned(tokens, c.IntermediateSize), poisoned(tokens, c.HiddenSize)
				b.NormGateUp(h, matrixOf(tokens, c.HiddenSize, x), norm, gu)
				b.Begin(step)
				b.Attend(a, matrixOf(tokens, c.QKVRows(), qkv), 0)
				result := slices.Concat(values(h), values(a))
				if results[i] != nil && !slices.Equal(results[i], result) {
					t.Error("the same again gives another result")
				}
				results[i] = result
			}
		})
	}
	wait.Wait()
	for _, r := range results {
		require.Equal(t, results[0], r)
	}
}
