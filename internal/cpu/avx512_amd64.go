package cpu

var avx512Kernels = &kernels{
	name: "avx512", linear: always(avx512Linear), maxTokens: 256,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}

var avx512Linear = avx2Linear
