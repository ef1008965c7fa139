package cpu

import (
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// chunk is the number of keys whose scores are computed, exponentiated and summed together, counted from position 0 of the
// sequence. Chunks are merged in order, so how a sequence was fed to the cache leaves no trace in the result.
const chunk = kvcache.BlockTokens

// kvBlock is the memory of one block: keys and values of chunk positions, for all layers. For each layer there are the keys of all kv heads
// and then the values of all of them, as [kvMatrix]: a head's keys are [dims, chunk], values are [chunk, dims], where dims is the head's
// width rounded up to a multiple of 32. What was never written is 0.
type kvBlock struct {
	bf16 []uint16
	f32  []float32 // instead of bf16, when nothing is rounded

	// damaged: there is, or was, a value that is not finite. See attentionTile.weigh.
	damaged atomic.Bool
}

// kvDims is the width of a head in the cache.
func kvDims(c *model.Config) int { return (c.HeadDim + 31) &^ 31 }

// kvBlockElems is how many numbers a block holds.
func (b *Backend) kvBlockElems() int {
	return b.config.Layers * 2 * b.config.KVHeads * chunk * kvDims(b.config)
}

func (b *Backend) newKVBlock() *kvBlock {
	n := b.kvBlockElems()
	if b.float32 {
		return &kvBlock{f32: makeLarge[float32](n)}
	}
	return &kvBlock{bf16: makeLarge[uint16](n)}
}

// mend makes everything finite again.
func (k *kvBlock) mend() {
	if k.damaged.Load() {
		clear(k.bf16)
		clear(k.f32)
		k.damaged.Store(false)
	}
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
		for i, id := range s.Blocks {
			if b.kv[id] == nil {
				b.kv[id] = b.newKVBlock()
			}
			if i*chunk >= s.Position && layer == 0 { // nothing of what was in it counts any more
				b.kv[id].mend()
			}
		}
	}
	parts, items := 0, 0 // for every sequence and kv head, groups of positions, and tiles of queries
	for i := range step.Seqs {
		parts += b.appendItems(&step.Seqs[i])
		items += b.attendItems(&step.Seqs[i])
	}
	b.appending = appending{b, values(qkv), layer, step}
	b.pool.run(parts, 8, &b.appending)
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

// appendGroup is how many neighbouring positions, from a multiple of it on, are put into the cache together: those whose keys share cache lines.
const appendGroup = 16

// appendGroups is the number of groups that a sequence's new tokens are in.
func appendGroups(s *model.Span) int {
	return (s.Position+s.Len-1)/appendGroup - s.Position/appendGroup + 1
}

// appendItems and attendItems are the numbers of a sequence's items.
func (b *Backend) appendItems(s *model.Span) int { return appendGroups(s) * b.config.KVHeads }

func (b *Backend) attendItems(s *model.Span) int { return b.tiles(s.Len) * b.config.KVHeads }

// spanOf finds the sequence that an item is of, where each has so many of them, and the item's number there.
func spanOf(step *model.Step, item int, items func(*model.Span) int) (*model.Span, int) {
	i := 0
	for item >= items(&step.Seqs[i]) {
		item -= items(&step.Seqs[i])
		i++
	}
	return &step.Seqs[i], item
}

// work implements [task]. An item is a kv head and a group of positions of a sequence.
func (w *appending) work(_, from, to int) {
	for item := from; item < to; item++ {
		s, rest := spanOf(w.step, item, w.b.appendItems)
		groups := appendGroups(s)
		first := (s.Position/appendGroup + rest%groups) * appendGroup
		w.append(s, rest/groups, max(first, s.Position), min(first+appendGroup, s.Position+s.Len))
	}
}

// append applies RoPE to a kv head and its query heads at positions first … last-1 of a sequence, and writes keys and values to the cache.
func (w *appending) append(s *model.Span, head, first, last int) {
	b, c := w.b, w.b.config
	half, width, group := c.RoPE.Dim/2, c.QKVRows(), b.group()
	key := (c.Heads + head) * c.HeadDim
	value := key + c.KVHeads*c.HeadDim
	for p := first; p < last; p++ {
		t := s.Start + p - s.Position
		r, cos, sin := row(w.qkv, t, width), row(w.step.Cos, t, half), row(w.step.Sin, t, half)
		for h := head * group; h < (head+1)*group; h++ {
			b.kernels.rotate(row(r, h, c.HeadDim), cos, sin)
		}
		b.kernels.rotate(r[key:key+c.HeadDim], cos, sin)
		b.asInput(r[key : key+c.HeadDim])
		b.asInput(r[value : value+c.HeadDim])
	}
	block := s.Blocks[first/chunk]
	keys, vals := b.keysAndValues(block, w.layer, head)
	x := w.qkv[(s.Start+first-s.Position)*width:]
	finite := true
	if tiles := b.kernels.tiles; tiles != nil && !b.float32 && last-first == appendGroup && c.HeadDim%32 == 0 {
		tiles.setColumns(keys, first%chunk, x[key:], width, c.HeadDim)
		finite = tiles.setRows(vals, first%chunk, x[value:], width, c.HeadDim)
	} else {
		for i := range last - first {
			x := x[i*width:]
			keys.setColumn((first+i)%chunk, x[key:key+c.HeadDim])
			finite = vals.setRow((first+i)%chunk, x[value:value+c.HeadDim]) && finite
		}
	}
	if !finite {
		b.kv[block].damaged.Store(true)
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
		s, rest := spanOf(w.step, item, b.attendItems)
		tiles := b.tiles(s.Len)
		first := rest % tiles * b.queryTile()
		t := attentionTile{b: b, s: s, layer: w.layer, head: rest / tiles, first: first, last: min(first+b.queryTile(), s.Len)}
		t.attend(w.a, w.qkv, b.scratch[worker].attention)
	}
}

// group is how many query heads share a kv head.
func (b *Backend) group() int { return b.config.Heads / b.config.KVHeads }

// queryTile is how many queries of a sequence share one reading of its keys and values.
func (b *Backend) queryTile() int { return max(1, b.kernels.attentionRows/b.group()) }

// tiles is the number of query tiles of a sequence with the given number of new tokens.
func (b *Backend) tiles(queries int) int { return (queries + b.queryTile() - 1) / b.queryTile() }

// attentionScratch is one worker's memory for a tile. Its rows are the query heads of the first query, then those of the next one.
type attentionScratch struct {
	q          []float32 // [rows, dims]
	scores     []float32 // [rows, chunk] of a chunk, and the powers of two that are its values' weights
	sum        []float32 // [rows, dims] a chunk's weighted sum of values
	out        []float32 // [rows, dims] of all chunks so far
	top, total []float32 // [rows, or some more] largest score so far, and sum of powers under it
	m, l       []float32 // the same of a chunk
	old        []float32 // what becomes of the sums so far, see vectors.mergeStates

	highQ, lowQ, high, low []uint16 // for tiles: q and scores in two parts
	own                    kvMatrix // [chunk, dims] values, see attentionTile.weigh; made when first needed
}

func newAttentionScratch(v *vectors, c *model.Config) *attentionScratch {
	group := c.Heads / c.KVHeads
	rows := max(1, v.attentionRows/group) * group
	states := (rows + 15) &^ 15
	floats := func(n int) []float32 { return make([]float32, n) }
	w := &attentionScratch{
		q: floats(rows * kvDims(c)), scores: floats(rows * chunk), sum: floats(rows * kvDims(c)), out: floats(rows * kvDims(c)),
		top: floats(states), total: floats(states), m: floats(states), l: floats(states), old: floats(states),
	}
	if v.tiles != nil {
		w.highQ, w.lowQ = make([]uint16, len(w.q)), make([]uint16, len(w.q))
		w.high, w.low = make([]uint16, len(w.scores)), make([]uint16, len(w.scores))
	}
	return w
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
// the running ones as in flash attention (Dao et al., 2022, algorithm 1). Powers are of two, so scores carry the factor log2(e).
func (t *attentionTile) attend(a, qkv []float32, w *attentionScratch) {
	b, s := t.b, t.s
	c, k, dims, group := b.config, b.kernels, kvDims(b.config), b.group()
	rows := (t.last - t.first) * group
	for r := range rows {
		q := row(row(qkv, s.Start+t.first+r/group, c.QKVRows()), t.head*group+r%group, c.HeadDim)
		copy(row(w.q, r, dims), q)
	}
	if t.tiles() {
		k.tiles.split(w.highQ, w.lowQ, w.q[:rows*dims])
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

// tiles says whether products are AMX's.
func (t *attentionTile) tiles() bool { return t.b.kernels.tiles != nil && !t.b.float32 }

// score sets the weights of chunk n's keys for queries from … to-1, each of which sees some, and their states m and l. It fetches next into
// the cache.
func (t *attentionTile) score(keys, next kvMatrix, n, from, to int, w *attentionScratch) {
	k, dims, group := t.b.kernels, kvDims(t.b.config), t.b.group()
	r, rows := (from-t.first)*group, (to-from)*group
	start, end := t.columns(n, from, to)
	scores := w.scores[r*chunk : (r+rows)*chunk]
	if t.tiles() {
		k.tiles.products(scores, chunk, w.highQ[r*dims:], w.lowQ[r*dims:], dims, rows, keys, 0, dims, start, end, keys.distance(next))
	} else {
		clear(scores)
		k.addProducts(scores, chunk, w.q[r*dims:], dims, rows, keys, 0, dims, start, end, keys.distance(next))
	}
	for i := range rows {
		first, last := t.visible(from+i/group, n)
		x := row(scores, i, chunk)
		for p := start; p < first; p++ {
			x[p] = float32(math.Inf(-1))
		}
		for p := last; p < end; p++ {
			x[p] = float32(math.Inf(-1))
		}
	}
	scale := float32(math.Log2E / math.Sqrt(float64(t.b.config.HeadDim)))
	k.softmax(scores, rows, start, end, scale, w.m[r:], w.l[r:])
	if t.tiles() {
		k.tiles.split(w.high[r*chunk:], w.low[r*chunk:], scores)
	}
}

// columns is the range of chunk n's keys that queries from … to-1 see some of, widened to multiples of 32.
func (t *attentionTile) columns(n, from, to int) (start, end int) {
	start, _ = t.visible(from, n)
	_, end = t.visible(to-1, n)
	return start &^ 31, (end + 31) &^ 31
}

// weigh sets the rows of w.sum of queries from … to-1 to the sums of chunk n's values, times their weights.
//
// Values that a query must not see have a weight of 0, which is not enough where they are NaN or infinite: later ones of the sequence, or what
// was in the block before. In such a block, each query gets values of its own, with zeros where it sees none.
func (t *attentionTile) weigh(vals, next kvMatrix, n, from, to int, w *attentionScratch) {
	if !t.b.kv[t.s.Blocks[n]].damaged.Load() {
		t.weighAll(vals, next, n, from, to, w)
		return
	}
	if w.own.cols == 0 {
		w.own = kvMatrix{bf16: slices.Clone(vals.bf16), f32: slices.Clone(vals.f32), cols: vals.cols}
	}
	for query := from; query < to; query++ {
		first, last := t.visible(query, n)
		w.own.copyRows(vals, first, last)
		t.weighAll(w.own, next, n, query, query+1, w)
	}
}

// weighAll is weigh where weights of 0 are enough.
func (t *attentionTile) weighAll(vals, next kvMatrix, n, from, to int, w *attentionScratch) {
	k, dims, group := t.b.kernels, kvDims(t.b.config), t.b.group()
	r, rows := (from-t.first)*group, (to-from)*group
	start, end := t.columns(n, from, to)
	sum, at := w.sum[r*dims:(r+rows)*dims], r*chunk+start
	if t.tiles() {
		k.tiles.products(sum, dims, w.high[at:], w.low[at:], chunk, rows, vals, start, end, 0, dims, vals.distance(next))
		return
	}
	clear(sum)
	k.addProducts(sum, dims, w.scores[at:], chunk, rows, vals, start, end, 0, dims, vals.distance(next))
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

// copyRows copies rows first … last-1 of another matrix of the same shape and makes all others 0.
func (m kvMatrix) copyRows(from kvMatrix, first, last int) {
	clear(m.bf16)
	clear(m.f32)
	if m.f32 != nil {
		copy(m.f32[first*m.cols:last*m.cols], from.f32[first*m.cols:])
		return
	}
	for i := first; i < last; i++ {
		at := i/2*m.cols*2 + i%2
		for j := range m.cols {
			m.bf16[at+2*j] = from.bf16[at+2*j]
		}
	}
}
