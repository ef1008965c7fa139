//go:build amd64 || arm64

package cpu

import "phi3/internal/weight"

// The functions of avx2_amd64.s and neon_arm64.s. Both compute the same bits. Their names are dot, then rows
// x tokens, the running sums of a result, and the type of the weights. See laneKernels for what they do.

//go:noescape
func dot8x1Lanes8BF16(args *dotArgs)

//go:noescape
func dot8x1Lanes8F16(args *dotArgs)

//go:noescape
func dot8x1Lanes8F32(args *dotArgs)

//go:noescape
func dot2x6Lanes8BF16(args *dotArgs)

//go:noescape
func dot2x6Lanes8F16(args *dotArgs)

//go:noescape
func dot2x6Lanes8F32(args *dotArgs)

//go:noescape
func dot2x4Lanes8BF16(args *dotArgs)

//go:noescape
func dot2x4Lanes8F16(args *dotArgs)

//go:noescape
func dot2x4Lanes8F32(args *dotArgs)

//go:noescape
func sumLanes8(sums, lanes *float32, n int)

// lanes8 are the loops with 8 running sums.
var lanes8 = &laneKernels{
	lanes: 8, step: 8, rows: 2, sum: sumLanes8,
	one: func(w weight.Format) func(*dotArgs) {
		switch w {
		case weight.BF16:
			return dot8x1Lanes8BF16
		case weight.F16:
			return dot8x1Lanes8F16
		case weight.F32:
			return dot8x1Lanes8F32
		}
		return nil
	},
	several: func(w weight.Format) (six, four func(*dotArgs)) {
		switch w {
		case weight.BF16:
			return dot2x6Lanes8BF16, dot2x4Lanes8BF16
		case weight.F16:
			return dot2x6Lanes8F16, dot2x4Lanes8F16
		default:
			return dot2x6Lanes8F32, dot2x4Lanes8F32
		}
	},
}
