//go:build cuda && linux && cgo

package cuda

const testPrefetch = "^TestPrefetch$"

// decodeMutants are mistakes in how the decode kernels overlap with each other.
var decodeMutants = []mutant{
	{
		"prefetch beyond the end", "linear.cuh",
		"bytes = min(share, all - first);", "bytes = share;", testPrefetch, "prefetch out of bounds",
	},
	{
		"prefetch: the last lines left out", "linear.cuh",
		"(all + CACHE_LINE * warps - 1) / (CACHE_LINE * warps)", "all / (CACHE_LINE * warps)", testPrefetch, wrongResult,
	},
	{
		"prefetch: every warp prefetches the first share", "linear.cuh",
		"first = min(warp * share, all)", "first = min(share, all)", testPrefetch, wrongResult,
	},
}
