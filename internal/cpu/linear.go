package cpu

import (
	"phi3/internal/model"
	"phi3/internal/weight"
)

// NormLinear implements [model.Backend].
func (b *Backend) NormLinear(y, x model.Matrix, norm, w model.Weight) {
	b.product(values(y), y.Cols, b.normInput(x, norm), w, store)
}

// LinearAdd implements [model.Backend].
func (b *Backend) LinearAdd(x, a model.Matrix, w model.Weight) {
	b.product(values(x), x.Cols, input{x: values(a)}, w, add)
}

// NormGateUp implements [model.Backend].
func (b *Backend) NormGateUp(h, x model.Matrix, norm, w model.Weight) {
	b.product(values(h), h.Cols, b.normInput(x, norm), w, gateUp)
}

// use is what becomes of the sums of a matrix product.
type use int

const (
	store  use = iota
	add        // to what is there
	gateUp     // SiLU of the matrix's upper half of rows, times the lower half
)

// linearKernels are the innermost loops of a matrix product.
type linearKernels struct {
	// tileRows is how many rows a tile has, an even number, in a product of so many tokens with a matrix of
	// so many rows for each use.
	tileRows func(tokens, cols, threads int) int
	// multiply computes a tile of the product and puts it to use.
	multiply func(p *product, t *tile, s *scratch)
	// newScratch makes what multiply needs of a worker's memory, for inputs up to so wide and so many tokens.
	newScratch func(s *scratch, widest, maxTokens int)

	// Where tokens are read in another order than they lie in memory: pack lays out a group of them, after
	// which in.packed has all. It is packedBytes long.
	pack        func(in *input, group int)
	packedBytes func(tokens, k int) int
	group       int // tokens of a group
}

// always are the same loops for all weights.
func always(l *linearKernels) func(weight.Format, bool) *linearKernels {
	return func(weight.Format, bool) *linearKernels { return l }
}

// tile is some rows of a weight [*, k] that are multiplied with all tokens before the next ones are looked
// at: count rows from n on, and, where second is not 0, as many from n+second on.
type tile struct {
	bytes            []byte // of the whole weight
	dtype            weight.Format
	k                int
	n, count, second int
	next             int // where the worker's next tile begins; n if it has none yet
}

// tileOf is a tile of no rows yet.
func tileOf(w model.Weight) tile {
	return tile{bytes: w.Data.(*parameter).bytes, dtype: w.Format, k: w.Shape[1]}
}

// row is row i of the weight as stored.
func (t *tile) row(i int) []byte {
	size := t.k * elemSize(t.dtype)
	return t.bytes[i*size : (i+1)*size]
}

// input is the other factor of a product.
type input struct {
	x         []float32 // [tokens, k]
	tokens, k int
	packed    []byte   // see linearKernels.pack; at an address that is a multiple of 64
	norm      *norming // what x has yet to be set by, or nil
}

func (in *input) row(token int) []float32 { return row(in.x, token, in.k) }

// product is a matrix product in progress. Workers take tiles.
type product struct {
	b       *Backend
	kernels *linearKernels
	in      input
	w       tile      // of which n and count are not set
	out     []float32 // [tokens, cols]
	cols    int
	use     use
	group   int // rows of out that a tile makes
}

// someWork, in bytes of weights times tokens, takes ten microseconds or more.
const someWork = 256 << 10

// product multiplies in.x [tokens, k] by w [*, k] and puts the sums to use in out [tokens, cols].
func (b *Backend) product(out []float32, cols int, in input, w model.Weight, u use) {
	k := w.Shape[1]
	in.tokens, in.k, in.packed = len(in.x)/k, k, b.packed
	p := &b.linear
	*p = product{
		b: b, kernels: b.kernels.linear(w.Format, b.float32), in: in, w: tileOf(w), out: out,
		cols: cols, use: u,
	}
	p.group = p.kernels.tileRows(p.in.tokens, cols, b.pool.threads)
	if u == gateUp {
		p.group /= 2
		p.w.second = cols
	}
	if p.kernels.pack != nil {
		b.packing = packing{&p.in, p.kernels}
		b.pool.run((p.in.tokens+p.kernels.group-1)/p.kernels.group, 1, &b.packing)
	} else if in.norm != nil {
		b.pool.run(p.in.tokens, 4, in.norm)
	}
	// A worker takes some tiles at a time, in the end still enough work to be worth the asking.
	tiles := (cols + p.group - 1) / p.group
	tileWork := p.group * k * elemSize(w.Format) * p.in.tokens
	b.pool.run(tiles, max(1, min(someWork/tileWork, tiles/(4*b.pool.threads))), p)
}

// work implements [task].
func (p *product) work(worker, from, to int) {
	s := p.b.scratch[worker]
	t := &s.tile
	*t = p.w
	for i := from; i < to; i++ {
		t.n = i * p.group
		t.count = min(p.group, p.cols-t.n)
		t.next = t.n
		if i+1 < to {
			t.next += p.group
		}
		p.kernels.multiply(p, t, s)
	}
}

// finish puts the sums of a token's outputs from n on to use.
func (p *product) finish(token, n int, sums []float32) {
	y := row(p.out, token, p.cols)[n : n+len(sums)]
	if p.use != add {
		copy(y, sums)
		return
	}
	for i, v := range sums {
		y[i] += v
	}
}

// gate sets gate to SiLU(gate)·up, rounded for the next product.
func (p *product) gate(gate, up []float32) {
	p.b.kernels.gate(gate, gate, up)
	p.b.asInput(gate)
}

// packing is the laying out of a product's input in progress, and its norm just before that. An item is a
// group of tokens.
type packing struct {
	in      *input
	kernels *linearKernels
}

// work implements [task].
func (p *packing) work(worker, from, to int) {
	for group := from; group < to; group++ {
		if p.in.norm != nil {
			first := group * p.kernels.group
			p.in.norm.work(worker, first, min(first+p.kernels.group, p.in.tokens))
		}
		p.kernels.pack(p.in, group)
	}
}

// finishSums puts the sums [tokens, rows] of a tile to use. Where it has a second half of rows, their sums
// are in the second half of rows.
func (p *product) finishSums(sums []float32, rows int, t *tile) {
	for token := range p.in.tokens {
		sums := row(sums, token, rows)
		if p.use == gateUp {
			p.gate(sums[:t.count], sums[rows/2:rows/2+t.count])
		}
		p.finish(token, t.n, sums[:t.count])
	}
}

// addShort adds to the sums [tokens, rows] the products of rows that are shorter than a kernel's step.
func addShort(sums []float32, rows int, t *tile, x *input, s *scratch) {
	halves := 1
	if t.second > 0 {
		halves = 2
	}
	tail := s.tail[:t.k]
	for half := range halves {
		for i := range t.count {
			weight.Widen(tail, t.row(t.n+half*t.second+i), t.dtype)
			for token := range x.tokens {
				sum := &sums[token*rows+half*rows/2+i]
				for j, v := range x.row(token) {
					*sum += float32(tail[j] * v)
				}
			}
		}
	}
}
