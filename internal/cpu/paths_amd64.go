package cpu

import "golang.org/x/sys/cpu"

// nativeKernels are the ones in assembly that this processor and operating system can run, the best first.
func nativeKernels() []*kernels {
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		return []*kernels{avx2Kernels}
	}
	return nil
}
