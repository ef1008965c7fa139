package cpu

import "phi3/internal/model"

// Attend implements [model.Backend].
func (b *Backend) Attend(a, qkv model.Matrix, layer int) {
	step := b.step
	parts, sets := 0, 0
	for i := range step.Seqs {
		parts += b.appendItems(&step.Seqs[i])
		sets += b.attendItems(&step.Seqs[i])
	}
	b.appending = appending{b, values(qkv), layer, step}
	b.pool.run(parts, 8, &b.appending)
	b.attending = attending{b: b, a: values(a), qkv: values(qkv), layer: layer, step: step, sets: sets}
	b.attending.run()
}

// headsPerKV is the number of query heads that share a KV head.
func (b *Backend) headsPerKV() int { return b.config.Heads / b.config.KVHeads }

// oldestVisible returns the first position that a query at the given position may see.
func (b *Backend) oldestVisible(position int) int {
	if w := b.config.SlidingWindow; w > 0 {
		return max(0, position-w+1)
	}
	return 0
}

// appending applies RoPE and writes keys and values to the cache. An item is a KV head and a strip of a
// sequence.
type appending struct {
	b     *Backend
	qkv   []float32
	layer int
	step  *model.Step
}

// A strip is this many neighbouring positions, from a multiple of it on. Their keys share cache lines, so
// they are written together.
const strip = 16

// strips returns the number of strips that contain a sequence's new tokens.
func strips(s *model.Span) int { return (s.Position+s.Len-1)/strip - s.Position/strip + 1 }

// appendItems returns the number of a sequence's items.
func (b *Backend) appendItems(s *model.Span) int { return strips(s) * b.config.KVHeads }

// spanOf finds the sequence of an item, and the number of the item within the sequence. items returns the
// number of items of a sequence.
func spanOf(step *model.Step, item int, items func(*model.Span) int) (*model.Span, int) {
	i := 0
	for item >= items(&step.Seqs[i]) {
		item -= items(&step.Seqs[i])
		i++
	}
	return &step.Seqs[i], item
}

// work implements [task].
func (w *appending) work(_, from, to int) {
	for item := from; item < to; item++ {
		s, rest := spanOf(w.step, item, w.b.appendItems)
		n := strips(s)
		first := (s.Position/strip + rest%n) * strip
		w.append(s, rest/n, max(first, s.Position), min(first+strip, s.Position+s.Len))
	}
}

// append applies RoPE to a KV head and its query heads at positions first … last-1 of a sequence, and writes
// the keys and values to the cache.
func (w *appending) append(s *model.Span, head, first, last int) {
	b, c := w.b, w.b.config
	half, width, queryHeads := c.RoPE.Dim/2, c.QKVRows(), b.headsPerKV()
	key := (c.Heads + head) * c.HeadDim
	value := key + c.KVHeads*c.HeadDim
	for p := first; p < last; p++ {
		t := s.Start + p - s.Position
		r, cos, sin := row(w.qkv, t, width), row(w.step.Cos, t, half), row(w.step.Sin, t, half)
		for h := head * queryHeads; h < (head+1)*queryHeads; h++ {
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
	if tiles := b.kernels.tiles; tiles != nil && !b.float32 && last-first == strip && c.HeadDim%32 == 0 {
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
