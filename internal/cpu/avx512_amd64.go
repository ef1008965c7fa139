package cpu

var avx512Kernels = &kernels{
	name: "avx512", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	vectors: avx512Vectors, read: avx2Read, compute: avx2Compute,
}
