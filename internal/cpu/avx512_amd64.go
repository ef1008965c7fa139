package cpu

var avx512Kernels = &kernels{
	name: "avx512", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}
