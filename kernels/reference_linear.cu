// The matrix products to read first, and to measure the rounding of the fast kernels against. Inputs,
// weights and sums are float32. A thread computes one output, from k = 0 upwards, without tensor cores.
#include "linear.cuh"
#include "widen.cuh"

namespace {

// The dot product of a weight row and token blockIdx.y.
__device__ inline float reference_dot(const ReferenceLinearArgs &args, int row)
{
	const float *x = args.x + (size_t)blockIdx.y * args.k;
	float sum = 0;
	if (args.type >= TYPE_QUANTIZED) {
		for (int c = 0; c < args.k; c += UNPACKED) {
			float values[UNPACKED];
			unpack8(values, args.w, row, c, args.k, args.type);
			for (int e = 0; e < UNPACKED; e++)
				sum = fmaf(x[c + e], values[e], sum);
		}
		return sum;
	}
	for (int c = 0; c < args.k; c++)
		sum = fmaf(x[c], widen(args.w, (int64_t)row * args.k + c, args.type), sum);
	return sum;
}

} // namespace

extern "C" __global__ void __launch_bounds__(REFERENCE_THREADS)
	reference_linear(KERNEL_ARGS(ReferenceLinearArgs) args)
{
	const int row = blockIdx.x * REFERENCE_THREADS + threadIdx.x;
	if (row >= args.rows)
		return;
	const float sum = reference_dot(args, row);
	float *y = args.y + (size_t)blockIdx.y * args.rows + row;
	*y = args.add ? *y + sum : sum;
}

extern "C" __global__ void __launch_bounds__(REFERENCE_THREADS)
	reference_gate_up(KERNEL_ARGS(ReferenceLinearArgs) args)
{
	const int row = blockIdx.x * REFERENCE_THREADS + threadIdx.x;
	if (row >= args.rows)
		return;
	const float gate = reference_dot(args, row), up = reference_dot(args, args.rows + row);
	args.y[(size_t)blockIdx.y * args.rows + row] = silu(gate) * up;
}
