package cpu

// neonKernels need no more than what every 64-bit Arm processor has.
var neonKernels = &kernels{
	name: "neon", linear: always(lanes8), maxTokens: 256,
	vectors: goVectors, read: neonRead, compute: neonCompute,
}
