//go:build amd64 || arm64

package cpu

import "unsafe"

// assembly are the functions that an instruction set's vectors are made of. cols is a multiple of 32, n of
// the vectors' width; all numbers are at least 1.
type assembly struct {
	width int // of a vector, in float32
	rows  int // of a in a call of many

	// c [rows, cols] += a [rows, 2·pairs] · b [pairs, 2, cols], where b is a part of a [kvMatrix] of bfloat16
	// or float32. many takes that many rows, four takes 4, one takes 1; a result has the same bits from each.
	many, manyF32, four, fourF32, one, oneF32 func(*kvArgs)

	softmax     func(x *float32, rows, cols int, scale float32, top, total *float32) // rows of x are [chunk]
	mergeStates func(top, total, m, l, old *float32, n int)
	mergeRows   func(out, sum, old, add *float32, rows, cols int)
	divideRows  func(x, by *float32, rows, cols int)

	gate       func(y, gate, up []float32)
	exp        func(x *float32, n int) // e^x in place, as gate computes it; for tests
	roundBF16  func(x *float32, n int)
	sumSquares func(x *float32, n int) float64
	scale      func(y, x, weight *float32, n int, scale float32) // y = (x · scale) · weight
	rotate     func(lo, hi, cos, sin *float32, n int)
}

// vectors returns the loops for arbitrary lengths.
func (s *assembly) vectors() *vectors {
	return &vectors{
		attentionRows: 48, addProducts: s.addProducts,
		softmax: func(x []float32, from, to int, scale float32, top, total []float32) {
			s.softmax(&x[from], len(top), to-from, scale, &top[0], &total[0])
		},
		mergeStates: func(top, total, m, l, old []float32) {
			s.mergeStates(&top[0], &total[0], &m[0], &l[0], &old[0], len(top))
		},
		mergeRows: func(out, sum, old, add []float32, cols int) {
			s.mergeRows(&out[0], &sum[0], &old[0], &add[0], len(old), cols)
		},
		divideRows: func(x, by []float32, cols int) { s.divideRows(&x[0], &by[0], len(by), cols) },
		rmsNorm:    s.rmsNorm,
		roundBF16: func(x []float32) {
			n := s.whole(len(x))
			if n > 0 {
				s.roundBF16(&x[0], n)
			}
			goRoundBF16(x[n:])
		},
		rotate: func(x, cos, sin []float32) {
			half := len(cos)
			n := s.whole(half)
			if n > 0 {
				s.rotate(&x[0], &x[half], &cos[0], &sin[0], n)
			}
			goRotate(x, cos, sin, n)
		},
		gate: s.gate,
	}
}

// whole returns how many of n elements are in whole vectors.
func (s *assembly) whole(n int) int { return n - n%s.width }

// addProducts is vectors.addProducts.
func (s *assembly) addProducts(p *kvProduct) {
	many, four, one := s.many, s.four, s.one
	if p.b.f32 != nil {
		many, four, one = s.manyF32, s.fourF32, s.oneF32
	}
	a := &p.args
	a.b, a.bStride = p.b.at(p.first, p.from), p.b.pairStride()
	a.cStride, a.aStride = p.cStride*4, p.aStride*4
	a.pairs, a.cols, a.ahead = (p.last-p.first)/2, p.to-p.from, p.ahead
	for r := 0; r < p.rows; {
		a.c, a.a = &p.c[r*p.cStride+p.from], &p.a[r*p.aStride]
		switch {
		case p.rows-r >= s.rows:
			many(a)
			r += s.rows
		case p.rows-r >= 4:
			four(a)
			r += 4
		default:
			one(a)
			r++
		}
		a.ahead = 0
	}
}

// at is the address of row i, which is even, from column j on. In either type, column j of the first row of a
// pair is 4·j bytes after the pair's beginning.
func (m kvMatrix) at(i, j int) *byte {
	if m.f32 != nil {
		return (*byte)(unsafe.Pointer(&m.f32[i*m.cols+j]))
	}
	return (*byte)(unsafe.Pointer(&m.bf16[i*m.cols+2*j]))
}

// pairStride is the bytes from a pair of rows to the next pair.
func (m kvMatrix) pairStride() int {
	if m.f32 != nil {
		return 8 * m.cols
	}
	return 4 * m.cols
}

// rmsNorm is vectors.rmsNorm.
func (s *assembly) rmsNorm(y, x, weight []float32, eps float32) {
	n := s.whole(len(x))
	var sum float64
	if n > 0 {
		sum = s.sumSquares(&x[0], n)
	}
	for _, v := range x[n:] {
		sum += float64(v) * float64(v)
	}
	scale := rmsScale(sum, len(x), eps)
	if n > 0 {
		s.scale(&y[0], &x[0], &weight[0], n, scale)
	}
	for i := n; i < len(x); i++ {
		y[i] = float32(x[i]*scale) * weight[i]
	}
}
