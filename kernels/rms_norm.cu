#include "rms_norm.cuh"

extern "C" __global__ void __launch_bounds__(RMS_NORM_THREADS) rms_norm(KERNEL_ARGS(RMSNormArgs) args)
{
	struct Shared {
		float shares[NORM_WARPS];
	};
	Shared &sm = shared<Shared>();
	const int cols = args.cols;
	const float *row = args.x + (size_t)blockIdx.x * cols;

	const float share = warp_square_sum(row, cols);
	if (threadIdx.x % 32 == 0)
		sm.shares[threadIdx.x / 32] = share;
	__syncthreads();
	const float scale = norm_scale(sm.shares, cols, args.eps);

	for (int i = threadIdx.x; i < (cols + 3) / 4; i += RMS_NORM_THREADS) {
		const float4 y = normed4(row, args.norm, scale, i, cols);
		const float v[4] = {y.x, y.y, y.z, y.w};
		for (int e = 0; e < 4 && 4 * i + e < cols; e++) {
			const size_t at = (size_t)blockIdx.x * cols + 4 * i + e;
			if (args.type == TYPE_F32)
				static_cast<float *>(args.y)[at] = v[e];
			else
				static_cast<bf16_bits *>(args.y)[at] = float_to_bf16(v[e]);
		}
	}
}
