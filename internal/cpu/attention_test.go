package cpu

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// referenceAttention is the attention of one query in float64, from its definition.
func referenceAttention(q []float32, keys, vals [][]float32, window int) []float64 {
	first := 0
	if window > 0 {
		first = max(0, len(keys)-window)
	}
	weights, total := make([]float64, len(keys)), 0.0
	for p := first; p < len(keys); p++ {
		var s float64
		for d := range q {
			s += float64(q[d]) * float64(keys[p][d])
		}
		weights[p] = math.Exp(s / math.Sqrt(float64(len(q))))
		total += weights[p]
	}
	out := make([]float64, len(q))
	for p, w := range weights {
		for d := range out {
			out[d] += w / total * float64(vals[p][d])
		}
	}
	return out
}

// attendCase is a sequence's queries, keys and values.
type attendCase struct {
	c      *model.Config
	tokens int
	qkv    []float32 // [tokens, QKVRows]
	step   model.Step
}

func newAttendCase(c model.Config, tokens int) *attendCase {
	c.Layers, c.HiddenSize, c.IntermediateSize = 2, 4, 4
	rng := rand.New(rand.NewSource(4))
	a := &attendCase{c: &c, tokens: tokens, qkv: normals(rng, tokens*c.QKVRows())}
	half := c.RoPE.Dim / 2
	a.step.Cos, a.step.Sin = make([]float32, tokens*half), make([]float32, tokens*half)
	for i := range a.step.Cos {
		s, cs := math.Sincos(rng.Float64() * 6)
		a.step.Cos[i], a.step.Sin[i] = float32(cs), float32(s)
	}
	return a
}

// attend feeds the sequence in pieces of the given lengths, repeating the last length, and returns the
// attention of all tokens.
func (a *attendCase) attend(t *testing.T, o Options, pieces ...int) []float32 {
	b := newBackend(t, o, a.c, a.tokens, 8)
	half, width := a.c.RoPE.Dim/2, a.c.Heads*a.c.HeadDim
	var out []float32
	for from, i := 0, 0; from < a.tokens; i++ {
		n := min(pieces[min(i, len(pieces)-1)], a.tokens-from)
		step := &model.Step{
			Seqs: []model.Span{{Len: n, Position: from, Blocks: []int32{5, 0, 7}}},
			Cos:  a.step.Cos[from*half : (from+n)*half], Sin: a.step.Sin[from*half : (from+n)*half],
		}
		m := poisoned(n, width)
		b.Begin(step)
		b.Attend(m, matrixOf(n, a.c.QKVRows(), a.qkv[from*a.c.QKVRows():(from+n)*a.c.QKVRows()]), 1)
		require.NoError(t, b.Read(nil, m))
		out = append(out, values(m)...)
		from += n
	}
	return out
}

// Attend is compared with the definition, and in pieces of all kinds with itself: head widths, GQA, partial
// rotation, and windows whose edges are before, on and after the edge of a chunk.
func TestAttend(t *testing.T) { onEveryPath(t, testAttend) }

func testAttend(t *testing.T) {
	chosen, err := choosePath()
	require.NoError(t, err)
	ways := [][]int{{33, 95, 16}, {1}, {7}, {1, 64}}
	if chosen == goKernels {
		ways = ways[:1] // slow under the race detector
	}
	for i, c := range []model.Config{
		{Heads: 2, KVHeads: 2, HeadDim: 96, RoPE: model.RoPEConfig{Dim: 96}},
		{Heads: 4, KVHeads: 2, HeadDim: 128, RoPE: model.RoPEConfig{Dim: 96}},
		{Heads: 4, KVHeads: 1, HeadDim: 64, RoPE: model.RoPEConfig{Dim: 64}},
		{Heads: 5, KVHeads: 1, HeadDim: 80, RoPE: model.RoPEConfig{Dim: 32}, SlidingWindow: 200},
		{Heads: 3, KVHeads: 1, HeadDim: 8, RoPE: model.RoPEConfig{Dim: 8}, SlidingWindow: 1},
		{Heads: 3, KVHeads: 1, HeadDim: 8, RoPE: model.RoPEConfig{Dim: 8}, SlidingWindow: 127},
		{Heads: 3, KVHeads: 1, HeadDim: 8, RoPE: model.RoPEConfig{Dim: 8}, SlidingWindow: 128},
		{Heads: 3, KVHeads: 1, HeadDim: 8, RoPE: model.RoPEConfig{Dim: 8}, SlidingWindow: 129},
		{Heads: 1, KVHeads: 1, HeadDim: 34, RoPE: model.RoPEConfig{Dim: 34}},
	} {
		for _, f32 := range []bool{false, true} {
			if race.Enabled && f32 != (i%2 == 0) {
				continue // what goroutines share does not depend on the type
			}
			name := fmt.Sprintf("heads=%d/%d,dim=%d/%d,window=%d,f32=%v", c.Heads, c.KVHeads, c.RoPE.Dim,
				c.HeadDim, c.SlidingWindow, f32)
			t.Run(name, func(t *testing.T) {
				a := newAttendCase(c, 300)
				got := a.attend(t, Options{Threads: 2, Float32: f32}, a.tokens)
				a.compare(t, got, !f32)
				for _, pieces := range ways {
					require.Equal(t, got, a.attend(t, Options{Threads: 3, Float32: f32}, pieces...),
						"pieces of %v", pieces)
				}
			})
		}
	}
}

// compare compares the attention of some tokens with the definition. Keys, values and results are bfloat16 if
// round is set.
func (a *attendCase) compare(t *testing.T, got []float32, round bool) {
	c, half := a.c, a.c.RoPE.Dim/2
	head := func(token, h int) []float32 {
		return slices.Clone(row(row(a.qkv, token, c.QKVRows()), h, c.HeadDim))
	}
	rotated := func(token, h int) []float32 {
		x := head(token, h)
		y := slices.Clone(x)
		for j := range half {
			cs, s := float64(a.step.Cos[token*half+j]), float64(a.step.Sin[token*half+j])
			y[j] = float32(float64(x[j])*cs - float64(x[j+half])*s)
			y[j+half] = float32(float64(x[j+half])*cs + float64(x[j])*s)
		}
		return y
	}
	kept := func(x []float32) []float32 {
		if round {
			goRoundBF16(x)
		}
		return x
	}
	for _, token := range []int{0, 1, 31, 32, 126, 127, 128, 129, 200, 255, 256, 299} {
		for h := range c.Heads {
			g := h / (c.Heads / c.KVHeads)
			var keys, vals [][]float32
			for p := range token + 1 {
				keys = append(keys, kept(rotated(p, c.Heads+g)))
				vals = append(vals, kept(head(p, c.Heads+c.KVHeads+g)))
			}
			want := referenceAttention(rotated(token, h), keys, vals, c.SlidingWindow)
			got := row(row(got, token, c.Heads*c.HeadDim), h, c.HeadDim)
			for d := range want {
				tolerance := 2e-5
				if round {
					// The result is rounded. One of some hundred keys is rounded in the other direction,
					// because RoPE's last bit differs from float64's.
					tolerance = 5e-3 * (0.2 + math.Abs(want[d]))
				}
				require.InDelta(t, want[d], float64(got[d]), tolerance, "token %d, head %d, dimension %d",
					token, h, d)
			}
		}
	}
}

// The result of a query does not depend on values that it may not see, even if they are NaN or infinite:
// later values of the same step, and values that another sequence left in a block.
func TestAttendIsCausalWithNaN(t *testing.T) { onEveryPath(t, testAttendIsCausalWithNaN) }

func testAttendIsCausalWithNaN(t *testing.T) {
	for _, f32 := range []bool{false, true} {
		for _, window := range []int{0, 50} {
			c := model.Config{
				Heads: 2, KVHeads: 1, HeadDim: 96, RoPE: model.RoPEConfig{Dim: 96},
				SlidingWindow: window,
			}
			a := newAttendCase(c, 140)
			want := a.attend(t, Options{Threads: 2, Float32: f32}, a.tokens)
			const damaged = 70
			for i, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
				a.qkv[(damaged+i)*c.QKVRows()+3*c.HeadDim+5*i] = v
			}
			width := c.Heads * c.HeadDim
			for _, pieces := range [][]int{{140}, {1}, {64, 76}} {
				got := a.attend(t, Options{Threads: 2, Float32: f32}, pieces...)
				require.Equal(t, want[:damaged*width], got[:damaged*width], "before the damage, pieces %v",
					pieces)
				for token := damaged; token < a.tokens; token++ {
					x := row(got, token, width)
					seen := window == 0 || token < damaged+window
					require.Equal(t, seen, x[0] != x[0], "token %d is damaged by what it sees", token)
					if token >= damaged+2+window && window > 0 {
						require.Equal(t, row(want, token, width), x, "token %d sees nothing of it any more",
							token)
					}
				}
			}
		}
	}

	// One sequence damages a block, and another sequence gets the block next.
	c := model.Config{Heads: 2, KVHeads: 1, HeadDim: 96, RoPE: model.RoPEConfig{Dim: 96}}
	good, bad := newAttendCase(c, 40), newAttendCase(c, 100)
	want := good.attend(t, Options{Threads: 1}, good.tokens)
	for i := range bad.qkv {
		bad.qkv[i] = float32(math.NaN())
	}
	b := newBackend(t, Options{Threads: 1}, bad.c, 100, 1)
	for _, a := range []*attendCase{bad, good} {
		a.step.Seqs = []model.Span{{Len: a.tokens, Blocks: []int32{0}}}
		m := poisoned(a.tokens, c.Heads*c.HeadDim)
		b.Begin(&a.step)
		for layer := range 2 {
			b.Attend(m, matrixOf(a.tokens, c.QKVRows(), a.qkv), layer)
		}
		if a == good {
			require.Equal(t, want, values(m))
			require.False(t, b.kv[0].damaged.Load())
		} else {
			require.True(t, b.kv[0].damaged.Load())
		}
	}
}

// With few KV heads, threads share out the chunks of a query set, in windows of some chunks. The bits are
// those of one thread, which computes whole query sets. The sequences have different lengths, one of them
// less than a chunk; some have a sliding window, or a value that is not finite.
func TestAttendSharesChunks(t *testing.T) { onEveryPath(t, testAttendSharesChunks) }

func testAttendSharesChunks(t *testing.T) {
	for _, c := range []model.Config{
		{Heads: 5, KVHeads: 5, HeadDim: 8, RoPE: model.RoPEConfig{Dim: 8}},
		{Heads: 6, KVHeads: 1, HeadDim: 96, RoPE: model.RoPEConfig{Dim: 96}},
		{Heads: 6, KVHeads: 2, HeadDim: 32, RoPE: model.RoPEConfig{Dim: 32}, SlidingWindow: 300},
	} {
		lengths := []int{1500, 100, 700} // 12 blocks, 1 and 6
		c.Layers, c.HiddenSize, c.IntermediateSize = 1, 4, 4
		attend := func(threads, tokens int) []float32 {
			b := newBackend(t, Options{Threads: threads}, &c, len(lengths)*tokens, 19)
			rng, half := rand.New(rand.NewSource(9)), c.RoPE.Dim/2
			for i := range b.kv {
				b.kv[i] = b.newKVBlock()
				for j := range b.kv[i].bf16 {
					b.kv[i].bf16[j] = weight.ToBF16(float32(rng.NormFloat64()))
				}
			}
			qkv := normals(rng, len(lengths)*tokens*c.QKVRows())
			qkv[len(qkv)-1] = float32(math.Inf(1))
			step := &model.Step{
				Cos: normals(rng, len(lengths)*tokens*half),
				Sin: normals(rng, len(lengths)*tokens*half),
			}
			block := int32(0)
			for i, n := range lengths {
				s := model.Span{Start: i * tokens, Len: tokens, Position: n - tokens}
				for range (n + chunk - 1) / chunk {
					s.Blocks = append(s.Blocks, block)
					block++
				}
				step.Seqs = append(step.Seqs, s)
			}
			m := poisoned(len(lengths)*tokens, c.Heads*c.HeadDim)
			b.Begin(step)
			b.Attend(m, matrixOf(len(lengths)*tokens, c.QKVRows(), qkv), 0)
			require.Equal(t, threads > 1, len(b.chunkSums) > 0, "chunks are shared out")
			return values(m)
		}
		for _, tokens := range []int{1, 2} {
			want := bitsOf(attend(1, tokens))
			for _, threads := range []int{4, 7} {
				require.Equal(t, want, bitsOf(attend(threads, tokens)), "%d kv heads, %d threads, %d tokens",
					c.KVHeads, threads, tokens)
			}
		}
	}
}

// bitsOf returns the bits of values, because NaN is not equal to itself.
func bitsOf(x []float32) []uint32 {
	bits := make([]uint32, len(x))
	for i, v := range x {
		bits[i] = math.Float32bits(v)
	}
	return bits
}
