package cpu

// neonKernels need no more than what every 64-bit Arm processor has. Their matrix products have the bits of
// avx2Kernels.
var neonKernels = &kernels{
	name: "neon", linear: always(neonLinear), maxTokens: 256,
	vectors: neonVectors, read: neonRead, compute: neonCompute,
}

var neonLinear = (&laneKernels{
	lanes: 8, step: 8, rows: 2, one: rows8, several: several8,
	sum: sumLanes,
}).linear()

// nativeKernels are the ones in assembly.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }
