package cpu

import "golang.org/x/sys/cpu"

// nativeKernels are the ones in assembly that this processor and operating system can run, the best first.
func nativeKernels() []*kernels {
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		return []*kernels{avx2Kernels}
	}
	return nil
}

var avx2Kernels = &kernels{
	name: "avx2", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}
