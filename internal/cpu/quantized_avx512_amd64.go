package cpu

import (
	"maps"

	"golang.org/x/sys/cpu"

	"phi3/internal/weight"
)

// The functions of quantized_avx512_amd64.s, see laneKernels.one.

//go:noescape
func dot8x1PairsQ4_0(args *dotArgs)

//go:noescape
func dot8x1PairsIQ4_NL(args *dotArgs)

//go:noescape
func dot8x1PairsQ4_K(args *dotArgs)

//go:noescape
func dot8x1PairsQ5_K(args *dotArgs)

//go:noescape
func dot8x1PairsQ6_K(args *dotArgs)

// dot8x1PairsQ6_KVBMI needs AVX512-VBMI too.
//
//go:noescape
func dot8x1PairsQ6_KVBMI(args *dotArgs)

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
	case weight.Q5_K:
		return dot8x1PairsQ5_K
	case weight.Q6_K:
		if cpu.X86.HasAVX512VBMI {
			return dot8x1PairsQ6_KVBMI
		}
		return dot8x1PairsQ6_K
	case weight.IQ4_NL:
		return dot8x1PairsIQ4_NL
	case weight.Q8_0:
		return dot8x1PairsQ8_0
	default:
		return nil
	}
}

// The unpackers of quantized_avx512_amd64.s need AVX512-BF16 too.

//go:noescape
func unpackQ4_0AVX512(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ8_0AVX512(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ4_KAVX512(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ5_KAVX512(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackQ6_KAVX512(dst *uint16, src *byte, n, ahead int)

//go:noescape
func unpackIQ4_NLAVX512(dst *uint16, src *byte, n, ahead int)

// pairsUnpackers are those unpackers, and the ones with AVX2 for the other formats.
var pairsUnpackers = func() map[weight.Format]unpacker {
	all := maps.Clone(avx2Unpackers)
	maps.Copy(all, map[weight.Format]unpacker{
		weight.Q4_0:   unpackQ4_0AVX512,
		weight.Q8_0:   unpackQ8_0AVX512,
		weight.Q4_K:   unpackQ4_KAVX512,
		weight.Q5_K:   unpackQ5_KAVX512,
		weight.Q6_K:   unpackQ6_KAVX512,
		weight.IQ4_NL: unpackIQ4_NLAVX512,
	})
	return all
}()
