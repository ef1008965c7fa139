package cpu

var avx512bf16Kernels = &kernels{
	name: "avx512bf16", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	vectors: avx512Vectors, read: avx2Read, compute: avx2Compute,
}
