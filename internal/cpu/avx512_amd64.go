package cpu

import "phi3/internal/weight"

// The functions of avx512_amd64.s are laneKernels, see there for one, several and sum. Those named pairs read
// bfloat16 by bfloat16.

//go:noescape
func zRows8BF16(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func zRows8F16(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func zRows8F32(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func z4x6BF16(lanes *float32, w *byte, stride, next, blocks, ahead int, x *float32, n, back int)

//go:noescape
func z4x6F16(lanes *float32, w *byte, stride, next, blocks, ahead int, x *float32, n, back int)

//go:noescape
func z4x6F32(lanes *float32, w *byte, stride, next, blocks, ahead int, x *float32, n, back int)

//go:noescape
func pairsRows8(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func pairs4x6(lanes *float32, w *byte, stride, next, blocks, ahead int, x *float32, n, back int)

//go:noescape
func sumLanes16(sums, lanes *float32, n int)

// zMultiplyAdd does n · 12 fused multiply-adds of 16 values. n is not 0.
func zMultiplyAdd(n int)

// pairsMultiplyAdd does n · 12 VDPBF16PS. n is not 0.
func pairsMultiplyAdd(n int)

var avx512Kernels = &kernels{
	name: "avx512", linear: always(avx512Linear), maxTokens: 256,
	vectors: avx512Vectors, read: avx2Read,
	compute: func() float64 {
		const n = 10_000
		zMultiplyAdd(n)
		return n * 12 * 16 * 2
	},
}

var avx512bf16Kernels = &kernels{
	name: "avx512bf16", maxTokens: 256,
	linear: func(w weight.Format, float32 bool) *linearKernels {
		if float32 || w != weight.BF16 {
			return avx512Linear
		}
		return avx512bf16Linear
	},
	vectors: avx512Vectors, read: avx2Read,
	compute: func() float64 {
		const n = 10_000
		pairsMultiplyAdd(n)
		return n * 12 * 32 * 2
	},
}

var avx512Linear = (&laneKernels{
	lanes: 16, step: 16, rows: 4, one: avx512One, several: avx512Several,
	sum: sumLanes16,
}).linear()

// avx512One is laneKernels.one.
func avx512One(w weight.Format) func(sums *float32, w *byte, stride, ahead int, x *float32, n, back int) {
	switch w {
	case weight.BF16:
		return zRows8BF16
	case weight.F16:
		return zRows8F16
	default:
		return zRows8F32
	}
}

// avx512Several is laneKernels.several.
func avx512Several(
	w weight.Format,
) func(lanes *float32, w *byte, stride, next, blocks, ahead int, x *float32, n, back int) {
	switch w {
	case weight.BF16:
		return z4x6BF16
	case weight.F16:
		return z4x6F16
	default:
		return z4x6F32
	}
}

var avx512bf16Linear = (&laneKernels{
	lanes: 16, step: 32, rows: 4, narrow: narrowBF16, sum: sumLanes16,
	one: func(weight.Format) func(sums *float32, w *byte, stride, ahead int, x *float32, n, back int) {
		return pairsRows8
	},
	several: func(weight.Format) func(lanes *float32, w *byte, stride, next, blocks, ahead int,
		x *float32, n, back int) {
		return pairs4x6
	},
}).linear()
