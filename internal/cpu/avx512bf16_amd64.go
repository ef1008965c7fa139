package cpu

var avx512bf16Kernels = &kernels{
	name: "avx512bf16", linear: always(avx512bf16Linear), maxTokens: 256,
	attend: avx2Attend, fetch: avx2Fetch, gate: avx2Gate, read: avx2Read, compute: avx2Compute,
}

var avx512bf16Linear = avx2Linear
