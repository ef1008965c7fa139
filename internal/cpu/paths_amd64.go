package cpu

import "golang.org/x/sys/cpu"

// nativeKernels are the ones in assembly that this processor and operating system can run, the best first. (That the system saves the
// wide registers is part of what the flags say, but for AMX's, whose use is asked for.)
func nativeKernels() []*kernels {
	var found []*kernels
	x := &cpu.X86
	avx2 := x.HasAVX2 && x.HasFMA && x.HasF16C
	avx512 := avx2 && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL
	bf16 := avx512 && x.HasAVX512BF16
	if bf16 && x.HasAMXTile && x.HasAMXBF16 && tilesAllowed() {
		found = append(found, amxKernels)
	}
	switch {
	case bf16 && x.HasAMXTile: // Sapphire Rapids computes half as much with VDPBF16PS as with multiply-adds of float32
		found = append(found, avx512Kernels, avx512bf16Kernels)
	case bf16:
		found = append(found, avx512bf16Kernels, avx512Kernels)
	case avx512:
		found = append(found, avx512Kernels)
	}
	if avx2 {
		found = append(found, avx2Kernels)
	}
	return found
}
