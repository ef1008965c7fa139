package cpu

import (
	"math"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// chunk is the number of keys whose scores are computed, exponentiated and summed together, counted from position 0 of the
// sequence. Chunks are merged in order, so how a sequence was fed to the cache leaves no trace in the result.
const chunk = kvcache.BlockTokens

// kvBlock is the memory of one block: keys and values of chunk positions, for all layers.
// Element d of position p's key, for kv head g of layer l, is at ((l·2 + 0)·kvHeads + g)·chunk·headDim + p·headDim + d;
// the value's is the same with 1 for 0.
type kvBlock struct {
	bf16 []uint16
	f32  []float32 // instead of bf16, when nothing is rounded
}

// kvBlockElems is how many numbers a block holds.
func (b *Backend) kvBlockElems() int {
	return b.config.Layers * 2 * b.config.KVHeads * chunk * b.config.HeadDim
}

func (b *Backend) newKVBlock() *kvBlock {
	n := b.kvBlockElems()
	if b.float32 {
		return &kvBlock{f32: make([]float32, n)}
	}
	return &kvBlock{bf16: make([]uint16, n)}
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
	items := 0 // one for every sequence, tile of its queries, and kv head
	for _, s := range step.Seqs {
		items += tiles(s.Len) * b.config.KVHeads
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

// work implements [task]. An item is a tile of queries of a sequence and a kv head.
func (w *attending) work(worker, from, to int) {
	kvHeads := w.b.config.KVHeads
	for item := from; item < to; item++ {
		i, rest := 0, item
		for rest >= tiles(w.step.Seqs[i].Len)*kvHeads {
			rest -= tiles(w.step.Seqs[i].Len) * kvHeads
			i++
		}
		s := &w.step.Seqs[i]
		first := rest / kvHeads * queryTile
		w.b.attendTile(w.a, w.qkv, w.layer, s, first, min(first+queryTile, s.Len), rest%kvHeads, w.b.scratch[worker].attention)
	}
}

// queryTile is how many queries of a sequence share one reading of its keys and values.
const queryTile = 16

// tiles is the number of query tiles of a sequence with the given number of new tokens.
func tiles(queries int) int { return (queries + queryTile - 1) / queryTile }

// rotateAndAppend applies RoPE to the query and key heads of row t and writes its keys and values to the cache.
func (b *Backend) rotateAndAppend(qkv []float32, layer int, step *model.Step, seq, t int) {
	c, s := b.config, &step.Seqs[seq]
	half := c.RoPE.Dim / 2
	cos, sin := row(step.Cos, t, half), row(step.Sin, t, half)
	r := row(qkv, t, c.QKVRows())
	for h := range c.Heads + c.KVHeads {
		rotate(row(r, h, c.HeadDim), cos, sin)
	}
	position := s.Position + t - s.Start
	block := b.kv[s.Blocks[position/chunk]]
	for kv := range 2 {
		for g := range c.KVHeads {
			src := row(r, c.Heads+kv*c.KVHeads+g, c.HeadDim)
			at := (((layer*2+kv)*c.KVHeads+g)*chunk + position%chunk) * c.HeadDim
			if b.float32 {
				copy(block.f32[at:], src)
				continue
			}
			dst := block.bf16[at : at+c.HeadDim]
			for d, v := range src {
				dst[d] = toBF16(v)
			}
		}
	}
}

// rotate turns the pairs (x[j], x[j+half]) of a head by the angles given (spec 3.2, "rotate_half"); later dimensions stay.
func rotate(x, cos, sin []float32) {
	half := len(cos)
	for j, c := range cos {
		lo, hi, s := x[j], x[j+half], sin[j]
		x[j] = float32(lo*c) - float32(hi*s)
		x[j+half] = float32(hi*c) + float32(lo*s)
	}
}

// attentionScratch is one worker's memory.
type attentionScratch struct {
	keys, vals []float32 // [chunk, headDim] a chunk, widened
	scores     []float32 // [chunk]
	sum        []float32 // [headDim] a chunk's weighted sum of values
	top, total []float32 // [queryTile, heads of a group] running maximum, and sum of exponentials under it
}

func newAttentionScratch(c *model.Config) *attentionScratch {
	floats := func(n int) []float32 { return make([]float32, n) }
	states := queryTile * c.Heads / c.KVHeads
	return &attentionScratch{floats(chunk * c.HeadDim), floats(chunk * c.HeadDim), floats(chunk), floats(c.HeadDim), floats(states), floats(states)}
}

// attendTile sets the rows first … last-1 of sequence s in a, for all query heads of one kv head, to softmax(q·kᵀ/√headDim)·v over
// the keys that each query may see: those up to its own position and within the sliding window (spec 3.1 and 3.4).
//
// Keys are taken in chunks counted from position 0. Each chunk has its own maximum m, sum l of exponentials and weighted sum of
// values; they join the running ones as in flash attention (Dao et al., 2022, algorithm 1).
func (b *Backend) attendTile(a, qkv []float32, layer int, s *model.Span, first, last, keyHead int, scratch *attentionScratch) {
	c := b.config
	dim, group := c.HeadDim, c.Heads/c.KVHeads
	scale := float32(1 / math.Sqrt(float64(dim)))
	for i := range scratch.top {
		scratch.top[i], scratch.total[i] = float32(math.Inf(-1)), 0
	}
	output := func(query, h int) []float32 {
		return row(row(a, s.Start+query, c.Heads*dim), keyHead*group+h, dim)
	}
	for query := first; query < last; query++ {
		for h := range group {
			clear(output(query, h))
		}
	}

	oldest := b.oldestVisible(s.Position + first)
	newest := s.Position + last - 1
	for n := oldest / chunk; n <= newest/chunk; n++ {
		base := n * chunk
		from, to := max(oldest-base, 0), min(newest+1-base, chunk) // what any query of the tile sees of this chunk
		keys, vals := b.read(b.kv[s.Blocks[n]], layer, keyHead, from, to, scratch)
		if b.kernels.fetch != nil { // the first rows; the kernels fetch the others
			b.kernels.fetch(vals, c.HeadDim)
			if n < newest/chunk {
				next, _ := b.rows(b.kv[s.Blocks[n+1]], layer, keyHead)
				b.kernels.fetch(next, c.HeadDim)
			}
		}
		for query := first; query < last; query++ {
			position := s.Position + query
			from, to := max(b.oldestVisible(position)-base, 0), min(position+1-base, chunk)
			if from >= to {
				continue
			}
			q := row(qkv, s.Start+query, c.QKVRows())
			for h := range group {
				m, l := b.kernels.attend(scratch.sum, row(q, keyHead*group+h, dim), keys, vals, from, to, scale, scratch.scores)
				top, total := &scratch.top[(query-first)*group+h], &scratch.total[(query-first)*group+h]
				newTop := max(*top, m)
				old, add := exp(*top-newTop), exp(m-newTop)
				*top, *total = newTop, float32(*total*old)+float32(l*add)
				out := output(query, h)
				for d, v := range scratch.sum {
					out[d] = float32(out[d]*old) + float32(v*add)
				}
			}
		}
	}
	for query := first; query < last; query++ {
		for h := range group {
			out := output(query, h)
			for d := range out {
				out[d] /= scratch.total[(query-first)*group+h]
			}
			b.asInput(out)
		}
	}
}

// oldestVisible is the first position that a query at the given position may see.
func (b *Backend) oldestVisible(position int) int {
	if w := b.config.SlidingWindow; w > 0 {
		return max(0, position-w+1)
	}
	return 0
}

// kvRows are keys or values of some positions: one of the slices, [positions, headDim].
type kvRows struct {
	bf16 []uint16
	f32  []float32
}

// slice is the elements from … to-1.
func (r kvRows) slice(from, to int) kvRows {
	if r.f32 != nil {
		return kvRows{f32: r.f32[from:to]}
	}
	return kvRows{bf16: r.bf16[from:to]}
}

// rows are the keys and values [chunk, headDim] of one head of a block.
func (b *Backend) rows(k *kvBlock, layer, keyHead int) (keys, vals kvRows) {
	c := b.config
	size := chunk * c.HeadDim
	at := (layer*2*c.KVHeads + keyHead) * size
	values := at + c.KVHeads*size // a layer's values follow its keys
	return kvRows(*k).slice(at, at+size), kvRows(*k).slice(values, values+size)
}

// read returns the same as the kernels want them; only positions from … to-1 are meaningful.
func (b *Backend) read(k *kvBlock, layer, keyHead, from, to int, scratch *attentionScratch) (keys, vals kvRows) {
	keys, vals = b.rows(k, layer, keyHead)
	if k.f32 != nil || !b.kernels.widenKV {
		return keys, vals
	}
	lo, hi := from*b.config.HeadDim, to*b.config.HeadDim
	widenBF16(scratch.keys[lo:hi], keys.bf16[lo:hi])
	widenBF16(scratch.vals[lo:hi], vals.bf16[lo:hi])
	return kvRows{f32: scratch.keys}, kvRows{f32: scratch.vals}
}
