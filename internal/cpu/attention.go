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

func (b *Backend) newKVBlock() *kvBlock {
	c := b.config
	n := c.Layers * 2 * c.KVHeads * chunk * c.HeadDim
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
	b.pool.run(qkv.Rows, 4, func(_, from, to int) { // RoPE, and keys and values into the cache
		for i, s := range step.Seqs {
			for t := max(from, s.Start); t < min(to, s.Start+s.Len); t++ {
				b.rotateAndAppend(values(qkv), layer, step, i, t)
			}
		}
	})
	heads := b.config.Heads
	b.pool.run(a.Rows*heads, max(1, heads/8), func(worker, from, to int) { // attention, one query head at a time
		i := 0
		for item := from; item < to; item++ {
			t := item / heads
			for t >= step.Seqs[i].Start+step.Seqs[i].Len {
				i++
			}
			b.attendHead(values(a), values(qkv), layer, &step.Seqs[i], t, item%heads, b.scores[worker])
		}
	})
}

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

// attendHead sets head h of row t of a to softmax(q·kᵀ/√headDim)·v over the keys that the query may see: those up to its own
// position and within the sliding window (spec 3.1 and 3.4).
//
// Keys are taken in chunks counted from position 0. Each chunk has its own maximum m, sum l of exponentials and weighted sum o of
// values; they join the running ones as in flash attention (Dao et al., 2022, algorithm 1).
func (b *Backend) attendHead(a, qkv []float32, layer int, s *model.Span, t, h int, scratch []float32) {
	c := b.config
	dim := c.HeadDim
	scores, sum, wide := scratch[:chunk], scratch[chunk:chunk+dim], scratch[chunk+dim:chunk+2*dim]
	q := row(row(qkv, t, c.QKVRows()), h, dim)
	out := row(row(a, t, c.Heads*dim), h, dim)
	scale := float32(1 / math.Sqrt(float64(dim)))
	keyHead := h / (c.Heads / c.KVHeads)

	position := s.Position + t - s.Start
	first := 0
	if c.SlidingWindow > 0 {
		first = max(0, position-c.SlidingWindow+1)
	}
	clear(out)
	top, total := float32(math.Inf(-1)), float32(0)
	for n := first / chunk; n <= position/chunk; n++ {
		from, to := max(first-n*chunk, 0), min(position+1-n*chunk, chunk) // visible positions of this chunk
		block := b.kv[s.Blocks[n]]
		keys := (layer*2*c.KVHeads + keyHead) * chunk * dim
		vals := keys + c.KVHeads*chunk*dim

		m := float32(math.Inf(-1))
		for p := from; p < to; p++ {
			scores[p] = dot(q, block.row(keys+p*dim, wide)) * scale
			m = max(m, scores[p])
		}
		var l float32
		clear(sum)
		for p := from; p < to; p++ {
			e := exp(scores[p] - m)
			l += e
			for d, v := range block.row(vals+p*dim, wide) {
				sum[d] += float32(e * v)
			}
		}

		newTop := max(top, m)
		old, add := exp(top-newTop), exp(m-newTop)
		total = float32(total*old) + float32(l*add)
		for d, v := range sum {
			out[d] = float32(out[d]*old) + float32(v*add)
		}
		top = newTop
	}
	for d := range out {
		out[d] /= total
	}
	b.asInput(out)
}

// row is a key or value that starts at element at, widened into scratch where necessary.
func (k *kvBlock) row(at int, scratch []float32) []float32 {
	if k.f32 != nil {
		return k.f32[at : at+len(scratch)]
	}
	for i, v := range k.bf16[at : at+len(scratch)] {
		scratch[i] = fromBF16(v)
	}
	return scratch
}
