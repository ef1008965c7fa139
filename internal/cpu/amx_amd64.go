package cpu

var amxKernels = &kernels{
	name: "amx", tileRows: avx2TileRows, packs: true, dots: avx2Dots,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}
