package cpu

import "phi3/internal/weight"

// The functions of quantized_avx512_amd64.s, see laneKernels.one.

//go:noescape
func dot8x1PairsQ4_0(args *dotArgs)

//go:noescape
func dot8x1PairsIQ4_NL(args *dotArgs)

//go:noescape
func dot8x1PairsQ4_K(args *dotArgs)

//go:noescape
func dot8x1PairsQ6_K(args *dotArgs)

//go:noescape
func dot8x1PairsQ8_0(args *dotArgs)

// onePairs returns the loop for one token with AVX512-BF16, or nil if weights of the format must be unpacked
// first.
func onePairs(w weight.Format) func(*dotArgs) {
	switch w {
	case weight.BF16:
		return dot8x1PairsBF16
	case weight.Q4_0:
		return dot8x1PairsQ4_0
	case weight.Q4_K:
		return dot8x1PairsQ4_K
	case weight.Q6_K:
		return dot8x1PairsQ6_K
	case weight.IQ4_NL:
		return dot8x1PairsIQ4_NL
	case weight.Q8_0:
		return dot8x1PairsQ8_0
	default:
		return nil
	}
}
