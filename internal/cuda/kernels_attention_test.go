//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
)

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

// Heads of both widths, some rotated in part; groups that divide a tile of 16 rows evenly and not; windows less than, equal to and more
// than a chunk; lengths just before, at and after the end of a chunk.
var attentionCases = []attentionCase{
	{shape(1, 1, 96, 48, 0), []int{263}, 1, 1},
	{shape(2, 1, 96, 48, 7), []int{258}, 1.5, 2},
	{shape(1, 2, 96, 32, 128), []int{130, 1, 257}, 1, 3},
	{shape(2, 3, 96, 48, 0), []int{129, 128}, 2, 4},
	{shape(1, 1, 128, 64, 200), []int{391}, 1, 5},
	{shape(2, 2, 128, 64, 0), []int{127, 256, 3}, 1, 6},
	{shape(1, 3, 128, 48, 129), []int{262}, 1.5, 7},
	{shape(1, 4, 128, 48, 1), []int{140, 126}, 1, 8},
	{shape(1, 7, 96, 48, 0), []int{135, 9}, 1, 9}, // 8 tokens make 56 rows, in four tiles
	{shape(1, 128, 96, 48, 0), []int{9}, 1, 11},   // a query is a whole block of prefill
	// Of float32's rounding errors one in 100,000 is still seen in bfloat16. These are half a million numbers, each of two or three chunks,
	// to see whether these join in the same way in decode and in prefill.
	{shape(6, 4, 128, 64, 0), []int{290}, 1, 10},
}

// attentionSequence is the projections of a sequence's tokens and where its part of the cache lies.
type attentionSequence struct {
	qkv    []float32 // [len, (heads+2·kvHeads)·headDim]
	blocks []int32
}

// attentionBench runs attention over the sequences of one case.
type attentionBench struct {
	*linearBench
	k         *attentionKernels
	sequences []attentionSequence
	blocks    int // of the cache
}

func openAttention(b *linearBench, c *attentionCase, cache elementType) *attentionBench {
	b.t.Helper()
	a := &attentionBench{linearBench: b}
	b.do(func() error {
		m, _, err := b.d.loadCode(nil)
		if err != nil {
			return err
		}
		a.k, err = b.d.loadAttentionKernels(m, c.attentionShape, cache)
		return err
	})
	random := rand.New(rand.NewPCG(c.seed, 1))
	for _, n := range c.lens {
		s := attentionSequence{qkv: make([]float32, n*a.columns()), blocks: make([]int32, ceilDiv(n, 128))}
		for i := range s.qkv {
			s.qkv[i] = float32(random.NormFloat64() * c.sharp)
		}
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

// attend feeds the sequences to the cache, steps[i][s] tokens of sequence s in step i, and gives every sequence's result and the whole
// cache. Steps of up to 8 tokens are decoded on so many blocks, unless that is 0.
func (b *attentionBench) attend(steps [][]int, blocks int) (outs [][]byte, cache []byte) {
	b.t.Helper()
	k := b.k
	layer := 2 * k.kvHeads * 128 * k.headDim // elements in a block; it has two layers, of which the second is used
	kv := b.alloc(b.blocks * 2 * layer * b.elementBytes())
	arrived := upload(b.linearBench, make([]int32, len(b.sequences)*k.kvHeads))
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
			spans = append(spans, newSpan(model.Span{Start: tokens, Len: n, Position: positions[s]}, len(table)))
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
			"out": b.alloc(tokens * k.heads * k.headDim * b.elementBytes()), "qkv": upload(b.linearBench, qkv),
			"cos": upload(b.linearBench, cos), "sin": upload(b.linearBench, sin), "spans": upload(b.linearBench, spans),
			"table": upload(b.linearBench, table), "work": upload(b.linearBench, work),
			"works": upload(b.linearBench, []int32{int32(len(work))}), "partial": b.alloc(k.partialBytes(tokens, maxChunks)),
		}
		at := func(name string) devicePtr { return arrays[name].devicePtr }
		a := attention{
			out: at("out"), qkv: at("qkv"), kv: kv.devicePtr + devicePtr(layer*b.elementBytes()), cos: at("cos"), sin: at("sin"),
			spans: at("spans"), blockTable: at("table"), work: at("work"), works: at("works"), partial: at("partial"),
			arrived: arrived.devicePtr, blockStride: 2 * layer, seqs: len(spans), maxChunks: maxChunks,
		}
		switch {
		case decode:
			k.decode(&b.q, &a, blocks)
		case k.cache == typeBF16:
			k.kvAppend(&b.q, &a, tokens)
			k.prefill(&b.q, &a, len(work))
		default:
			k.kvAppend(&b.q, &a, tokens)
			k.reference(&b.q, &a, tokens)
		}
		b.run()
		out := download[byte](b.linearBench, arrays["out"])
		for i, s := range who {
			n := int(spans[i].len) * k.heads * k.headDim * b.elementBytes()
			outs[s] = append(outs[s], out[:n]...)
			out = out[n:]
		}
		require.Zero(b.t, slices.Max(download[int32](b.linearBench, arrived)), "chunks still counted as arrived after %v", step)
		for name, x := range arrays {
			download[byte](b.linearBench, x) // its surroundings, that is
			b.free(arrays[name])
		}
	}
	cache = download[byte](b.linearBench, kv)
	b.free(kv, arrived)
	return outs, cache
}

// splits cuts the sequences into steps at random: most up to 8 tokens in all, some more.
func splits(random *rand.Rand, lens []int) (steps [][]int) {
	left := slices.Clone(lens)
	for slices.Max(left) > 0 {
		most := 1 + random.IntN(8)
		if random.IntN(3) == 0 {
			most = 9 + random.IntN(140)
		}
		step := make([]int, len(lens))
		for _, s := range random.Perm(len(lens)) {
			step[s] = min(left[s], random.IntN(most+1))
			most -= step[s]
			left[s] -= step[s]
		}
		if slices.Max(step) > 0 {
			steps = append(steps, step)
		}
	}
	return steps
}

// around feeds the first sequence with steps that start at, end at and straddle the end of the first two chunks, 1 to 8 tokens long, and
// whatever there is of the others in between.
func around(lens []int) (steps [][]int) {
	left := slices.Clone(lens)
	for i := 0; left[0] > 0; i++ {
		step := make([]int, len(lens))
		step[0] = min(left[0], []int{1, 125, 1, 1, 1, 8, 113, 3, 2, 1, 1, 7, 5, 6, 100}[i%15])
		left[0] -= step[0]
		if other := 1 + i%max(1, len(lens)-1); other < len(lens) && step[0] < 8 {
			step[other] = min(left[other], 8-step[0])
			left[other] -= step[other]
		}
		steps = append(steps, step)
	}
	if slices.Max(left) > 0 {
		steps = append(steps, left)
	}
	return steps
}

// eights feeds most of a chunk in one step, and the rest 8 tokens at a time, a sequence after the other.
func eights(lens []int) (steps [][]int) {
	for s, n := range lens {
		for size := 120; n > 0; size = 8 {
			step := make([]int, len(lens))
			step[s] = min(n, size)
			n -= step[s]
			steps = append(steps, step)
		}
	}
	return steps
}

// exact is the attention of a sequence in float64 or, with rounded, as Hugging Face computes it in bfloat16: spec 3, 3.1 (SDPA) and 3.2.
func (b *attentionBench) exact(s *attentionSequence, rounded bool) []float64 {
	k, dim, columns := b.k, b.k.headDim, b.columns()
	round := func(x float64) float64 {
		if rounded {
			_, x = stored(typeBF16, x)
		}
		return x
	}
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
				c, s, lo, hi := round(float64(cos[j])), round(float64(sin[j])), &row[h*dim+j], &row[h*dim+j+k.ropeHalf]
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
			values[i] = bf16Value(binary.LittleEndian.Uint16(out[2*i:]))
		}
	}
	return values
}

// distance is ‖x - want‖ / ‖want‖.
func distance(x, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		d += (x[i] - w) * (x[i] - w)
		n += w * w
	}
	return math.Sqrt(d / n)
}

// requireLess is for numbers that may be NaN.
func requireLess(t testing.TB, got, limit float64, what string, args ...any) {
	t.Helper()
	if !(got < limit) {
		require.FailNow(t, fmt.Sprintf(what, args...), "%g, want less than %g", got, limit)
	}
}

// requireUntouched wants the cache to hold what it held at first everywhere but in the rows of the sequences' positions, and there
// something else.
func (b *attentionBench) requireUntouched(cache []byte) {
	b.t.Helper()
	row := b.k.headDim * b.elementBytes()
	written := map[int]bool{} // by block · 128 + position
	for _, s := range b.sequences {
		for p := range len(s.qkv) / b.columns() {
			written[int(s.blocks[p/128])*128+p%128] = true
		}
	}
	nothing := bytes.Repeat([]byte{poison}, row)
	for i := range len(cache) / row {
		layer, block := i/(2*b.k.kvHeads*128)%2, i/(4*b.k.kvHeads*128)
		require.Equal(b.t, layer == 1 && written[block*128+i%128], !bytes.Equal(cache[i*row:][:row], nothing), "row %d of the cache", i)
	}
}

// TestAttention holds attention against float64. However the sequences are split into steps, decoded or not, on any grid, alone or with
// others: the bytes of results and cache are those of one prefill. All memory is full of NaNs before.
func TestAttention(t *testing.T) {
	cases := attentionCases
	if checked {
		cases = cases[:len(cases)-1] // the last is about numbers, and as long as all others together
	}
	b := openLinear(t)
	for i := range cases {
		c := &cases[i]
		ok := t.Run(fmt.Sprintf("%d/%d heads of %d, %d rotated, window %d, %v tokens", c.heads, c.kvHeads, c.headDim, 2*c.ropeHalf, c.window, c.lens),
			func(t *testing.T) {
				b.t = t
				testAttention(openAttention(b, c, typeBF16), c)
			})
		if !ok {
			return // the device may be lost
		}
	}
}

func testAttention(b *attentionBench, c *attentionCase) {
	whole, cache := b.attend([][]int{c.lens}, 0)
	b.requireUntouched(cache)
	for i := range b.sequences {
		s := &b.sequences[i]
		got, want, theirs := b.values(whole[i]), b.exact(s, false), b.exact(s, true)
		if len(want) >= 100*b.k.headDim && c.window != 1 { // else there is little to compute, and only the values' rounding counts
			requireLess(b.t, distance(got, want), 0.9*distance(theirs, want), "sequence %d: distance to float64, Hugging Face's being 1/0.9 of the limit", i)
		}
		for row := 0; row < len(want); row += b.k.headDim {
			// One key too many or too few, of a hundred, makes a tenth.
			requireLess(b.t, distance(got[row:][:b.k.headDim], want[row:][:b.k.headDim]), 0.03, "sequence %d, query %d, head %d", i,
				row/b.k.headDim/b.k.heads, row/b.k.headDim%b.k.heads)
		}
	}

	random := rand.New(rand.NewPCG(c.seed, 2))
	for _, split := range []struct {
		name   string
		steps  [][]int
		blocks int // for decode; 0: prefill only
	}{
		{"around the chunks' ends", around(c.lens), 3},
		{"8 at a time", eights(c.lens), 7},
		{"at random", splits(random, c.lens), 1},
		{"at random, on more blocks than work", splits(random, c.lens), 40},
		{"at random, prefill only", splits(random, c.lens), 0},
	} {
		outs, splitCache := b.attend(split.steps, split.blocks)
		for i, out := range outs {
			if !bytes.Equal(out, whole[i]) {
				at := 0
				for out[at] == whole[i][at] {
					at++
				}
				require.Fail(b.t, "not the bytes of one prefill", "split %s %v: sequence %d from query %d on", split.name, split.steps, i,
					at/(b.k.heads*b.k.headDim*b.elementBytes()))
			}
		}
		require.True(b.t, bytes.Equal(cache, splitCache), "split %s: another cache", split.name)
	}
}

// TestReferenceAttention: likewise in float32, where head dimensions may be any.
func TestReferenceAttention(t *testing.T) {
	b := openLinear(t)
	for _, c := range []attentionCase{
		{shape(2, 2, 96, 48, 0), []int{131, 3}, 1, 1},
		{shape(1, 1, 128, 48, 130), []int{262}, 1, 2},
		{shape(1, 3, 10, 3, 5), []int{20, 140}, 2, 3},
		{shape(1, 2, 160, 80, 128), []int{135}, 1, 4},
	} {
		b.t = t
		a := openAttention(b, &c, typeF32)
		whole, cache := a.attend([][]int{c.lens}, 0)
		a.requireUntouched(cache)
		for i := range a.sequences {
			want := a.exact(&a.sequences[i], false)
			got := a.values(whole[i])
			for row := 0; row < len(want); row += c.headDim {
				requireLess(t, distance(got[row:][:c.headDim], want[row:][:c.headDim]), 1e-5, "%v: sequence %d, row %d", c, i, row/c.headDim)
			}
		}
		outs, splitCache := a.attend(splits(rand.New(rand.NewPCG(c.seed, 2)), c.lens), 0)
		require.Equal(t, whole, outs, "%v: split at random", c)
		require.True(t, bytes.Equal(cache, splitCache), "%v: another cache", c)
	}
}

// TestMaxChunks: decode's memory is planned for as many chunks as any step can have.
func TestMaxChunks(t *testing.T) {
	for _, window := range []int{0, 1, 7, 121, 122, 128, 129, 250, 300} {
		s := shape(1, 1, 96, 48, window)
		const positions = 700
		most := 0
		for position := range positions {
			for n := 1; n <= decodeTokens && position+n <= positions; n++ {
				work := s.decodeWork(nil, []span{newSpan(model.Span{Len: n, Position: position}, 0)})
				require.LessOrEqual(t, len(work), s.maxChunks(position+n), "window %d, position %d, %d tokens", window, position, n)
				most = max(most, len(work))
			}
		}
		require.Equal(t, s.maxChunks(positions), most, "window %d: more is planned than any step needs", window)
	}
}
