package cpu

import (
	"math"
	"slices"

	"phi3/internal/model"
)

// querySet is a KV head and some neighbouring queries of a sequence, first … last-1 of its new tokens. They
// share each reading of the head's keys and values.
type querySet struct {
	b           *Backend
	s           *model.Span
	layer       int
	kvHead      int
	first, last int
}

// setQueries returns how many queries make a set.
func (b *Backend) setQueries() int { return max(1, b.kernels.attentionRows/b.headsPerKV()) }

// setsPerHead returns the number of sets of a sequence with that many new queries, for one KV head.
func (b *Backend) setsPerHead(queries int) int {
	return (queries + b.setQueries() - 1) / b.setQueries()
}

// attend sets the query heads of the set in a to softmax(q·kᵀ/√headDim)·v over the keys that each query may
// see: those up to its own position and within the sliding window (spec 3.1 and 3.4).
//
// Keys are taken in chunks, counted from position 0. Each chunk has its own maximum, sum of powers and
// weighted sum of values, which are merged with those of the chunks before it as in flash attention (Dao et
// al., 2022, algorithm 1). Powers are powers of two, so the scores are multiplied by log2(e).
func (q *querySet) attend(a, qkv []float32, w *attentionScratch) {
	q.load(qkv, w)
	w.ofAll.clear()
	oldest, newest := q.chunks()
	for n := oldest; n <= newest; n++ {
		q.sum(n, &w.ofChunk, w)
		q.merge(n, &w.ofAll, &w.ofChunk, w)
	}
	q.finish(a, &w.ofAll)
}

// rows is the number of rows: query heads, from the first to the last query.
func (q *querySet) rows() int { return (q.last - q.first) * q.b.headsPerKV() }

// chunks returns the numbers of the first and the last chunk that some query sees.
func (q *querySet) chunks() (oldest, newest int) {
	return q.b.oldestVisible(q.s.Position+q.first) / chunk, (q.s.Position + q.last - 1) / chunk
}

// useTiles says whether the products are AMX's.
func (q *querySet) useTiles() bool { return q.b.kernels.tiles != nil && !q.b.float32 }

// head returns row r of the set in m [tokens, width], where a token's query heads come first.
func (q *querySet) head(m []float32, width, r int) []float32 {
	c, perKV := q.b.config, q.b.headsPerKV()
	return row(row(m, q.s.Start+q.first+r/perKV, width), q.kvHead*perKV+r%perKV, c.HeadDim)
}

// load copies the queries.
func (q *querySet) load(qkv []float32, w *attentionScratch) {
	dims := kvDims(q.b.config)
	for r := range q.rows() {
		copy(row(w.q, r, dims), q.head(qkv, q.b.config.QKVRows(), r))
	}
	if q.useTiles() {
		q.b.kernels.tiles.split(w.highQ, w.lowQ, w.q[:q.rows()*dims])
	}
}

// finish writes the query heads from the sums over all chunks.
func (q *querySet) finish(a []float32, all *weightedSums) {
	c, dims := q.b.config, kvDims(q.b.config)
	out := all.values[:q.rows()*dims]
	q.b.kernels.divideRows(out, all.total[:q.rows()], dims)
	q.b.asInput(out)
	for r := range q.rows() {
		copy(q.head(a, c.Heads*c.HeadDim, r), row(out, r, dims))
	}
}

// visible returns the keys start … end-1 of chunk n that a query may see. There are none if end ≤ 0 or start
// ≥ chunk.
func (q *querySet) visible(query, n int) (start, end int) {
	position := q.s.Position + query
	return max(q.b.oldestVisible(position)-n*chunk, 0), min(position+1-n*chunk, chunk)
}

// seeing returns the queries from … to-1 that see some of chunk n. At least one query of the set does.
func (q *querySet) seeing(n int) (from, to int) {
	from, to = q.first, q.last
	for _, end := q.visible(from, n); end <= 0; _, end = q.visible(from, n) {
		from++
	}
	for start, _ := q.visible(to-1, n); start >= chunk; start, _ = q.visible(to-1, n) {
		to--
	}
	return from, to
}

// sum sets the sums over chunk n, of the queries that see some of it.
func (q *querySet) sum(n int, sums *weightedSums, w *attentionScratch) {
	keys, vals := q.b.keysAndValues(q.s.Blocks[n], q.layer, q.kvHead)
	next := vals
	if _, newest := q.chunks(); n < newest {
		next, _ = q.b.keysAndValues(q.s.Blocks[n+1], q.layer, q.kvHead)
	}
	sums.clearStates() // of those that see nothing of it
	c := queryChunk{querySet: *q, n: n, sums: *sums, w: w}
	c.from, c.to = q.seeing(n)
	c.score(keys, vals)
	c.weigh(vals, next)
}

// merge adds the sums over chunk n to those over all chunks before it. It overwrites the sums of the chunk.
func (q *querySet) merge(n int, all, sums *weightedSums, w *attentionScratch) {
	k, dims, perKV := q.b.kernels, kvDims(q.b.config), q.b.headsPerKV()
	from, to := q.seeing(n)
	r0, r1 := (from-q.first)*perKV, (to-q.first)*perKV
	old := w.old[:len(all.top)]
	k.mergeStates(all.top, all.total, sums.top, sums.total, old)
	k.mergeRows(all.values[r0*dims:r1*dims], sums.values[r0*dims:r1*dims], old[r0:r1], sums.top[r0:r1], dims)
}

// queryChunk is the work on chunk n of the queries from … to-1 of a set, each of which sees some of it.
type queryChunk struct {
	querySet    // a copy, as sums: pointers to variables on the stack would move those to the heap
	n, from, to int
	sums        weightedSums
	w           *attentionScratch
}

// columns is the range of the chunk's keys that the queries see some of, widened to multiples of 32.
func (c *queryChunk) columns() (start, end int) {
	start, _ = c.visible(c.from, c.n)
	_, end = c.visible(c.to-1, c.n)
	return start &^ 31, (end + 31) &^ 31
}

// rowsOf returns the first row of the queries, and their number.
func (c *queryChunk) rowsOf() (r, rows int) {
	perKV := c.b.headsPerKV()
	return (c.from - c.first) * perKV, (c.to - c.from) * perKV
}

// score sets the weights of the chunk's keys, and the states. It prefetches next.
func (c *queryChunk) score(keys, next kvMatrix) {
	k, w, dims := c.b.kernels, c.w, kvDims(c.b.config)
	r, rows := c.rowsOf()
	start, end := c.columns()
	scores := w.scores[r*chunk : (r+rows)*chunk]
	p := &w.product
	p.c, p.cStride, p.a, p.aStride, p.rows = scores, chunk, w.q[r*dims:], dims, rows
	p.b, p.first, p.last, p.from, p.to, p.ahead = keys, 0, dims, start, end, keys.distance(next)
	if c.useTiles() {
		p.high, p.low = w.highQ[r*dims:], w.lowQ[r*dims:]
		k.tiles.products(p)
	} else {
		clear(scores)
		k.addProducts(p)
	}
	for i := range rows {
		first, last := c.visible(c.from+i/c.b.headsPerKV(), c.n)
		x := row(scores, i, chunk)
		for i := start; i < first; i++ {
			x[i] = float32(math.Inf(-1))
		}
		for i := last; i < end; i++ {
			x[i] = float32(math.Inf(-1))
		}
	}
	scale := float32(math.Log2E / math.Sqrt(float64(c.b.config.HeadDim)))
	k.softmax(scores, start, end, scale, c.sums.top[r:r+rows], c.sums.total[r:r+rows])
	if c.useTiles() {
		k.tiles.split(w.high[r*chunk:], w.low[r*chunk:], scores)
	}
}

// weigh sets the sums of the chunk's values times their weights. It prefetches next.
//
// Values that a query may not see have a weight of 0. That is not enough if they are NaN or infinite: those
// may be later values of the sequence, or values that another sequence left in the block. In a block with
// such values each query gets a copy of the values, with zeros where it sees none.
func (c *queryChunk) weigh(vals, next kvMatrix) {
	if !c.b.kv[c.s.Blocks[c.n]].damaged.Load() {
		c.weighAll(vals, next)
		return
	}
	own := &c.w.own
	if own.cols == 0 {
		*own = kvMatrix{bf16: slices.Clone(vals.bf16), f32: slices.Clone(vals.f32), cols: vals.cols}
	}
	for query := c.from; query < c.to; query++ {
		first, last := c.visible(query, c.n)
		own.copyRows(vals, first, last)
		one := *c
		one.from, one.to = query, query+1
		one.weighAll(*own, next)
	}
}

// weighAll is weigh for values that are finite, or that all queries see.
func (c *queryChunk) weighAll(vals, next kvMatrix) {
	k, w, dims := c.b.kernels, c.w, kvDims(c.b.config)
	r, rows := c.rowsOf()
	start, end := c.columns()
	at := r*chunk + start
	p := &w.product
	p.c, p.cStride = c.sums.values[r*dims:(r+rows)*dims], dims
	p.a, p.aStride, p.rows = w.scores[at:], chunk, rows
	p.b, p.first, p.last, p.from, p.to, p.ahead = vals, start, end, 0, dims, vals.distance(next)
	if c.useTiles() {
		p.high, p.low = w.high[at:], w.low[at:]
		k.tiles.products(p)
		return
	}
	clear(p.c)
	k.addProducts(p)
}
