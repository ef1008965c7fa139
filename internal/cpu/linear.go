package cpu

import (
	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// NormLinear implements [model.Backend].
func (b *Backend) NormLinear(y, x model.Matrix, norm, w model.Weight) {
	b.product(values(y), y.Cols, b.normInput(x, norm), w, store)
}

// LinearAdd implements [model.Backend].
func (b *Backend) LinearAdd(x, a model.Matrix, w model.Weight) {
	b.product(values(x), x.Cols, values(a), w, add)
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

// tile is some rows of a weight [*, k] that are multiplied with all tokens before the next ones are looked at: count rows from n on,
// and, where second is not 0, as many from n+second on. The sums of those have their place in the second half of tileRows.
type tile struct {
	bytes            []byte // of the whole weight
	dtype            safetensors.DType
	k                int
	n, count, second int
}

// tileOf is a tile of no rows yet.
func tileOf(w model.Weight) tile {
	return tile{bytes: w.Data.(*weight).bytes, dtype: w.DType, k: w.Shape[1]}
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
	packed    []float32 // [groups of tokens, k/8, 6, 8], see pack; unused for one token
}

func (in *input) row(token int) []float32 { return row(in.x, token, in.k) }

// product is a matrix product in progress. Workers take tiles.
type product struct {
	b     *Backend
	in    input
	w     tile      // of which n and count are not set
	out   []float32 // [tokens, cols]
	cols  int
	use   use
	group int // rows of out that a tile makes
}

// product multiplies x [tokens, k] by w [*, k] and puts the sums to use in out [tokens, cols].
func (b *Backend) product(out []float32, cols int, x []float32, w model.Weight, u use) {
	k := w.Shape[1]
	p := &b.linear
	*p = product{
		b: b, in: input{x: x, tokens: len(x) / k, k: k, packed: b.packed},
		w:   tileOf(w),
		out: out, cols: cols, use: u, group: b.kernels.tileRows,
	}
	if u == gateUp {
		p.group /= 2
		p.w.second = cols
	}
	if p.in.tokens > 1 && b.kernels.packs {
		b.packing.in = &p.in
		b.pool.run(tokenGroups(p.in.tokens), 1, &b.packing)
	}
	tiles := (cols + p.group - 1) / p.group
	b.pool.run(tiles, max(1, min(16, tiles/(4*b.pool.threads))), p)
}

// work implements [task].
func (p *product) work(worker, from, to int) {
	s := p.b.scratch[worker]
	rows := p.b.kernels.tileRows
	sums := s.sums[:p.in.tokens*rows]
	t := &s.tile
	*t = p.w
	for i := from; i < to; i++ {
		t.n = i * p.group
		t.count = min(p.group, p.cols-t.n)
		p.b.kernels.dots(sums, t, &p.in, s)
		for token := range p.in.tokens {
			sums := row(sums, token, rows)
			y := row(p.out, token, p.cols)[t.n : t.n+t.count]
			switch p.use {
			case store:
				copy(y, sums)
			case add:
				for i := range y {
					y[i] += sums[i]
				}
			case gateUp:
				p.b.kernels.gate(y, sums[:t.count], sums[rows/2:rows/2+t.count])
				p.b.asInput(y)
			}
		}
	}
}

// What a kernel in assembly multiplies at once, where there are several tokens.
const (
	tokenGroup = 6
	pairLanes  = 2 * tokenGroup * 8 // running sums of a pair of rows and a group of tokens
	maxGroups  = 32                 // bounds the groups whose running sums are kept while others are computed: 96 KB of a tile of 16 rows
)

// tokenGroups is how many groups so many tokens make.
func tokenGroups(tokens int) int { return (tokens + tokenGroup - 1) / tokenGroup }

// packing lays the rows of a product's input out in the order a kernel for six of them reads: eight values of each, and on to the next
// eight. Rows of several thousand values would lie at the same place in every way of the first cache.
type packing struct{ in *input }

// work implements [task].
func (p *packing) work(_, from, to int) {
	in := p.in
	steps := in.k / 8
	for group := from; group < to; group++ {
		packed := row(in.packed, group, steps*tokenGroup*8)
		for i := range tokenGroup {
			token := group*tokenGroup + i
			if token >= in.tokens {
				for step := range steps {
					clear(row(packed, step*tokenGroup+i, 8)) // no token: finite numbers at least
				}
				continue
			}
			x := in.row(token)
			for step := range steps {
				copy(row(packed, step*tokenGroup+i, 8), row(x, step, 8))
			}
		}
	}
}

// addTail adds the products from k = from on to the sums [tokens, tileRows]: what is left over when kernels take several at a time.
func addTail(sums []float32, rows, from int, t *tile, x *input, s *scratch) {
	if from == t.k {
		return
	}
	halves := 1
	if t.second > 0 {
		halves = 2
	}
	tail := s.tail[:t.k-from]
	for half := range halves {
		for i := range t.count {
			widen(tail, t.row(t.n + half*t.second + i)[from*elemSize(t.dtype):], t.dtype)
			for token := range x.tokens {
				sum := &sums[token*rows+half*rows/2+i]
				for j, v := range x.row(token)[from:] {
					*sum += float32(tail[j] * v)
				}
			}
		}
	}
}
