package cpu

import "phi3/internal/weight"

// The functions of unpack_neon_arm64.s, see unpacker. They multiply in float32 as package weight does, and
// round to bfloat16. If a scale or minimum is NaN or infinite, the weights that are NaN or infinite may be
// another NaN.

//go:noescape
func unpackQ4_0NEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ4_1NEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_0NEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_1NEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ8_0NEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ2_KNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ3_KNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ4_KNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_KNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ6_KNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackIQ4_NLNEON(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackIQ4_XSNEON(dst *uint16, src *byte, n, ahead int)

var neonUnpackers = map[weight.Format]unpacker{
	weight.Q4_0: unpackQ4_0NEON, weight.Q4_1: unpackQ4_1NEON, weight.Q5_0: unpackQ5_0NEON,
	weight.Q5_1: unpackQ5_1NEON, weight.Q8_0: unpackQ8_0NEON, weight.Q2_K: unpackQ2_KNEON,
	weight.Q3_K: unpackQ3_KNEON, weight.Q4_K: unpackQ4_KNEON, weight.Q5_K: unpackQ5_KNEON,
	weight.Q6_K: unpackQ6_KNEON, weight.IQ4_NL: unpackIQ4_NLNEON, weight.IQ4_XS: unpackIQ4_XSNEON,
}

// The values of a format's weights before they are scaled. Q4 is Q4_1 and Q4_K.
var (
	tableQ4   = [16]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	tableQ4_0 = [16]float32{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
	tableIQ4  = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	tableQ3K  = [16]float32{-4, -3, -2, -1, 0, 1, 2, 3}
	tableQ2K  = [16]float32{0, 1, 2, 3}
)

// The assembly reads the tables.
var _ = [...]*[16]float32{&tableQ4, &tableIQ4, &tableQ4_0, &tableQ3K, &tableQ2K}
