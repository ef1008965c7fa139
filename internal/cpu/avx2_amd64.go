package cpu

var avx2Kernels = &kernels{
	name: "avx2", linear: always(avx2Linear), maxTokens: 256,
	vectors: avx2Vectors, read: avx2Read, compute: avx2Compute,
}

var avx2Linear = (&laneKernels{
	lanes: 8, step: 8, rows: 2, one: rows8, several: several8,
	sum: sumLanes,
}).linear()
