package cpu

var avx2Kernels = &kernels{
	name: "avx2", linear: always(lanes8.linear()), maxTokens: 256,
	vectors: avx2Vectors, read: avx2Read, compute: avx2Compute,
}
