#include "args.h"
#include "gpu.h"

// Row blockIdx.x of y becomes the row of x that args.rows names.
extern "C" __global__ void __launch_bounds__(COPY_ROWS_THREADS) copy_rows(KERNEL_ARGS(CopyRowsArgs) args)
{
	gpu::launch_dependents();
	gpu::wait_for_predecessor();
	const float *from = args.x + (int64_t)args.rows[blockIdx.x] * args.cols;
	float *to = args.y + (int64_t)blockIdx.x * args.cols;
	for (int i = threadIdx.x; i < args.cols; i += COPY_ROWS_THREADS)
		to[i] = from[i];
}
