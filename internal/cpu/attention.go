package cpu

import (
	"math"
	"unsafe"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// chunk is the number of keys whose scores are computed, exponentiated and summed together, counted from position 0 of the
// sequence. Chunks are merged in order, so how a sequence was fed to the cache leaves no trace in the result.
const chunk = kvcache.BlockTokens

// tileRows is how many query heads at most share one reading of their keys and values (or those of one token that share a kv head, if they are
// more).
const attentionRows = 48

// kvBlock is the memory of one block: keys and values of chunk positions, for all layers. For each layer there are the keys of all kv heads
// and then the values of all of them, as [kvMatrix]: a head's keys are [dims, chunk], values are [chunk, dims], where dims is the head's
// width rounded up to a multiple of 32. What was never written is 0.
type kvBlock struct {
	bf16 []uint16
	f32  []float32 // instead of bf16, when nothing is rounded
}

// kvDims is the width of a head in the cache.
func kvDims(c *model.Config) int { return (c.HeadDim + 31) &^ 31 }

func (b *Backend) newKVBlock() *kvBlock {
	c := b.config
	n := c.Layers * 2 * c.KVHeads * chunk * kvDims(c)
	if b.float32 {
		return &kvBlock{f32: make([]float32, n)}
	}
	return &kvBlock{bf16: make([]uint16, n)}
}

// keysAndValues are those of one kv head.
func (b *Backend) keysAndValues(block int32, layer, head int) (keys, vals kvMatrix) {
	c, dims := b.config, kvDims(b.config)
	k := b.kv[block]
	size := dims * chunk
	at := (layer*2*c.KVHeads + head) * size
	values := at + c.KVHeads*size
	if k.f32 != nil {
		return kvMatrix{f32: k.f32[at : at+size], cols: chunk}, kvMatrix{f32: k.f32[values : values+size], cols: dims}
	}
	return kvMatrix{bf16: k.bf16[at : at+size], cols: chunk}, kvMatrix{bf16: k.bf16[values : values+size], cols: dims}
}

// Attend implements [model.Backend].
func (b *Backend) Attend(a, qkv model.Matrix, layer int, step *model.Step) {
	for _, s := range step.Seqs {
		for _, id := range s.Blocks {
			if b.kv[id] == nil {
				b.kv[id] = b.newKVBlock()
			}
		}
	}
	b.appending = appending{b, values(qkv), layer, step}
	b.pool.run(qkv.Rows, 4, &b.appending)
	items := 0 // one for every sequence, kv head, and tile of its queries
	for _, s := range step.Seqs {
		items += b.tiles(s.Len) * b.config.KVHeads
	}
	b.attending = attending{b, values(a), values(qkv), layer, step}
	b.pool.run(items, 1, &b.attending)
}

// appending is RoPE, and keys and values on their way into the cache.
type appending struct {
	b     *Backend
	qkv   []float32
	layer int
	step  *model.Step
}

// work implements [task]. An item is a token.
func (w *appending) work(_, from, to int) {
	for i, s := range w.step.Seqs {
		for t := max(from, s.Start); t < min(to, s.Start+s.Len); t++ {
			w.b.rotateAndAppend(w.qkv, w.layer, w.step, i, t)
		}
	}
}

// attending is attention in progress.
type attending struct {
	b      *Backend
	a, qkv []float32
	layer  int
	step   *model.Step
}

// work implements [task]. An item is a kv head and a tile of queries of a sequence; a head's tiles follow each other, so that its keys and
// values stay in a cache.
func (w *attending) work(worker, from, to int) {
	b := w.b
	for item := from; item < to; item++ {
		i, rest := 0, item
		for rest >= b.tiles(w.step.Seqs[i].Len)*b.config.KVHeads {
			rest -= b.tiles(w.step.Seqs[i].Len) * b.config.KVHeads
			i++
		}
		s := &w.step.Seqs[i]
		tiles := b.tiles(s.Len)
		first := rest % tiles * b.queryTile()
		t := attentionTile{b: b, s: s, layer: w.layer, head: rest / tiles, first: first, last: min(first+b.queryTile(), s.Len)}
		t.attend(w.a, w.qkv, b.scratch[worker].attention)
	}
}

// group is how many query heads share a kv head.
func (b *Backend) group() int { return b.config.Heads / b.config.KVHeads }

// queryTile is how many queries of a sequence share one reading of its keys and values.
func (b *Backend) queryTile() int { return max(1, attentionRows/b.group()) }

// tiles is the number of query tiles of a sequence with the given number of new tokens.
func (b *Backend) tiles(queries int) int { return (queries + b.queryTile() - 1) / b.queryTile() }

// rotateAndAppend applies RoPE to the query and key heads of row t and writes its keys and values to the cache.
func (b *Backend) rotateAndAppend(qkv []float32, layer int, step *model.Step, seq, t int) {
	c, s := b.config, &step.Seqs[seq]
	half := c.RoPE.Dim / 2
	cos, sin := row(step.Cos, t, half), row(step.Sin, t, half)
	r := row(qkv, t, c.QKVRows())
	for h := range c.Heads + c.KVHeads {
		b.kernels.rotate(row(r, h, c.HeadDim), cos, sin)
	}
	position := s.Position + t - s.Start
	for g := range c.KVHeads {
		keys, vals := b.keysAndValues(s.Blocks[position/chunk], layer, g)
		keys.setColumn(position%chunk, row(r, c.Heads+g, c.HeadDim))
		vals.setRow(position%chunk, row(r, c.Heads+c.KVHeads+g, c.HeadDim))
	}
}

// attentionScratch is one worker's memory for a tile. Its rows are the query heads of the first query, then those of the next one.
type attentionScratch struct {
	q          []float32 // [rows, dims], times log2(e)/√headDim
	scores     []float32 // [rows, chunk] of a chunk, and the powers of two that are its values' weights
	sum        []float32 // [rows, dims] a chunk's weighted sum of values
	out        []float32 // [rows, dims] of all chunks so far
	top, total []float32 // [rows, or some more] largest score so far, and sum of powers under it
	m, l       []float32 // the same of a chunk
	old        []float32 // what becomes of the sums so far, see vectors.mergeStates
}

func newAttentionScratch(c *model.Config) *attentionScratch {
	group := c.Heads / c.KVHeads
	rows := max(1, attentionRows/group) * group
	states := (rows + 15) &^ 15
	floats := func(n int) []float32 { return make([]float32, n) }
	return &attentionScratch{
		q: floats(rows * kvDims(c)), scores: floats(rows * chunk), sum: floats(rows * kvDims(c)), out: floats(rows * kvDims(c)),
		top: floats(states), total: floats(states), m: floats(states), l: floats(states), old: floats(states),
	}
}

// attentionTile is some queries of a sequence, first … last-1 of its new tokens, and a kv head.
type attentionTile struct {
	b           *Backend
	s           *model.Span
	layer, head int
	first, last int
}

// attend sets the tile's heads in a to softmax(q·kᵀ/√headDim)·v over the keys that each query may see: those up to its own position and
// within the sliding window (spec 3.1 and 3.4).
//
// Keys are taken in chunks counted from position 0. Each chunk has its own maximum m, sum l of powers and weighted sum of values; they join
// the running ones as in flash attention (Dao et al., 2022, algorithm 1). Powers are of two: the queries carry the factor log2(e).
func (t *attentionTile) attend(a, qkv []float32, w *attentionScratch) {
	b, s := t.b, t.s
	c, k, dims, group := b.config, b.kernels, kvDims(b.config), b.group()
	rows := (t.last - t.first) * group
	scale := float32(math.Log2E / math.Sqrt(float64(c.HeadDim)))
	for r := range rows {
		q := row(row(qkv, s.Start+t.first+r/group, c.QKVRows()), t.head*group+r%group, c.HeadDim)
		scaled := row(w.q, r, dims)
		for d, v := range q {
			scaled[d] = v * scale
		}
	}
	clear(w.out[:rows*dims])
	for i := range w.top {
		w.top[i], w.total[i] = -math.MaxFloat32, 0
	}

	newest := s.Position + t.last - 1
	for n := b.oldestVisible(s.Position+t.first) / chunk; n <= newest/chunk; n++ {
		keys, vals := b.keysAndValues(s.Blocks[n], t.layer, t.head)
		next := vals
		if n < newest/chunk {
			next, _ = b.keysAndValues(s.Blocks[n+1], t.layer, t.head)
		}
		from, to := t.first, t.last // the queries that see some of the chunk
		for _, end := t.visible(from, n); end <= 0; _, end = t.visible(from, n) {
			from++
		}
		for start, _ := t.visible(to-1, n); start >= chunk; start, _ = t.visible(to-1, n) {
			to--
		}
		r0, r1 := (from-t.first)*group, (to-t.first)*group
		for r := range w.m { // chunk of no keys
			w.m[r], w.l[r] = -math.MaxFloat32, 0
		}
		t.score(keys, vals, n, from, to, w)
		t.weigh(vals, next, n, from, to, w)
		k.mergeStates(w.top, w.total, w.m, w.l, w.old)
		k.mergeRows(w.out[r0*dims:r1*dims], w.sum[r0*dims:r1*dims], w.old[r0:r1], w.m[r0:r1], dims)
	}
	k.divideRows(w.out[:rows*dims], w.total[:rows], dims)
	b.asInput(w.out[:rows*dims])
	for r := range rows {
		copy(row(row(a, s.Start+t.first+r/group, c.Heads*c.HeadDim), t.head*group+r%group, c.HeadDim), row(w.out, r, dims))
	}
}

// visible are the keys start … end-1 of chunk n that a query may see; there are none if end ≤ 0 or start ≥ chunk.
func (t *attentionTile) visible(query, n int) (start, end int) {
	position := t.s.Position + query
	return max(t.b.oldestVisible(position)-n*chunk, 0), min(position+1-n*chunk, chunk)
}

// score sets the weights of chunk n's keys for queries from … to-1, each of which sees some, and their states m and l.
func (t *attentionTile) score(keys, next kvMatrix, n, from, to int, w *attentionScratch) {
	dims, group := kvDims(t.b.config), t.b.group()
	r0, rows := (from-t.first)*group, (to-from)*group
	start, _ := t.visible(from, n)
	_, end := t.visible(to-1, n)
	start, end = start&^31, (end+31)&^31
	scores := w.scores[r0*chunk:]
	clear(scores[:rows*chunk])
	t.b.kernels.addProducts(scores, chunk, w.q[r0*dims:], dims, rows, keys, 0, dims, start, end, keys.distance(next))
	for r := range rows {
		first, last := t.visible(from+r/group, n)
		x := row(scores, r, chunk)
		for i := start; i < first; i++ {
			x[i] = float32(math.Inf(-1))
		}
		for i := last; i < end; i++ {
			x[i] = float32(math.Inf(-1))
		}
	}
	t.b.kernels.softmax(scores, rows, start, end, w.m[r0:], w.l[r0:])
}

// weigh sets the rows of w.sum of queries from … to-1 to the sums of chunk n's values, times their weights.
//
// What a query must not see stays out even with a weight of 0, because it may be NaN. So several rows go together as far as all of them see
// the same values, and the others are added one by one.
func (t *attentionTile) weigh(vals, next kvMatrix, n, from, to int, w *attentionScratch) {
	dims, group, k := kvDims(t.b.config), t.b.group(), t.b.kernels
	const together = 12
	ahead := vals.distance(next)
	first, last := (from-t.first)*group, (to-t.first)*group
	clear(w.sum[first*dims : last*dims])
	for r0 := first; r0 < last; r0 += together {
		r1 := min(r0+together, last)
		start, _ := t.visible(t.first+(r1-1)/group, n)
		_, end := t.visible(t.first+r0/group, n)
		start, end = (start+1)&^1, end&^1
		if start >= end {
			end = start // none together
		}
		singly := func(r, from, to int) {
			for i := from; i < to; i++ {
				k.addRow(row(w.sum, r, dims), w.scores[r*chunk+i], vals, i)
			}
		}
		for r := r0; r < r1; r++ {
			from, to := t.visible(t.first+r/group, n)
			singly(r, from, min(start, to))
		}
		if start < end {
			k.addProducts(w.sum[r0*dims:], dims, w.scores[r0*chunk+start:], chunk, r1-r0, vals, start, end, 0, dims, ahead)
		}
		for r := r0; r < r1; r++ {
			from, to := t.visible(t.first+r/group, n)
			singly(r, max(from, end), to)
		}
		ahead = 0
	}
}

// oldestVisible is the first position that a query at the given position may see.
func (b *Backend) oldestVisible(position int) int {
	if w := b.config.SlidingWindow; w > 0 {
		return max(0, position-w+1)
	}
	return 0
}

// distance is how many bytes before next m begins.
func (m kvMatrix) distance(next kvMatrix) int {
	if m.f32 != nil {
		return int(uintptr(unsafe.Pointer(&next.f32[0])) - uintptr(unsafe.Pointer(&m.f32[0])))
	}
	return int(uintptr(unsafe.Pointer(&next.bf16[0])) - uintptr(unsafe.Pointer(&m.bf16[0])))
}
