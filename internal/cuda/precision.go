//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"math"
)

// A float32 matrix becomes float16 or bfloat16 on the device. float16 has 11 significant bits and
// bfloat16 has 8, but the range of float16 is narrow: it ends at 65504, and below 2⁻¹⁷ its steps of 2⁻²⁴
// are coarser than bfloat16's.

const (
	largestF16 = 0x477fe000 // 65504, as bits of float32, whose order is that of the absolute values
	normalF16  = 0x38800000 // 2⁻¹⁴, the least number with 11 significant bits in float16

	// leastColumn is the fewest elements of a column that is compared. Of one or two random numbers, one
	// may be tiny by chance.
	leastColumn = 16
)

// squares are sums of squared rounding errors.
type squares struct{ f16, bf16 float64 }

func (s *squares) add(other squares) {
	s.f16 += other.f16
	s.bf16 += other.bf16
}

// suitsF16 reports whether every number of a float32 matrix [rows, cols] is in float16's range, and every
// row and column is at least as exact in float16 as in bfloat16, by the sum of squared errors. An output
// is the product of one row with an input, so a row of small numbers counts as much as a row of large
// ones. A column of small numbers may meet large inputs. NaN and infinity count as out of range; bfloat16
// has them too.
func suitsF16(data []byte, rows, cols int) bool {
	const pieces = 16 // fixed, because the sums of columns must not depend on the number of cores
	columns := make([][]squares, pieces)
	suits := make([]bool, pieces)
	each := ceilDiv(rows, pieces)
	inParallel(pieces, func(p int) {
		from, to := min(p*each, rows), min((p+1)*each, rows)
		columns[p] = make([]squares, cols)
		suits[p] = rowsSuitF16(data[4*from*cols:4*to*cols], columns[p])
	})
	for _, ok := range suits {
		if !ok {
			return false
		}
	}
	for c := range cols {
		var sum squares
		for p := range columns {
			sum.add(columns[p][c])
		}
		if rows >= leastColumn && sum.f16 > sum.bf16 {
			return false
		}
	}
	return true
}

// rowsSuitF16 is suitsF16 for some rows. It adds each column's errors to columns.
func rowsSuitF16(data []byte, columns []squares) bool {
	for ; len(data) > 0; data = data[4*len(columns):] {
		var row squares
		for c := range columns {
			bits := binary.LittleEndian.Uint32(data[4*c:])
			if bits&0x7fffffff > largestF16 {
				return false
			}
			e := errorsOf(bits)
			row.add(e)
			columns[c].add(e)
		}
		if row.f16 > row.bf16 {
			return false
		}
	}
	return true
}

// errorsOf is the squared errors of rounding a number in float16's range to nearest.
func errorsOf(bits uint32) squares {
	x := math.Float32frombits(bits)
	half := math.Float32frombits(rounded(bits, 13))
	if bits&0x7fffffff < normalF16 {
		const steps = 0.75 // here float32 has steps of 2⁻²⁴, like float16 below 2⁻¹⁴
		half = float32(x+steps) - steps
	}
	a, b := float64(x-half), float64(x-math.Float32frombits(rounded(bits, 16)))
	return squares{a * a, b * b}
}

// rounded removes off bits of the significand, rounding to nearest, ties to even.
func rounded(bits uint32, off int) uint32 {
	return (bits + 1<<(off-1) - 1 + bits>>off&1) &^ (1<<off - 1)
}
