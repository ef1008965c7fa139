//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/cu"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// attentionCase is a model's shape and the lengths of sequences to attend over.
type attentionCase struct {
	attentionShape
	lens  []int
	sharp float64 // standard deviation of queries, keys and values; if it is large, few keys matter
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
	// If copyRows is set, it writes qkv before attention, and the launches after it may start early.
	copyRows function
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
	a.blocks++ // one block that no kernel may touch
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

// layerElems is the number of elements of a block of the cache in one layer. There are two layers. The
// kernels use the second.
func (b *attentionBench) layerElems() int { return 2 * b.k.kvHeads * 128 * b.k.headDim }

// attend feeds the sequences to an empty cache, steps[i][s] tokens of sequence s in step i. It returns every
// sequence's result and the whole cache. If blocks > 0, sequences of few new tokens are decoded on that many
// blocks.
func (b *attentionBench) attend(steps [][]int, blocks int) (outs [][]byte, cache []byte) {
	kv := b.alloc(b.blocks * 2 * b.layerElems() * b.elementBytes())
	return b.attendFrom(kv, make([]int, len(b.sequences)), steps, blocks)
}

// attendFrom does the same with a cache that holds each sequence up to a position. It frees the cache and
// advances the positions.
func (b *attentionBench) attendFrom(kv array, positions []int, steps [][]int, blocks int) (
	outs [][]byte, cache []byte,
) {
	k, layer := b.k, b.layerElems()
	arrived := toDevice(b.workbench, make([]int32, len(b.sequences)*k.kvHeads))
	outs = make([][]byte, len(b.sequences))
	for _, step := range steps {
		input := b.input(step, positions)
		var decodeWork, prefillWork []workItem
		for seq, of := range input.spans {
			if blocks > 0 && k.decodes(of) {
				decodeWork = k.decodeWork(decodeWork, seq, of)
			} else {
				prefillWork = k.prefillWork(prefillWork, seq, of)
			}
		}
		arrays := map[string]array{
			"out":     b.alloc(input.tokens * k.heads * k.headDim * b.elementBytes()),
			"qkv":     b.projections(&input),
			"cos":     toDevice(b.workbench, input.cos),
			"sin":     toDevice(b.workbench, input.sin),
			"spans":   toDevice(b.workbench, input.spans),
			"table":   toDevice(b.workbench, input.table),
			"decode":  toDevice(b.workbench, decodeWork),
			"prefill": toDevice(b.workbench, prefillWork),
			"works":   toDevice(b.workbench, []int32{int32(len(decodeWork))}),
			"partial": b.alloc(k.partialBytes(len(decodeWork))),
		}
		at := func(name string) devicePtr { return arrays[name].devicePtr }
		a := attention{
			out: at("out"), qkv: at("qkv"), kv: kv.devicePtr + devicePtr(layer*b.elementBytes()),
			cos: at("cos"), sin: at("sin"), spans: at("spans"), blockTable: at("table"),
			works: at("works"), partial: at("partial"), arrived: arrived.devicePtr,
			blockStride: 2 * layer, seqs: len(input.spans),
		}
		if len(prefillWork) > 0 {
			a.work = at("prefill")
			b.appendAndAttend(&a, input.tokens, len(prefillWork))
		}
		if len(decodeWork) > 0 {
			a.work = at("decode")
			k.decode(&b.q, &a, blocks)
			b.run(k.name("attention_decode"))
		}
		out := fromDevice[byte](b.workbench, arrays["out"])
		for i, s := range input.sequences {
			n := int(input.spans[i].len) * k.heads * k.headDim * b.elementBytes()
			outs[s] = append(outs[s], out[:n]...)
			out = out[n:]
		}
		if left := slices.Max(fromDevice[int32](b.workbench, arrived)); left != 0 {
			b.wrong = fmt.Sprintf("chunks still counted as arrived after %v", step)
		}
		for name, x := range arrays {
			fromDevice[byte](b.workbench, x) // checks the bytes around it
			b.free(arrays[name])
		}
	}
	cache = fromDevice[byte](b.workbench, kv)
	b.free(kv, arrived)
	return outs, cache
}

// projections is qkv on the device.
func (b *attentionBench) projections(in *attentionInput) array {
	source := toDevice(b.workbench, in.qkv)
	if b.copyRows == 0 {
		return source
	}
	rows := make([]int32, in.tokens)
	for i := range rows {
		rows[i] = int32(i)
	}
	qkv := b.alloc(4 * len(in.qkv))
	k := rowKernels{copyRowsF: b.copyRows}
	k.copyRows(&b.q, qkv.devicePtr, source.devicePtr, toDevice(b.workbench, rows).devicePtr, in.tokens,
		b.columns())
	return qkv
}

// attentionInput is a step's data for the kernels.
type attentionInput struct {
	tokens        int
	spans         []span
	sequences     []int // the sequence of each span
	qkv, cos, sin []float32
	table         []int32
}

// input is the next step[s] tokens of each sequence s. It advances the positions.
func (b *attentionBench) input(step, positions []int) (in attentionInput) {
	for s, n := range step {
		if n == 0 {
			continue
		}
		in.sequences = append(in.sequences, s)
		at := model.Span{Start: in.tokens, Len: n, Position: positions[s]}
		in.spans = append(in.spans, newSpan(at, len(in.table)))
		in.table = append(in.table, b.sequences[s].blocks...)
		in.qkv = append(in.qkv, b.sequences[s].qkv[positions[s]*b.columns():][:n*b.columns()]...)
		for range n {
			c, s1 := b.angles(positions[s])
			in.cos, in.sin = append(in.cos, c...), append(in.sin, s1...)
			positions[s]++
		}
		in.tokens += n
	}
	return in
}

// appendAndAttend runs kv_append, and then the kernel for prefill or the reference.
func (b *attentionBench) appendAndAttend(a *attention, tokens, works int) {
	b.k.kvAppend(&b.q, a, tokens)
	if b.copyRows == 0 {
		b.run("kv_append")
	}
	if b.k.cache == typeBF16 {
		b.k.prefill(&b.q, a, works)
		b.run(b.k.name("attention_prefill"))
	} else {
		b.k.reference(&b.q, a, tokens)
		b.run("reference_attention")
	}
}

// exact is the attention of a sequence in float64: spec 3, 3.1 (SDPA) and 3.2. round is applied wherever
// Hugging Face rounds to bfloat16.
func (b *attentionBench) exact(s *attentionSequence, round func(float64) float64) []float64 {
	return b.exactFrom(s, 0, round)
}

// exactFrom is the attention of the tokens from a position on.
func (b *attentionBench) exactFrom(s *attentionSequence, from int, round func(float64) float64) []float64 {
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
	out := make([]float64, (n-from)*k.heads*dim)
	parallel(n-from, func(i int) {
		t := from + i
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
			o := out[(i*k.heads+h)*dim:][:dim]
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
