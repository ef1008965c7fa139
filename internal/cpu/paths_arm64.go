package cpu

// neonKernels run on every 64-bit Arm processor. Their matrix products have the same bits as avx2Kernels.
var neonKernels = &kernels{
	name: "neon", linear: always(lanes8.linear()), maxTokens: 256,
	unpackers: neonUnpackers, vectors: neonVectors, read: neonRead, compute: neonCompute,
}

// nativeKernels returns the paths in assembly that this processor can run.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }
