//go:build amd64 || arm64

package cpu

import "unsafe"

// assembly are the functions that an instruction set's vectors are made of. Strides are in bytes. cols is a
// multiple of 32, n of the vectors' width, and neither they nor rows or pairs are 0.
type assembly struct {
	width int // of a vector, in float32
	rows  int // of a that many takes

	// c [rows, cols] += a [rows, 2·pairs] · b, of which pairs pairs of rows are read; what lies ahead bytes
	// from there is fetched into the cache. For many rows, four and one; the sums have the same bits.
	many, manyF32, four, fourF32 func(c *float32, cStride int, a *float32, aStride int, b *byte, bStride,
		pairs, cols, ahead int)
	one, oneF32 func(c, a *float32, b *byte, bStride, pairs, cols, ahead int)

	softmax     func(x *float32, stride, rows, cols int, scale float32, top, total *float32)
	mergeStates func(top, total, m, l, old *float32, n int)
	mergeRows   func(out, sum, old, add *float32, rows, cols int)
	divideRows  func(x, by *float32, rows, cols int)

	gate       func(y, gate, up []float32)
	exp        func(x *float32, n int) // in place; gate's, for tests
	roundBF16  func(x *float32, n int)
	sumSquares func(x *float32, n int) float64
	scale      func(y, x, weight *float32, n int, scale float32) // y = (x · scale) · weight
	rotate     func(lo, hi, cos, sin *float32, n int)
}

// vectors are the same for the lengths that there are.
func (s *assembly) vectors() *vectors {
	return &vectors{
		attentionRows: 48, addProducts: s.addProducts,
		softmax: func(x []float32, rows, from, to int, scale float32, top, total []float32) {
			s.softmax(&x[from], chunk*4, rows, to-from, scale, &top[0], &total[0])
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

// whole is how many of n elements make whole vectors.
func (s *assembly) whole(n int) int { return n - n%s.width }

// addProducts is vectors.addProducts.
func (s *assembly) addProducts(
	c []float32, cStride int, a []float32, aStride, rows int, b kvMatrix, first, last, from, to, ahead int,
) {
	many, four, one := s.many, s.four, s.one
	if b.f32 != nil {
		many, four, one = s.manyF32, s.fourF32, s.oneF32
	}
	pair, bStride := b.pair(first)
	columns := (*byte)(unsafe.Add(unsafe.Pointer(pair), from*4))
	pairs, cols := (last-first)/2, to-from
	for r := 0; r < rows; {
		c, a := &c[r*cStride+from], &a[r*aStride]
		switch {
		case rows-r >= s.rows:
			many(c, cStride*4, a, aStride*4, columns, bStride, pairs, cols, ahead)
			r += s.rows
		case rows-r >= 4:
			four(c, cStride*4, a, aStride*4, columns, bStride, pairs, cols, ahead)
			r += 4
		default:
			one(c, a, columns, bStride, pairs, cols, ahead)
			r++
		}
		ahead = 0
	}
}

// pair is where row i and the next one, or the one before, lie in memory, and how many bytes are between two
// such pairs. In either type, column j of a pair's first row is 4·j bytes from there.
func (m kvMatrix) pair(i int) (start *byte, stride int) {
	if m.f32 != nil {
		return (*byte)(unsafe.Pointer(&m.f32[i&^1*m.cols])), 8 * m.cols
	}
	return (*byte)(unsafe.Pointer(&m.bf16[i&^1*m.cols])), 4 * m.cols
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
