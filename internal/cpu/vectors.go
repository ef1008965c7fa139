package cpu

import (
	"math"

	"phi3/internal/weight"
)

// vectors are one path's loops of attention and of everything else between matrix products with weights.
// Lengths are arbitrary unless a comment says more. The order of operations for an element of a result is
// fixed: the number of rows in a call does not change its bits.
type vectors struct {
	// attentionRows is how many query heads share one reading of their keys and values at most. The query
	// heads of one token that share a KV head are read together even if there are more.
	attentionRows int
	tiles         *tileLoops // AMX, for attention with a KV cache of bfloat16; nil: addProducts
	// addProducts sets c += a·b.
	addProducts func(p *kvProduct)
	// softmax replaces the columns from … to-1, multiples of 32, of each row of x [len(top), chunk] by
	// 2^(x·scale - top), where top is the row's largest x·scale, and sets total to the sum of these powers.
	// The other columns count as -Inf. scale is positive.
	softmax func(x []float32, from, to int, scale float32, top, total []float32)
	// mergeStates merges the states (m, l) of a chunk into the states (top, total) of the chunks before it:
	// the largest score, and the sum of the powers relative to it. It sets old and m to the factors by which
	// the two weighted sums of values must be multiplied before they are added. All lengths are the same, a
	// multiple of 16.
	mergeStates func(top, total, m, l, old []float32)
	// mergeRows sets every row of out to out·old + sum·add, where old and add have one element for each row.
	// cols is a multiple of 32.
	mergeRows func(out, sum, old, add []float32, cols int)
	// divideRows divides every row of x by one element of by. cols is a multiple of 32.
	divideRows func(x, by []float32, cols int)

	rmsNorm   func(y, x, weight []float32, eps float32) // of one row, see goRMSNorm
	roundBF16 func(x []float32)                         // every element to the nearest bfloat16
	rotate    func(x, cos, sin []float32)               // of one head, see goRotate
	gate      func(y, gate, up []float32)               // y = SiLU(gate)·up
}

// tileLoops are attention's products by AMX.
type tileLoops struct {
	// split makes two bfloat16 of each value of x, whose length is a multiple of 32: high is x rounded, low
	// is the difference, rounded.
	split func(high, low []uint16, x []float32)
	// products sets c = (high + low)·b, where first and last are multiples of 32.
	products func(p *kvProduct)
	// setColumns and setRows are setColumn and setRow of [kvMatrix] for 16 columns or rows from a multiple of
	// 16 on, of n elements each, a multiple of 32. x has one every stride elements.
	setColumns func(m kvMatrix, j int, x []float32, stride, n int)
	setRows    func(m kvMatrix, i int, x []float32, stride, n int) (finite bool)
}

// kvProduct is a product of attention: some rows of a by rows first … last-1 (both even) and columns from …
// to-1 (multiples of 32) of b. Row i of c is c[i·cStride:]; row i of a is a[i·aStride:], and its elements
// belong to rows first … last-1 of b.
type kvProduct struct {
	c           []float32
	cStride     int // in elements, as aStride
	a           []float32
	high, low   []uint16 // a as the sum of two bfloat16, for tiles
	aStride     int
	rows        int
	b           kvMatrix
	first, last int
	from, to    int
	ahead       int    // how many bytes after b the matrix lies that is read next, which is prefetched
	args        kvArgs // of the loops in assembly
}

// goVectors are the loops in Go.
var goVectors = &vectors{
	attentionRows: 48,
	addProducts:   goAddProducts, softmax: goSoftmax, mergeStates: goMergeStates, mergeRows: goMergeRows,
	divideRows: goDivideRows, rmsNorm: goRMSNorm, roundBF16: goRoundBF16,
	rotate: func(x, cos, sin []float32) { goRotate(x, cos, sin, 0) }, gate: goGate,
}

// kvMatrix is the keys or the values of a chunk in the KV cache, in one of the two slices. A bfloat16 matrix
// [rows, cols] is stored in pairs of rows: element (i, j) is at (i/2·cols + j)·2 + i%2. So one load and two
// cheap operations make float32 vectors of both rows, and the tiles of AMX read the same order. A float32
// matrix is stored row after row.
type kvMatrix struct {
	bf16 []uint16
	f32  []float32
	cols int
}

// setColumn sets the first elements of column j to x, which has been rounded if the matrix is bfloat16.
func (m kvMatrix) setColumn(j int, x []float32) {
	if m.f32 != nil {
		for i, v := range x {
			m.f32[i*m.cols+j] = v
		}
		return
	}
	for i := 0; i+1 < len(x); i += 2 {
		pair := m.bf16[i*m.cols+2*j:][:2]
		pair[0], pair[1] = upperHalf(x[i]), upperHalf(x[i+1])
	}
	if i := len(x) - 1; i%2 == 0 {
		m.bf16[i*m.cols+2*j] = upperHalf(x[i])
	}
}

// setRow sets the first elements of row i to x, which has been rounded if the matrix is bfloat16. It returns
// whether all of x is finite.
func (m kvMatrix) setRow(i int, x []float32) (finite bool) {
	var exponents uint32 // bit 31 is set by an exponent of all ones: NaN or infinite
	if m.f32 != nil {
		for j, v := range x {
			m.f32[i*m.cols+j] = v
			exponents |= math.Float32bits(v)&0x7f800000 + 0x00800000
		}
	} else {
		pair := m.bf16[i/2*m.cols*2+i%2:]
		pair = pair[:max(0, 2*len(x)-1)]
		for j, v := range x {
			pair[2*j] = upperHalf(v)
			exponents |= math.Float32bits(v)&0x7f800000 + 0x00800000
		}
	}
	return exponents>>31 == 0
}

// upperHalf converts a value that has been rounded to bfloat16.
func upperHalf(x float32) uint16 { return uint16(math.Float32bits(x) >> 16) }

// goAddProducts is vectors.addProducts.
func goAddProducts(p *kvProduct) {
	b := p.b
	for r := range p.rows {
		c, a := p.c[r*p.cStride:][p.from:p.to], p.a[r*p.aStride:]
		for i := p.first; i < p.last; i += 2 {
			even, odd := a[i-p.first], a[i-p.first+1]
			if b.f32 != nil {
				b0, b1 := b.f32[i*b.cols:][p.from:p.to], b.f32[(i+1)*b.cols:][p.from:p.to]
				b0, b1 = b0[:len(c)], b1[:len(c)]
				for j := range c {
					c[j] = c[j] + float32(even*b0[j]) + float32(odd*b1[j])
				}
				continue
			}
			pair := b.bf16[i*b.cols:][2*p.from : 2*p.to]
			for j := range c {
				p := pair[2*j : 2*j+2 : 2*j+2]
				c[j] = c[j] + float32(even*weight.FromBF16(p[0])) + float32(odd*weight.FromBF16(p[1]))
			}
		}
	}
}

// goSoftmax is vectors.softmax.
func goSoftmax(x []float32, from, to int, scale float32, top, total []float32) {
	for r := range top {
		x := row(x, r, chunk)[from:to]
		m := x[0]
		for _, v := range x {
			m = max(m, v)
		}
		m *= scale
		var l float32
		for i, v := range x {
			x[i] = exp2(float32(v*scale) - m)
			l += x[i]
		}
		top[r], total[r] = m, l
	}
}

// goMergeStates is vectors.mergeStates.
func goMergeStates(top, total, m, l, old []float32) {
	for i := range top {
		newTop := max(top[i], m[i])
		old[i], m[i] = exp2(top[i]-newTop), exp2(m[i]-newTop)
		top[i], total[i] = newTop, float32(total[i]*old[i])+float32(l[i]*m[i])
	}
}

// goMergeRows is vectors.mergeRows.
func goMergeRows(out, sum, old, add []float32, cols int) {
	for r := range old {
		out, sum := row(out, r, cols), row(sum, r, cols)
		for d, v := range sum {
			out[d] = float32(out[d]*old[r]) + float32(v*add[r])
		}
	}
}

// goDivideRows is vectors.divideRows.
func goDivideRows(x, by []float32, cols int) {
	for r, b := range by {
		x := row(x, r, cols)
		for d := range x {
			x[d] /= b
		}
	}
}

// goRMSNorm sets y = x / sqrt(mean(x²) + eps) · weight (spec 3, step 2a). The mean is computed in float64, so
// that the factor of a whole row is exact to float32; this costs next to nothing.
func goRMSNorm(y, x, weight []float32, eps float32) {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	scale := rmsScale(sum, len(x), eps)
	for i, v := range x {
		y[i] = float32(v*scale) * weight[i]
	}
}

// rmsScale returns the factor of RMSNorm for n values whose squares have the given sum.
func rmsScale(sum float64, n int, eps float32) float32 {
	return float32(1 / math.Sqrt(sum/float64(n)+float64(eps)))
}

// goRoundBF16 rounds every element of x to bfloat16 in place.
func goRoundBF16(x []float32) {
	for i, v := range x {
		x[i] = weight.FromBF16(weight.ToBF16(v))
	}
}

// goRotate rotates the pairs (x[j], x[j+half]) of a head by the given angles, from j = first on (spec 3.2,
// "rotate_half"). The dimensions after the pairs stay.
func goRotate(x, cos, sin []float32, first int) {
	half := len(cos)
	for j := first; j < half; j++ {
		lo, hi, c, s := x[j], x[j+half], cos[j], sin[j]
		x[j] = float32(lo*c) - float32(hi*s)
		x[j+half] = float32(hi*c) + float32(lo*s)
	}
}

// silu returns x·sigmoid(x).
func silu(x float32) float32 { return x / (1 + exp(-x)) }

// goGate is vectors.gate.
func goGate(y, gate, up []float32) {
	for i := range y {
		y[i] = float32(silu(gate[i]) * up[i])
	}
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }

func exp2(x float32) float32 { return float32(math.Exp2(float64(x))) }
