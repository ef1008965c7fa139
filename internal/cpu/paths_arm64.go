package cpu

// nativeKernels are the ones in assembly.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }
