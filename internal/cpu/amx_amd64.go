package cpu

var amxKernels = &kernels{
	name: "amx", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	vectors: avx512Vectors, read: avx2Read, compute: avx2Compute,
}
