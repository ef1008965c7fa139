//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"phi3/internal/kvcache"
	"phi3/internal/weight"
)

// The self-test of kv_append and attention.

func attentionChecks() []kernelGroup {
	const float64s = "float64 on the host"
	group := kernelGroup{run: (*tester).attention, kernels: []kernelCheck{
		{"kv_append", VerdictExact, "float32 on the host, rounded"},
		{"reference_attention", VerdictOK, float64s},
	}}
	for _, dim := range headDims {
		group.kernels = append(group.kernels,
			kernelCheck{fmt.Sprint("attention_prefill_", dim), VerdictOK, float64s + ", reference_attention"},
			kernelCheck{fmt.Sprint("attention_decode_", dim), VerdictOK, float64s + ", reference, prefill"},
		)
	}
	return []kernelGroup{group}
}

// selfTestShapes have heads of each width, rotated wholly and in part; groups of query heads that do and
// do not divide a tile of 16 rows; windows; lengths around the end of a chunk of 128 keys; several
// sequences; several chunks.
var selfTestShapes = []attentionCase{
	{shape(2, 1, 96, 48, 0), []int{265}, 1, 1}, // Phi-3-mini: a key head for each query head
	{shape(1, 3, 96, 36, 129), []int{262, 3}, 1, 2},
	{shape(1, 7, 96, 48, 0), []int{135, 9}, 1, 3},    // 8 tokens are 56 rows, in four tiles
	{shape(2, 4, 128, 64, 0), []int{140, 129}, 1, 4}, // Phi-3-medium: four query heads for a key head
	{shape(1, 3, 128, 48, 200), []int{391}, 1, 5},
	{shape(1, 2, 128, 64, 1), []int{130, 1}, 1, 6},
	{shape(2, 3, 64, 32, 0), []int{152, 3}, 1, 7},
	{shape(1, 2, 80, 40, 129), []int{156}, 1, 8},
	{shape(1, 3, 256, 96, 0), []int{154, 9}, 1, 9}, // 24 rows, in two tiles
}

func (t *tester) attention() {
	for i := range selfTestShapes {
		if t.stop() {
			return
		}
		t.attend(&selfTestShapes[i])
	}
}

// attend runs all kernels on the same sequences: the reference, prefill in one step, and decode from
// several positions on and on several grids.
func (t *tester) attend(c *attentionCase) {
	where := fmt.Sprintf("%d/%d heads of %d, %d rotated, window %d, %v tokens",
		c.heads, c.kvHeads, c.headDim, 2*c.ropeHalf, c.window, c.lens)
	variant := fmt.Sprintf("%d/%d heads window %d tokens %v", c.heads, c.kvHeads, c.window, c.lens)
	plain := func(x float64) float64 { return x }
	whole := [][]int{c.lens}

	exact := newAttentionBench(t.workbench, t.k.module, c, typeF32)
	reference, cache := exact.attend(whole, 0)
	if t.err != nil {
		return
	}
	appended := t.of("kv_append")
	appended.ran("%s to f32 and bf16", variant)
	same(appended, "the keys, turned, and values", where+" to f32", cache, exact.expectedCache())
	t.settle("reference_attention", where)
	of := t.of("reference_attention")
	of.ran("%s", variant)
	known := expectedAttention{make([][]float64, len(c.lens)), make([][]float64, len(c.lens))}
	for i := range exact.sequences {
		known.float64s[i] = exact.exact(&exact.sequences[i], plain)
		known.reference[i] = exact.values(reference[i])
		// Float32 throughout: products of up to 256 elements, and powers of two to 2 units in the last place.
		of.rows(&rowComparison{"float64", where, i, exact.k, 1e-5}, known.reference[i], known.float64s[i], 0)
	}

	b := newAttentionBench(t.workbench, t.k.module, c, typeBF16)
	prefill, cache := b.attend(whole, 0)
	if t.err != nil {
		return
	}
	same(appended, "the keys, turned, and values", where+" to bf16", cache, b.expectedCache())
	name := b.k.name("attention_prefill")
	t.settle(name, where)
	t.of(name).ran("%s", variant)
	t.rounded(&known, where, b, name, prefill, make([]int, len(c.lens)))

	grids := []int{1, 7, 3 * t.d.multiprocessors}
	for _, blocks := range grids {
		steps := decodeSteps(c.lens, blocks)
		decode, decodeCache := b.attend(steps, blocks)
		if t.err != nil {
			return
		}
		name, where := b.k.name("attention_decode"), fmt.Sprintf("%s on %d blocks", where, blocks)
		of := t.of(name)
		of.ran("%s on %s", variant, blocksText(grids))
		t.settle(name, where)
		t.rounded(&known, where, b, name, decode, steps[0])
		if t.trusted(b.k.name("attention_prefill")) {
			for i := range decode {
				from := steps[0][i] * c.heads * c.headDim * b.elementBytes()
				same(of, "the bytes of prefill", where, decode[i][from:], prefill[i][from:])
			}
		}
		if t.trusted("kv_append") {
			same(of, "the cache of kv_append", where, decodeCache, cache)
		}
	}
}

// expectedAttention is the attention of each sequence on the host and by the reference kernel.
type expectedAttention struct{ float64s, reference [][]float64 }

// rounded compares a kernel's results, whose inputs were rounded to bfloat16, with the expected ones,
// whose inputs were not. from is the first token of each sequence to compare.
func (t *tester) rounded(
	known *expectedAttention, where string, b *attentionBench, kernel string, got [][]byte, from []int,
) {
	// Queries, keys, values, weights and results are rounded by 2⁻⁹ at most: for random numbers about 0.003
	// of a row's length. One key too many or too few, of a few hundred, makes 0.05 or more.
	const limit = 0.012
	for i := range got {
		first := from[i] * b.k.heads * b.k.headDim
		values := b.values(got[i])
		t.of(kernel).rows(&rowComparison{"float64", where, i, b.k, limit}, values, known.float64s[i], first)
		if t.trusted("reference_attention") {
			t.of(kernel).rows(&rowComparison{"reference_attention", where, i, b.k, limit},
				values, known.reference[i], first)
		}
	}
}

// rowComparison says what a sequence's results are compared with, and how exactly.
type rowComparison struct {
	source, where string
	sequence      int
	k             *attentionKernels
	limit         float64 // distance, in row lengths
}

// rows compares a sequence's results from element first on, a row for every query and head.
func (t *tally) rows(c *rowComparison, got, want []float64, first int) {
	for row := first; row < len(want); row += c.k.headDim {
		if off := distance(got[row:][:c.k.headDim], want[row:][:c.k.headDim]); !t.within(off, c.limit) {
			t.fail("%s: sequence %d, query %d, head %d is %.2g of its length from %s, more than %g",
				c.where, c.sequence, row/c.k.headDim/c.k.heads, row/c.k.headDim%c.k.heads, off, c.source,
				c.limit)
		}
	}
}

// decodeSteps feeds most of each sequence in one step, the first, and the last tokens in steps of up to
// 8, which start at, end at and cross the end of a chunk. Some steps have tokens of two sequences.
func decodeSteps(lens []int, seed int) (steps [][]int) {
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	left := slices.Clone(lens)
	first := make([]int, len(lens))
	for s, n := range lens {
		if n > 16 {
			first[s] = n - 9 - random.IntN(min(n, 24)-9)
			left[s] -= first[s]
		}
	}
	steps = append(steps, first)
	for slices.Max(left) > 0 {
		step, room := make([]int, len(lens)), 1+random.IntN(decodeTokens)
		for _, s := range random.Perm(len(lens)) {
			step[s] = min(left[s], room)
			left[s] -= step[s]
			room -= step[s]
		}
		steps = append(steps, step)
	}
	return steps
}

// expectedCache is the cache at the end: poison, except in the rows of the sequences' positions.
func (b *attentionBench) expectedCache() []byte {
	k, dim, columns, size := b.k, b.k.headDim, b.columns(), b.elementBytes()
	layer := 2 * k.kvHeads * kvcache.BlockTokens * dim // elements
	cache := make([]byte, b.blocks*2*layer*size)
	for i := range cache {
		cache[i] = poison
	}
	put := func(at int, x float32) {
		if k.cache == typeF32 {
			binary.LittleEndian.PutUint32(cache[4*at:], math.Float32bits(x))
		} else {
			binary.LittleEndian.PutUint16(cache[2*at:], weight.ToBF16(x))
		}
	}
	for _, s := range b.sequences {
		for position := range len(s.qkv) / columns {
			cos, sin := b.angles(position)
			block := int(s.blocks[position/kvcache.BlockTokens])
			for head := range k.kvHeads {
				key := s.qkv[position*columns+(k.heads+head)*dim:][:dim]
				value := s.qkv[position*columns+(k.heads+k.kvHeads+head)*dim:][:dim]
				at := (2*block+1)*layer + (head*kvcache.BlockTokens+position%kvcache.BlockTokens)*dim
				for j := range dim {
					put(at+j, turned(key, j, k.ropeHalf, cos, sin))
					put(at+layer/2+j, value[j])
				}
			}
		}
	}
	return cache
}

// turned is element j of a head after RoPE, computed in float32 like in the kernels. The conversions
// round each product.
func turned(x []float32, j, half int, cos, sin []float32) float32 {
	switch {
	case j < half:
		return float32(x[j]*cos[j]) - float32(x[j+half]*sin[j])
	case j < 2*half:
		return float32(x[j]*cos[j-half]) + float32(x[j-half]*sin[j-half])
	}
	return x[j]
}

// name is the name of a kernel for heads of this width.
func (k *attentionKernels) name(kernel string) string { return fmt.Sprint(kernel, "_", k.headDim) }
