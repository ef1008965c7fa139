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

// valueTable is the values of a format's weights before they are scaled, in up to four registers, whose lanes
// of 128 bits are the same.
type valueTable [4][8]float32

var (
	// Q4_1 and Q4_K
	tableQ4  = values16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	tableIQ4 = values16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

	tableQ4_0 = valueTable{twice(1, 3, 5, 7), twice(2, 4, 6, 8)} // without signs
	tableQ3K  = valueTable{twice(-4, -2, 0, 2), twice(-3, -1, 1, 3)}
	tableQ2K  = valueTable{twice(0, 1, 2, 3)}
)

// The assembly reads the tables.
var _ = [...]*valueTable{&tableQ4, &tableIQ4, &tableQ4_0, &tableQ3K, &tableQ2K}

// values16 is the table of 16 values, in the order that TABLES needs.
func values16(v ...float32) valueTable {
	return valueTable{
		twice(v[0], v[4], v[8], v[12]), twice(v[2], v[6], v[10], v[14]),
		twice(v[1], v[5], v[9], v[13]), twice(v[3], v[7], v[11], v[15]),
	}
}

// twice is a register with four values in both lanes.
func twice(a, b, c, d float32) [8]float32 { return [8]float32{a, b, c, d, a, b, c, d} }
