#include "rms_norm.cuh"

extern "C" __global__ void __launch_bounds__(RMS_NORM_THREADS) rms_norm(KERNEL_ARGS(RMSNormArgs) args)
{
	struct Shared {
		float shares[NORM_WARPS];
	};
	Shared &sm = shared<Shared>();
	launch_dependents();
	wait_for_predecessor();
	const int cols = args.cols;
	const float *row = args.x + (size_t)blockIdx.x * cols;

	const float share = warp_square_sum(row, cols);
	if (threadIdx.x % 32 == 0)
		sm.shares[threadIdx.x / 32] = share;
	__syncthreads();
	const float scale = norm_scale(sm.shares, cols, args.eps);

	void *out = args.type == TYPE_F32 ? (void *)(static_cast<float *>(args.y) + (size_t)blockIdx.x * cols)
	                                  : static_cast<bf16_bits *>(args.y) + (size_t)blockIdx.x * cols;
	for (int i = threadIdx.x; i < (cols + 3) / 4; i += RMS_NORM_THREADS)
		store4(out, args.type, i, cols, normed4(row, args.norm, scale, i, cols));
}
