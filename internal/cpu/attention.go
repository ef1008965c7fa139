package cpu

import (
	"math"
	"slices"

	"phi3/internal/model"
)

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
	parts, tiles := 0, 0 // for every sequence and kv head, groups of positions, and tiles of queries
	for i := range step.Seqs {
		parts += b.appendItems(&step.Seqs[i])
		tiles += b.attendItems(&step.Seqs[i])
	}
	b.appending = appending{b, values(qkv), layer, step}
	b.pool.run(parts, 8, &b.appending)
	b.attending = attending{b: b, a: values(a), qkv: values(qkv), layer: layer, step: step, tiles: tiles}
	b.attending.run()
}

// appending is RoPE, and keys and values on their way into the cache.
type appending struct {
	b     *Backend
	qkv   []float32
	layer int
	step  *model.Step
}

// appendGroup is how many neighbouring positions, from a multiple of it on, are put into the cache together:
// those whose keys share cache lines.
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

// append applies RoPE to a kv head and its query heads at positions first … last-1 of a sequence, and writes
// keys and values to the cache.
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
	if tiles := b.kernels.tiles; tiles != nil && !b.float32 && last-first == appendGroup &&
		c.HeadDim%32 == 0 {
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

// group is how many query heads share a kv head.
func (b *Backend) group() int { return b.config.Heads / b.config.KVHeads }

// queryTile is how many queries of a sequence share one reading of its keys and values.
func (b *Backend) queryTile() int { return max(1, b.kernels.attentionRows/b.group()) }

// tiles is the number of query tiles of a sequence with the given number of new tokens.
func (b *Backend) tiles(queries int) int { return (queries + b.queryTile() - 1) / b.queryTile() }

// attentionScratch is one worker's memory for a tile. Its rows are the query heads of the first query, then
// those of the next one.
type attentionScratch struct {
	q          []float32    // [rows, dims]
	scores     []float32    // [rows, chunk] of a chunk, and the powers of two that are its values' weights
	chunk, all weightedSums // of a chunk, and of all chunks so far
	old        []float32    // what becomes of the sums so far, see vectors.mergeStates

	highQ, lowQ, high, low []uint16 // for tiles: q and scores in two parts
	own                    kvMatrix // [chunk, dims] values, see attentionTile.weigh; made when first needed
}

func newAttentionScratch(v *vectors, c *model.Config) *attentionScratch {
	group := c.Heads / c.KVHeads
	rows := max(1, v.attentionRows/group) * group
	floats := func(n int) []float32 { return make([]float32, n) }
	n := sumsLen(rows, kvDims(c))
	w := &attentionScratch{
		q: floats(rows * kvDims(c)), scores: floats(rows * chunk), old: floats(upTo16(rows)),
		chunk: newWeightedSums(floats(n), rows, kvDims(c)), all: newWeightedSums(floats(n), rows, kvDims(c)),
	}
	if v.tiles != nil {
		w.highQ, w.lowQ = make([]uint16, len(w.q)), make([]uint16, len(w.q))
		w.high, w.low = make([]uint16, len(w.scores)), make([]uint16, len(w.scores))
	}
	return w
}

// weightedSums are sums of values times their weights, for some rows.
type weightedSums struct {
	top, total []float32 // [rows, or some more] the largest score, and the sum of the powers under it
	values     []float32 // [rows, dims]
}

// newWeightedSums lays them out in memory, which is sumsLen long.
func newWeightedSums(memory []float32, rows, dims int) weightedSums {
	states := upTo16(rows)
	return weightedSums{memory[:states], memory[states : 2*states], memory[2*states : sumsLen(rows, dims)]}
}

func sumsLen(rows, dims int) int { return 2*upTo16(rows) + rows*dims }

// upTo16 is the lowest multiple of 16 that is not less than n.
func upTo16(n int) int { return (n + 15) &^ 15 }

// clear makes them the sums of no keys.
func (s *weightedSums) clear() {
	for r := range s.top {
		s.top[r], s.total[r] = -math.MaxFloat32, 0
	}
	clear(s.values)
}

// attentionTile is some queries of a sequence, first … last-1 of its new tokens, and a kv head.
type attentionTile struct {
	b           *Backend
	s           *model.Span
	layer, head int
	first, last int
}

// attend sets the tile's heads in a to softmax(q·kᵀ/√headDim)·v over the keys that each query may see: those
// up to its own position and within the sliding window (spec 3.1 and 3.4).
//
// Keys are taken in chunks counted from position 0. Each chunk has its own maximum, sum of powers and
// weighted sum of values; they join the running ones as in flash attention (Dao et al., 2022, algorithm 1).
// Powers are of two, so scores carry the factor log2(e).
func (t *attentionTile) attend(a, qkv []float32, w *attentionScratch) {
	t.load(qkv, w)
	w.all.clear()
	oldest, newest := t.chunks()
	for n := oldest; n <= newest; n++ {
		t.sum(n, &w.chunk, w)
		t.merge(n, &w.all, &w.chunk, w)
	}
	t.finish(a, &w.all)
}

// rows is the number of query heads, first to last query.
func (t *attentionTile) rows() int { return (t.last - t.first) * t.b.group() }

// chunks are the numbers of the first and the last chunk that some query sees some of.
func (t *attentionTile) chunks() (oldest, newest int) {
	return t.b.oldestVisible(t.s.Position+t.first) / chunk, (t.s.Position + t.last - 1) / chunk
}

// load copies the queries.
func (t *attentionTile) load(qkv []float32, w *attentionScratch) {
	b, c, dims, group := t.b, t.b.config, kvDims(t.b.config), t.b.group()
	for r := range t.rows() {
		q := row(row(qkv, t.s.Start+t.first+r/group, c.QKVRows()), t.head*group+r%group, c.HeadDim)
		copy(row(w.q, r, dims), q)
	}
	if t.tiles() {
		b.kernels.tiles.split(w.highQ, w.lowQ, w.q[:t.rows()*dims])
	}
}

// seeing are the queries from … to-1 that see some of chunk n; the tile has such.
func (t *attentionTile) seeing(n int) (from, to int) {
	from, to = t.first, t.last
	for _, end := t.visible(from, n); end <= 0; _, end = t.visible(from, n) {
		from++
	}
	for start, _ := t.visible(to-1, n); start >= chunk; start, _ = t.visible(to-1, n) {
		to--
	}
	return from, to
}

// sum sets the tile's sums over chunk n, of the queries that see some of it.
func (t *attentionTile) sum(n int, sums *weightedSums, w *attentionScratch) {
	keys, vals := t.b.keysAndValues(t.s.Blocks[n], t.layer, t.head)
	next := vals
	if _, newest := t.chunks(); n < newest {
		next, _ = t.b.keysAndValues(t.s.Blocks[n+1], t.layer, t.head)
	}
	from, to := t.seeing(n)
	for r := range sums.top { // those that see nothing of it
		sums.top[r], sums.total[r] = -math.MaxFloat32, 0
	}
	t.score(keys, vals, n, from, to, sums, w)
	t.weigh(vals, next, n, from, to, sums, w)
}

// merge adds the sums over chunk n, which are used up, to those over all chunks before it.
func (t *attentionTile) merge(n int, all, sums *weightedSums, w *attentionScratch) {
	k, dims, group := t.b.kernels, kvDims(t.b.config), t.b.group()
	from, to := t.seeing(n)
	r0, r1 := (from-t.first)*group, (to-t.first)*group
	old := w.old[:len(all.top)]
	k.mergeStates(all.top, all.total, sums.top, sums.total, old)
	k.mergeRows(all.values[r0*dims:r1*dims], sums.values[r0*dims:r1*dims], old[r0:r1], sums.top[r0:r1], dims)
}

// finish writes the tile's heads from the sums over all chunks.
func (t *attentionTile) finish(a []float32, all *weightedSums) {
	b, c, dims, group, rows := t.b, t.b.config, kvDims(t.b.config), t.b.group(), t.rows()
	out := all.values[:rows*dims]
	b.kernels.divideRows(out, all.total[:rows], dims)
	b.asInput(out)
	for r := range rows {
		copy(row(row(a, t.s.Start+t.first+r/group, c.Heads*c.HeadDim), t.head*group+r%group, c.HeadDim),
			row(out, r, dims))
	}
}

// visible are the keys start … end-1 of chunk n that a query may see; there are none if end ≤ 0 or start ≥
// chunk.
func (t *attentionTile) visible(query, n int) (start, end int) {
	position := t.s.Position + query
	return max(t.b.oldestVisible(position)-n*chunk, 0), min(position+1-n*chunk, chunk)
}

// tiles says whether products are AMX's.
func (t *attentionTile) tiles() bool { return t.b.kernels.tiles != nil && !t.b.float32 }

// score sets the weights of chunk n's keys for queries from … to-1, each of which sees some, and their
// states. It fetches next into the cache.
func (t *attentionTile) score(keys, next kvMatrix, n, from, to int, sums *weightedSums, w *attentionScratch) {
	k, dims, group := t.b.kernels, kvDims(t.b.config), t.b.group()
	r, rows := (from-t.first)*group, (to-from)*group
	start, end := t.columns(n, from, to)
	scores := w.scores[r*chunk : (r+rows)*chunk]
	if t.tiles() {
		k.tiles.products(scores, chunk, w.highQ[r*dims:], w.lowQ[r*dims:], dims, rows, keys, 0, dims, start,
			end, keys.distance(next))
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
	k.softmax(scores, rows, start, end, scale, sums.top[r:], sums.total[r:])
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

// weigh sets the rows of sums of queries from … to-1 to the sums of chunk n's values, times their weights.
//
// Values that a query must not see have a weight of 0, which is not enough where they are NaN or infinite:
// later ones of the sequence, or what was in the block before. In such a block, each query gets values of its
// own, with zeros where it sees none.
func (t *attentionTile) weigh(vals, next kvMatrix, n, from, to int, sums *weightedSums, w *attentionScratch) {
	if !t.b.kv[t.s.Blocks[n]].damaged.Load() {
		t.weighAll(vals, next, n, from, to, sums, w)
		return
	}
	if w.own.cols == 0 {
		w.own = kvMatrix{bf16: slices.Clone(vals.bf16), f32: slices.Clone(vals.f32), cols: vals.cols}
	}
	for query := from; query < to; query++ {
		first, last := t.visible(query, n)
		w.own.copyRows(vals, first, last)
		t.weighAll(w.own, next, n, query, query+1, sums, w)
	}
}

// weighAll is weigh where weights of 0 are enough.
func (t *attentionTile) weighAll(
	vals, next kvMatrix, n, from, to int, sums *weightedSums, w *attentionScratch,
) {
	k, dims, group := t.b.kernels, kvDims(t.b.config), t.b.group()
	r, rows := (from-t.first)*group, (to-from)*group
	start, end := t.columns(n, from, to)
	sum, at := sums.values[r*dims:(r+rows)*dims], r*chunk+start
	if t.tiles() {
		k.tiles.products(sum, dims, w.high[at:], w.low[at:], chunk, rows, vals, start, end, 0, dims,
			vals.distance(next))
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
