#include "args.h"
#include "gpu.h"
#include "quants.cuh"
#include "widen.cuh"

// Copies one token's row of the embedding table, widened to float32. Quantized rows are unpacked first.
extern "C" __global__ void __launch_bounds__(EMBED_THREADS) embed(KERNEL_ARGS(EmbedArgs) args)
{
	gpu::launch_dependents();
	gpu::wait_for_predecessor();
	const int row = max(args.ids[blockIdx.x], 0); // argmax may have chosen a negative one
	const int64_t from = (int64_t)row * args.cols, to = (int64_t)blockIdx.x * args.cols;
	if (args.type >= TYPE_QUANTIZED) {
		for (int i = threadIdx.x * UNPACKED; i < args.cols; i += EMBED_THREADS * UNPACKED) {
			float values[UNPACKED];
			unpack8(values, args.table, row, i, args.cols, args.type);
			for (int e = 0; e < UNPACKED; e++)
				args.x[to + i + e] = values[e];
		}
		return;
	}
	for (int i = threadIdx.x; i < args.cols; i += EMBED_THREADS)
		args.x[to + i] = widen(args.table, from + i, args.type);
}
