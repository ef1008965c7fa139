//go:build cuda && linux && cgo

package cuda

const (
	testPrefetch = "^TestPrefetch$"
	testOverlap  = "^TestOverlappedLaunches$"
	early        = "has not waited for the end of the other launch"
	neverWaits   = "ends without wait_for_predecessor"
)

// decodeMutants are mistakes in how the decode kernels overlap with each other.
var decodeMutants = []mutant{
	{
		"prefetch beyond the end", "linear.cuh",
		"bytes = min(share, all - first);", "bytes = share;", testPrefetch, "prefetch out of bounds",
	},
	{
		"prefetch: the last lines left out", "linear.cuh",
		"(all + CACHE_LINE * warps - 1) / (CACHE_LINE * warps)", "all / (CACHE_LINE * warps)", testPrefetch,
		wrongResult,
	},
	{
		"prefetch: every warp prefetches the first share", "linear.cuh",
		"first = min(warp * share, all)", "first = min(share, all)", testPrefetch, wrongResult,
	},
	{
		"decode: missing wait", "linear_decode.cu",
		"wait_for_predecessor();", "", testOverlap, early + "|" + neverWaits,
	},
	{
		"decode: input read before the wait", "linear_decode.cu",
		"wait_for_predecessor(); // from here on the memory of other kernels may be read and written\n" +
			"\tif constexpr (NORM)\n\t\tnorm_tokens(args, sm, normed);",
		"if constexpr (NORM)\n\t\tnorm_tokens(args, sm, normed);\n\twait_for_predecessor();",
		testOverlap, early,
	},
	{
		"embed: ids read before the wait", "embed.cu",
		"gpu::wait_for_predecessor();\n\tconst int row = max(args.ids[blockIdx.x], 0);",
		"const int row = max(args.ids[blockIdx.x], 0); gpu::wait_for_predecessor();", testOverlap, early,
	},
}
