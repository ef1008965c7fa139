package cpu

var avx2Kernels = &kernels{
	name: "avx2", linear: always(lanes8.linear()), maxTokens: 256,
	unpackers: avx2Unpackers, vectors: avx2Vectors, read: avx2Read, compute: avx2Compute,
}
