package cpu

// neonKernels need no more than what every 64-bit Arm processor has.
var neonKernels = &kernels{
	name: "neon", linear: always(avx2Linear), maxTokens: 256, vectors: neonVectors, read: neonRead, compute: neonCompute,
}

// nativeKernels are the ones in assembly.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }
