package cpu

import "phi3/internal/weight"

// The functions of unpack_avx2_amd64.s, see unpacker. They multiply in float32 as package weight does, and
// round to bfloat16. If a scale or minimum is NaN or infinite, the weights that are NaN or infinite may be
// another NaN.

//go:noescape
func unpackQ4_0AVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ4_1AVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_0AVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_1AVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ8_0AVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ2_KAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ3_KAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ4_KAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_KAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ6_KAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackIQ4_NLAVX2(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackIQ4_XSAVX2(dst *uint16, src *byte, n, ahead int)

var avx2Unpackers = map[weight.Format]unpacker{
	weight.Q4_0: unpackQ4_0AVX2, weight.Q4_1: unpackQ4_1AVX2, weight.Q5_0: unpackQ5_0AVX2,
	weight.Q5_1: unpackQ5_1AVX2, weight.Q8_0: unpackQ8_0AVX2, weight.Q2_K: unpackQ2_KAVX2,
	weight.Q3_K: unpackQ3_KAVX2, weight.Q4_K: unpackQ4_KAVX2, weight.Q5_K: unpackQ5_KAVX2,
	weight.Q6_K: unpackQ6_KAVX2, weight.IQ4_NL: unpackIQ4_NLAVX2, weight.IQ4_XS: unpackIQ4_XSAVX2,
}

// valueTable is the values of a format's weights before they are scaled, at most 16, and 65537 times these.
// Each of the four registers has four values, once for each lane of 128 bits: the values 0, 2, 4, 6; 1, 3, 5,
// 7; 8, 10, 12, 14; and 9, 11, 13, 15.
type valueTable struct{ values, times65537 [4][8]float32 }

// The tables by format. Q4 is Q4_1 and Q4_K. (Q2_K takes the first register as its four values.)
var (
	tableQ4   = valueTableOf(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	tableQ4_0 = valueTableOf(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7)
	tableIQ4  = valueTableOf(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
	tableQ3_K = valueTableOf(-4, -3, -2, -1, 0, 1, 2, 3)
	tableQ2_K = valueTableOf(0, 0, 1, 0, 2, 0, 3)
)

func valueTableOf(values ...float32) valueTable {
	var t valueTable
	for i, v := range values {
		register, at := i/8*2+i%2, i%8/2
		for lane := range 2 {
			t.values[register][4*lane+at] = v
			t.times65537[register][4*lane+at] = 65537 * v
		}
	}
	return t
}
