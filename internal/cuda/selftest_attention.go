//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
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

// selfTestShapes are of models: heads of each width, all and in part rotated; groups of query
// heads that divide a tile of 16 rows evenly and not; windows; lengths around the end of a chunk of 128 keys;
// several sequences; several chunks.
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

// attend lets the kernels attend over the same sequences: the reference; prefill in one step; and decode,
// which takes over at several places, on several grids.
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
	var want [][]float64
	for i := range exact.sequences {
		want = append(want, exact.exact(&exact.sequences[i], plain))
		// Float32 throughout: products of up to 256 elements, and powers of two to 2 units in the last place.
		of.rows("float64", where, i, 0, exact.values(reference[i]), want[i], exact.k, 1e-5)
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
	t.rounded(name, where, b, prefill, want, reference, make([]int, len(c.lens)))

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
		t.rounded(name, where, b, decode, want, reference, steps[0])
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

// rounded compares results whose inputs were rounded to bfloat16 with those of numbers that were not: of each
// sequence, from a token on.
func (t *tester) rounded(
	kernel, where string, b *attentionBench, got [][]byte, want [][]float64, reference [][]byte, from []int,
) {
	// Queries, keys, values, weights and results are rounded by 2⁻⁹ at most: for random numbers about 0.003
	// of a row's length. One key too many or too few, of a few hundred, makes 0.05 or more.
	const limit = 0.012
	for i := range got {
		first := from[i] * b.k.heads * b.k.headDim
		values := b.values(got[i])
		t.of(kernel).rows("float64", where, i, first, values, want[i], b.k, limit)
		if t.trusted("reference_attention") {
			exact := make([]float64, len(values))
			for j := range exact {
				exact[j] = float64(math.Float32frombits(binary.LittleEndian.Uint32(reference[i][4*j:])))
			}
			t.of(kernel).rows("reference_attention", where, i, first, values, exact, b.k, limit)
		}
	}
}

// rows compares a sequence's results from one on, a row for every query and head.
func (t *tally) rows(
	source, where string, sequence, first int, got, want []float64, k *attentionKernels, limit float64,
) {
	for row := first; row < len(want); row += k.headDim {
		if off := distance(got[row:][:k.headDim], want[row:][:k.headDim]); !t.within(off, limit) {
			t.fail("%s: sequence %d, query %d, head %d is %.2g of its length from %s, more than %g",
				where, sequence, row/k.headDim/k.heads, row/k.headDim%k.heads, off, source, limit)
		}
	}
}

// decodeSteps feeds most of each sequence in one step, the first, and the last tokens in steps of up to 8,
// which start at, end at and straddle the end of a chunk. Some steps have tokens of two sequences.
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

// expectedCache is what the cache holds in the end: poison but for the rows of the sequences' positions.
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

// turned is element j of a head after RoPE, in float32 as the kernels compute it: each product is rounded, so
// the conversions matter.
func turned(x []float32, j, half int, cos, sin []float32) float32 {
	switch {
	case j < half:
		return float32(x[j]*cos[j]) - float32(x[j+half]*sin[j])
	case j < 2*half:
		return float32(x[j]*cos[j-half]) + float32(x[j-half]*sin[j-half])
	}
	return x[j]
}

// name is that of a kernel made for heads of one width.
func (k *attentionKernels) name(kernel string) string { return fmt.Sprint(kernel, "_", k.headDim) }

// ---- Running attention ----------------------------------------------------------------------

// attentionCase is a model's shape and the lengths of sequences to attend over.
type attentionCase struct {
	attentionShape
	lens  []int
	sharp float64 // standard deviation of queries, keys and values: the greater, the fewer keys matter
	seed  uint64  // of the random splits
}

func shape(kvHeads, group, headDim, ropeHalf, window int) attentionShape {
	return attentionShape{kvHeads * group, kvHeads, headDim, ropeHalf, window}
}

// attentionSequence is the projections of a sequence's tokens and where its part of the cache lies.
type attentionSequence struct {
	qkv    []float32 // [len, (heads+2·kvHeads)·headDim]
	blocks []int32
}

// attentionBench runs attention over the sequences of one case.
type attentionBench struct {
	*workbench
	k         *attentionKernels
	sequences []attentionSequence
	blocks    int // of the cache
}

func newAttentionBench(b *workbench, m cu.Module, c *attentionCase, cache elementType) *attentionBench {
	a := &attentionBench{workbench: b, k: &attentionKernels{attentionShape: c.attentionShape}}
	b.do(func() (err error) {
		a.k, err = b.d.loadAttentionKernels(m, c.attentionShape, cache)
		return err
	})
	random := rand.New(rand.NewPCG(c.seed, 1))
	for _, n := range c.lens {
		s := attentionSequence{normals(random, n*a.columns(), c.sharp), make([]int32, ceilDiv(n, 128))}
		a.sequences = append(a.sequences, s)
		a.blocks += len(s.blocks)
	}
	a.blocks++ // which nobody may touch
	for i, block := range random.Perm(a.blocks)[1:] {
		for s := range a.sequences {
			if i < len(a.sequences[s].blocks) {
				a.sequences[s].blocks[i] = int32(block)
				break
			}
			i -= len(a.sequences[s].blocks)
		}
	}
	return a
}

// columns is the width of qkv.
func (b *attentionBench) columns() int { return (b.k.heads + 2*b.k.kvHeads) * b.k.headDim }

func (b *attentionBench) elementBytes() int {
	if b.k.cache == typeF32 {
		return 4
	}
	return 2
}

// angles are the cosines and sines of a position.
func (b *attentionBench) angles(position int) (cos, sin []float32) {
	for j := range b.k.ropeHalf {
		sine, cosine := math.Sincos(float64(position) / math.Pow(10000, float64(j)/float64(b.k.ropeHalf)))
		cos, sin = append(cos, float32(cosine)), append(sin, float32(sine))
	}
	return cos, sin
}

// attend feeds the sequences to the cache, steps[i][s] tokens of sequence s in step i, and gives every
// sequence's result and the whole cache. Steps of up to 8 tokens are decoded on so many blocks, unless that
// is 0.
func (b *attentionBench) attend(steps [][]int, blocks int) (outs [][]byte, cache []byte) {
	k := b.k
	layer := 2 * k.kvHeads * 128 * k.headDim // elements in a block, which has two layers: the second is used
	kv := b.alloc(b.blocks * 2 * layer * b.elementBytes())
	arrived := toDevice(b.workbench, make([]int32, len(b.sequences)*k.kvHeads))
	outs = make([][]byte, len(b.sequences))
	positions := make([]int, len(b.sequences))
	for _, step := range steps {
		var spans []span
		var who []int // sequence of each span
		var qkv, cos, sin []float32
		var table []int32
		tokens := 0
		for s, n := range step {
			if n == 0 {
				continue
			}
			who = append(who, s)
			at := model.Span{Start: tokens, Len: n, Position: positions[s]}
			spans = append(spans, newSpan(at, len(table)))
			table = append(table, b.sequences[s].blocks...)
			qkv = append(qkv, b.sequences[s].qkv[positions[s]*b.columns():][:n*b.columns()]...)
			for range n {
				c, s1 := b.angles(positions[s])
				cos, sin = append(cos, c...), append(sin, s1...)
				positions[s]++
			}
			tokens += n
		}
		decode := k.cache == typeBF16 && tokens <= 8 && blocks > 0
		var work []workItem
		maxChunks := 0
		if decode {
			work = k.decodeWork(work, spans)
			maxChunks = k.maxChunks(slices.Max(positions))
		} else {
			work = k.prefillWork(work, spans)
		}
		arrays := map[string]array{
			"out":     b.alloc(tokens * k.heads * k.headDim * b.elementBytes()),
			"qkv":     toDevice(b.workbench, qkv),
			"cos":     toDevice(b.workbench, cos),
			"sin":     toDevice(b.workbench, sin),
			"spans":   toDevice(b.workbench, spans),
			"table":   toDevice(b.workbench, table),
			"work":    toDevice(b.workbench, work),
			"works":   toDevice(b.workbench, []int32{int32(len(work))}),
			"partial": b.alloc(k.partialBytes(tokens, maxChunks)),
		}
		at := func(name string) devicePtr { return arrays[name].devicePtr }
		a := attention{
			out: at("out"), qkv: at("qkv"), kv: kv.devicePtr + devicePtr(layer*b.elementBytes()),
			cos: at("cos"), sin: at("sin"), spans: at("spans"), blockTable: at("table"),
			work: at("work"), works: at("works"), partial: at("partial"), arrived: arrived.devicePtr,
			blockStride: 2 * layer, seqs: len(spans), maxChunks: maxChunks,
		}
		switch {
		case decode:
			k.decode(&b.q, &a, blocks)
			b.run(k.name("attention_decode"))
		case k.cache == typeBF16:
			k.kvAppend(&b.q, &a, tokens)
			b.run("kv_append")
			k.prefill(&b.q, &a, len(work))
			b.run(k.name("attention_prefill"))
		default:
			k.kvAppend(&b.q, &a, tokens)
			b.run("kv_append")
			k.reference(&b.q, &a, tokens)
			b.run("reference_attention")
		}
		out := fromDevice[byte](b.workbench, arrays["out"])
		for i, s := range who {
			n := int(spans[i].len) * k.heads * k.headDim * b.elementBytes()
			outs[s] = append(outs[s], out[:n]...)
			out = out[n:]
		}
		if left := slices.Max(fromDevice[int32](b.workbench, arrived)); left != 0 {
			b.wrong = fmt.Sprintf("chunks still counted as arrived after %v", step)
		}
		for name, x := range arrays {
			fromDevice[byte](b.workbench, x) // its surroundings, that is
			b.free(arrays[name])
		}
	}
	cache = fromDevice[byte](b.workbench, kv)
	b.free(kv, arrived)
	return outs, cache
}

// exact is the attention of a sequence in float64: spec 3, 3.1 (SDPA) and 3.2. round is applied where Hugging
// Face's bfloat16 rounds.
func (b *attentionBench) exact(s *attentionSequence, round func(float64) float64) []float64 {
	k, dim, columns := b.k, b.k.headDim, b.columns()
	n := len(s.qkv) / columns
	x := make([]float64, len(s.qkv))
	parallel(n, func(t int) {
		row := x[t*columns:][:columns]
		for i := range row {
			row[i] = round(float64(s.qkv[t*columns+i]))
		}
		cos, sin := b.angles(t)
		for h := range k.heads + k.kvHeads {
			for j := range cos {
				c, s := round(float64(cos[j])), round(float64(sin[j]))
				lo, hi := &row[h*dim+j], &row[h*dim+j+k.ropeHalf]
				*lo, *hi = round(round(*lo*c)-round(*hi*s)), round(round(*hi*c)+round(*lo*s))
			}
		}
	})
	out := make([]float64, n*k.heads*dim)
	parallel(n, func(t int) {
		weights := make([]float64, t+1)
		for h := range k.heads {
			q, keys := x[t*columns+h*dim:][:dim], (k.heads+h*k.kvHeads/k.heads)*dim
			oldest, top, total := 0, math.Inf(-1), 0.0
			if k.window > 0 {
				oldest = max(0, t-k.window+1)
			}
			for key := oldest; key <= t; key++ {
				var dot float64
				for j, v := range x[key*columns+keys:][:dim] {
					dot += q[j] * v
				}
				weights[key] = dot / math.Sqrt(float64(dim))
				top = max(top, weights[key])
			}
			o := out[(t*k.heads+h)*dim:][:dim]
			for key := oldest; key <= t; key++ {
				w := math.Exp(weights[key] - top)
				total += w
				w = round(w)
				for j, v := range x[key*columns+keys+k.kvHeads*dim:][:dim] {
					o[j] += w * v
				}
			}
			for j := range o {
				o[j] = round(o[j] / total)
			}
		}
	})
	return out
}

// values are the numbers of a result.
func (b *attentionBench) values(out []byte) []float64 {
	values := make([]float64, len(out)/b.elementBytes())
	for i := range values {
		if b.k.cache == typeF32 {
			values[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(out[4*i:])))
		} else {
			values[i] = float64(weight.FromBF16(binary.LittleEndian.Uint16(out[2*i:])))
		}
	}
	return values
}
