package cpu

var avx512bf16Kernels = &kernels{
	name: "avx512bf16", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}
