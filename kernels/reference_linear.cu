// Matrix products for measuring what the fast kernels round away: inputs, weights and sums are float32, on no tensor core.
#include "linear.cuh"
#include "widen.cuh"

namespace {

// The dot product of weight row row and token blockIdx.y, the same in all lanes of the warp.
__device__ inline float reference_dot(const ReferenceLinearArgs &args, int row)
{
	float sum = 0;
	for (int c = threadIdx.x % 32; c < args.k; c += 32)
		sum = fmaf(args.x[(size_t)blockIdx.y * args.k + c], widen(args.w, (int64_t)row * args.k + c, args.type), sum);
#pragma unroll
	for (int distance = 16; distance > 0; distance /= 2)
		sum += __shfl_xor_sync(~0u, sum, distance);
	return sum;
}

} // namespace

extern "C" __global__ void __launch_bounds__(32 * REFERENCE_WARPS) reference_linear(KERNEL_ARGS(ReferenceLinearArgs) args)
{
	const int row = blockIdx.x * REFERENCE_WARPS + threadIdx.x / 32;
	if (row >= args.rows)
		return;
	const float sum = reference_dot(args, row);
	float *y = args.y + (size_t)blockIdx.y * args.rows + row;
	if (threadIdx.x % 32 == 0)
		*y = args.add ? *y + sum : sum;
}

extern "C" __global__ void __launch_bounds__(32 * REFERENCE_WARPS) reference_gate_up(KERNEL_ARGS(ReferenceLinearArgs) args)
{
	const int row = blockIdx.x * REFERENCE_WARPS + threadIdx.x / 32;
	if (row >= args.rows)
		return;
	const float gate = reference_dot(args, row), up = reference_dot(args, args.rows + row);
	if (threadIdx.x % 32 == 0)
		args.y[(size_t)blockIdx.y * args.rows + row] = silu(gate) * up;
}
