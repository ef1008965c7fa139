package cpu

import "phi3/internal/weight"

// The functions of avx512_amd64.s. The names are as in lanes8.go; Pairs stands for 16 running sums of pairs
// of products (VDPBF16PS), where the tokens' values are bfloat16 as well.

//go:noescape
func dot8x1Lanes16BF16(args *dotArgs)

//go:noescape
func dot8x1Lanes16F16(args *dotArgs)

//go:noescape
func dot8x1Lanes16F32(args *dotArgs)

//go:noescape
func dot4x6Lanes16BF16(args *dotArgs)

//go:noescape
func dot4x6Lanes16F16(args *dotArgs)

//go:noescape
func dot4x6Lanes16F32(args *dotArgs)

//go:noescape
func dot4x4Lanes16BF16(args *dotArgs)

//go:noescape
func dot4x4Lanes16F16(args *dotArgs)

//go:noescape
func dot4x4Lanes16F32(args *dotArgs)

//go:noescape
func dot8x1PairsBF16(args *dotArgs)

//go:noescape
func dot4x6PairsBF16(args *dotArgs)

//go:noescape
func dot4x4PairsBF16(args *dotArgs)

//go:noescape
func sumLanes16(sums, lanes *float32, n int)

//go:noescape
func sumBand4Lanes16(sums *float32, stride int, lanes *float32, laneStride, n int)

// multiplyAddAVX512 does n · 12 fused multiply-adds of 16 values. n is at least 1.
func multiplyAddAVX512(n int)

// multiplyAddPairs executes n · 12 VDPBF16PS. n is at least 1.
func multiplyAddPairs(n int)

var avx512Kernels = &kernels{
	name: "avx512", linear: always(avx512Linear), maxTokens: 256,
	unpackers: avx2Unpackers, vectors: avx512Vectors, read: avx2Read,
	compute: func() float64 {
		const n = 10_000
		multiplyAddAVX512(n)
		return n * 12 * 16 * 2
	},
}

var avx512bf16Kernels = &kernels{
	name: "avx512bf16", maxTokens: 256,
	linear: func(w weight.Format, float32 bool) *linearKernels {
		if float32 || w != weight.BF16 {
			return avx512Linear
		}
		return pairsLinear
	},
	unpackers: pairsUnpackers, vectors: avx512Vectors, read: avx2Read,
	compute: func() float64 {
		const n = 10_000
		multiplyAddPairs(n)
		return n * 12 * 32 * 2
	},
}

var avx512Linear = (&laneKernels{
	lanes: 16, step: 16, rows: 4, sum: sumLanes16, sumBand: sumBand4Lanes16,
	one: func(w weight.Format) func(*dotArgs) {
		switch w {
		case weight.BF16:
			return dot8x1Lanes16BF16
		case weight.F16:
			return dot8x1Lanes16F16
		case weight.F32:
			return dot8x1Lanes16F32
		}
		return nil
	},
	several: func(w weight.Format) (six, four func(*dotArgs)) {
		switch w {
		case weight.BF16:
			return dot4x6Lanes16BF16, dot4x4Lanes16BF16
		case weight.F16:
			return dot4x6Lanes16F16, dot4x4Lanes16F16
		default:
			return dot4x6Lanes16F32, dot4x4Lanes16F32
		}
	},
}).linear()

var pairsLinear = (&laneKernels{
	lanes: 16, step: 32, rows: 4, narrow: narrowBF16, sum: sumLanes16, sumBand: sumBand4Lanes16,
	one:     onePairs,
	several: func(weight.Format) (six, four func(*dotArgs)) { return dot4x6PairsBF16, dot4x4PairsBF16 },
}).linear()
