package cpu

// neonKernels need no more than what every 64-bit Arm processor has.
var neonKernels = &kernels{
	name: "neon", tileRows: avx2TileRows, packs: true, dots: avx2Dots, attend: avx2Attend, gate: avx2Gate, read: neonRead, compute: neonCompute,
}

// nativeKernels are the ones in assembly.
func nativeKernels() []*kernels { return []*kernels{neonKernels} }
