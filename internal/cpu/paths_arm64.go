package cpu

// neonKernels need no more than what every 64-bit Arm processor has. Their matrix products have the bits of avx2Kernels; attention and what
// else lies between is in Go.
var neonKernels = &kernels{
	name: "neon", linear: always(neonLinear), maxTokens: 256,
	vectors: goVectors, read: neonRead, compute: neonCompute,
}

var neonLinear = (&laneKernels{lanes: 8, step: 8, rows: 2, one: rows8, several: several8, sum: sumLanes}).linear()

// nativeKernels are the ones in assembly.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }

// narrowBF16 serves laneKernels.narrow, which NEON's are not.
func narrowBF16(_ *byte, _ *float32, _ int) { panic("cpu: no narrow kernels on arm64") }
