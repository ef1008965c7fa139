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

// epilogue says what becomes of the sums of a matrix product.
type epilogue int

const (
	store  epilogue = iota // they replace the output
	add                    // they are added to the output
	gateUp                 // the output is SiLU(g)·u, where g and u are the two halves of the sums
)

// linearKernels are the innermost loops of a matrix product with weights of bfloat16, float16 or float32.
// Quantized weights are unpacked to bfloat16 first, see unpack.go.
type linearKernels struct {
	// panelRows returns the number of rows of a panel, an even number, for a product with cols output
	// columns.
	panelRows func(tokens, cols, threads int) int
	// unpackedRows, if set, returns the most rows of a panel of quantized rows of k weights.
	unpackedRows func(k int) int
	// multiply computes a panel's products and their epilogue.
	multiply func(p *product, t *panel, s *scratch)
	// scratch returns what multiply needs of a worker's memory, for inputs up to the given size.
	scratch func(widest, maxTokens int) scratchSize

	// If pack is set, the loops read the tokens' values in another order than they have in memory: pack lays
	// out an item in in.packed, whose size is packedBytes. packItems returns the number of items, and that of
	// an item's tokens. The last items may have fewer tokens or none.
	pack        func(in *input, item int)
	packItems   func(tokens int) (items, size int)
	packedBytes func(tokens, k int) int
}

// always returns the same loops for all weights.
func always(l *linearKernels) func(weight.Format, bool) *linearKernels {
	return func(weight.Format, bool) *linearKernels { return l }
}

// panel is some rows of a weight [*, k] that are multiplied with all tokens before the next rows: rows n …
// n+count-1 and, if second is not 0, rows n+second … n+second+count-1.
type panel struct {
	*parameter       // of the whole weight
	k                int
	rowBytes         int // of a row of k weights as stored
	n, count, second int
	next             int // where the worker's next panel begins; n if there is none yet
}

// panelOf returns a panel without rows.
func panelOf(w model.Weight) panel {
	k := w.Shape[1]
	return panel{parameter: w.Data.(*parameter), k: k, rowBytes: w.Format.RowBytes(k)}
}

// row returns row i of the weight as it is stored.
func (t *panel) row(i int) []byte { return t.bytes[i*t.rowBytes : (i+1)*t.rowBytes] }

// halfPanel is the rows n … n+count-1 of a panel, and where their products go. Only loops with lanes use it.
type halfPanel struct {
	*panel
	n      int
	sums   []float32 // [tokens, cols], of which count of each token are set
	cols   int
	in     *input
	whole  int    // how many of k are in whole steps
	rows   []byte // for several tokens: the rows, unpacked if they are quantized
	stride int    // from one of these rows to the next
}

// input is the tokens' factor of a product.
type input struct {
	x         []float32 // [tokens, k]
	tokens, k int
	packed    []byte   // see linearKernels.pack; its address is a multiple of 64
	norm      *norming // if not nil, the norm that x must be computed by first
}

func (in *input) row(token int) []float32 { return row(in.x, token, in.k) }

// product is a matrix product in progress. Workers take panels.
type product struct {
	b         *Backend
	kernels   *linearKernels
	in        input
	w         panel     // without n and count
	out       []float32 // [tokens, cols]
	cols      int
	epilogue  epilogue
	panelCols int // columns of out that a panel computes
}

// someWork, in bytes of weights times tokens, takes ten microseconds or more. A worker takes at least this
// much at a time where there are enough panels: less would not be worth the synchronization.
const someWork = 256 << 10

// product multiplies in.x [tokens, k] by w [*, k]; the epilogue writes out [tokens, cols].
func (b *Backend) product(out []float32, cols int, in input, w model.Weight, e epilogue) {
	k := w.Shape[1]
	in.tokens, in.k, in.packed = len(in.x)/k, k, b.packed
	p := &b.linear
	*p = product{b: b, in: in, w: panelOf(w), out: out, cols: cols, epilogue: e}
	p.kernels = b.kernels.linear(p.w.operand, b.float32)
	p.panelCols = p.kernels.panelRows(p.in.tokens, cols, b.pool.threads)
	if p.w.unpack != nil && p.kernels.unpackedRows != nil {
		p.panelCols = min(p.panelCols, p.kernels.unpackedRows(k))
	}
	if e == gateUp {
		p.panelCols /= 2
		p.w.second = cols
	}
	if p.kernels.pack != nil {
		b.packing = packing{&p.in, p.kernels}
		items, _ := p.kernels.packItems(p.in.tokens)
		b.pool.run(items, 1, &b.packing)
	} else if in.norm != nil {
		b.pool.run(p.in.tokens, 4, in.norm)
	}
	panels := (cols + p.panelCols - 1) / p.panelCols
	work := p.panelCols * p.w.rowBytes * p.in.tokens // of a panel
	b.pool.run(panels, max(1, min(someWork/work, panels/(4*b.pool.threads))), p)
}

// work implements [task].
func (p *product) work(worker, from, to int) {
	s := p.b.scratch[worker]
	t := &s.panel
	*t = p.w
	for i := from; i < to; i++ {
		t.n = i * p.panelCols
		t.count = min(p.panelCols, p.cols-t.n)
		t.next = t.n
		if i+1 < to {
			t.next += p.panelCols
		}
		p.kernels.multiply(p, t, s)
	}
}

// finish writes, or adds, the sums of a token to its outputs from n on.
func (p *product) finish(token, n int, sums []float32) {
	y := row(p.out, token, p.cols)[n : n+len(sums)]
	if p.epilogue != add {
		copy(y, sums)
		return
	}
	for i, v := range sums {
		y[i] += v
	}
}

// gate sets gate to SiLU(gate)·up, rounded as the input of the next product.
func (p *product) gate(gate, up []float32) {
	p.b.kernels.gate(gate, gate, up)
	p.b.asInput(gate)
}

// packing lays out the input of a product, and computes its norm just before.
type packing struct {
	in      *input
	kernels *linearKernels
}

// work implements [task].
func (p *packing) work(worker, from, to int) {
	_, size := p.kernels.packItems(p.in.tokens)
	for item := from; item < to; item++ {
		if p.in.norm != nil {
			p.in.norm.work(worker, item*size, min(item*size+size, p.in.tokens))
		}
		p.kernels.pack(p.in, item)
	}
}

// finishSums is the epilogue of a panel's sums [tokens, cols]. If the panel has a second half of rows, their
// sums are in the second half of cols.
func (p *product) finishSums(sums []float32, cols int, t *panel) {
	for token := range p.in.tokens {
		sums := row(sums, token, cols)
		if p.epilogue == gateUp {
			p.gate(sums[:t.count], sums[cols/2:cols/2+t.count])
		}
		p.finish(token, t.n, sums[:t.count])
	}
}

// addShort adds to the sums [tokens, cols] the products of weight rows that are shorter than a kernel's step.
func addShort(sums []float32, cols int, t *panel, x *input, s *scratch) {
	halves := 1
	if t.second > 0 {
		halves = 2
	}
	tail := s.tail[:t.k]
	for half := range halves {
		for i := range t.count {
			weight.Widen(tail, t.row(t.n+half*t.second+i), t.format)
			for token := range x.tokens {
				sum := &sums[token*cols+half*cols/2+i]
				for j, v := range x.row(token) {
					*sum += float32(tail[j] * v)
				}
			}
		}
	}
}
