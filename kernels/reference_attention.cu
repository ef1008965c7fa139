#include "attention.cuh"

namespace {

__device__ inline float warp_max(float x)
{
	for (int i = 16; i > 0; i /= 2)
		x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
	return x;
}

__device__ inline float warp_sum(float x)
{
	for (int i = 16; i > 0; i /= 2)
		x += __shfl_xor_sync(~0u, x, i);
	return x;
}

} // namespace

// The same attention as in the fast kernels, chunk by chunk, without rounding and without tensor cores.
// Read this kernel first.
extern "C" __global__ void __launch_bounds__(32) reference_attention(KERNEL_ARGS(AttentionArgs) args)
{
	const int token = blockIdx.x, head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
	const int dim = args.head_dim, lane = threadIdx.x;
	const Span span = args.spans[sequence_of(token, args.spans, args.seqs)];
	const int position = span.position + token - span.start;
	float *out = (float *)args.out + ((int64_t)token * args.heads + head) * dim;

	float *q = (float *)dynamic_shared(); // [head_dim]
	float *weights = q + dim;             // [KV_CHUNK]
	for (int j = lane; j < dim; j += 32) {
		q[j] = rotated(args.qkv + ((int64_t)token * (args.heads + 2 * args.kv_heads) + head) * dim, j,
		               args.rope_half, args.cos + (int64_t)token * args.rope_half,
		               args.sin + (int64_t)token * args.rope_half);
		out[j] = 0;
	}
	__syncwarp();

	float top = -INFINITY, total = 0;
	const int oldest = oldest_visible(position, args.window);
	for (int chunk = oldest / KV_CHUNK; chunk <= position / KV_CHUNK; chunk++) {
		const float *keys =
			(const float *)args.kv +
			keys_of_chunk(args.block_table + span.table, chunk, args.block_stride, kv_head, dim);
		const float *values = keys + values_after(args.kv_heads, dim);
		const int from = max(oldest - chunk * KV_CHUNK, 0);
		const int to = min(position + 1 - chunk * KV_CHUNK, (int)KV_CHUNK);

		float chunk_top = -INFINITY, chunk_total = 0;
		for (int k = from + lane; k < to; k += 32) {
			float score = 0;
			for (int j = 0; j < dim; j++)
				score = fmaf(q[j], keys[(int64_t)k * dim + j], score);
			weights[k] = score * args.scale;
			chunk_top = fmaxf(chunk_top, weights[k]);
		}
		chunk_top = warp_max(chunk_top);
		for (int k = from + lane; k < to; k += 32) {
			weights[k] = exp2_approx(weights[k] - chunk_top);
			chunk_total += weights[k];
		}
		chunk_total = warp_sum(chunk_total);
		__syncwarp(); // every lane's weights are there

		const Factors factors = join_tops(top, chunk_top);
		total = join_sums(total, chunk_total, factors);
		for (int j = lane; j < dim; j += 32) {
			float sum = 0;
			for (int k = from; k < to; k++)
				sum = fmaf(weights[k], values[(int64_t)k * dim + j], sum);
			out[j] = join_sums(out[j], sum, factors);
		}
		__syncwarp(); // the weights have been read
	}
	for (int j = lane; j < dim; j += 32)
		out[j] *= 1 / total;
}
