#include "attention.cuh"

namespace {

template <class T> __device__ inline T stored(float x);
template <> __device__ inline float stored<float>(float x) { return x; }
template <> __device__ inline bf16_bits stored<bf16_bits>(float x) { return float_to_bf16(x); }

template <class T> __device__ inline void append(const KVAppendArgs &args)
{
	const int token = blockIdx.x, dim = args.head_dim;
	const Span span = args.spans[sequence_of(token, args.spans, args.seqs)];
	const int position = span.position + token - span.start;
	const float *keys = args.qkv + ((int64_t)token * (args.heads + 2 * args.kv_heads) + args.heads) * dim;
	const float *values = keys + args.kv_heads * dim;
	const float *cos = args.cos + (int64_t)token * args.rope_half;
	const float *sin = args.sin + (int64_t)token * args.rope_half;

	for (int i = threadIdx.x; i < args.kv_heads * dim; i += KV_APPEND_THREADS) {
		const int head = i / dim, j = i % dim;
		T *key = (T *)args.kv +
		         keys_of_chunk(args.block_table + span.table, position / KV_CHUNK, args.block_stride, head,
		                       dim) +
		         position % KV_CHUNK * dim + j;
		key[0] = stored<T>(rotated(keys + head * dim, j, args.rope_half, cos, sin));
		key[values_after(args.kv_heads, dim)] = stored<T>(values[i]);
	}
}

} // namespace

extern "C" __global__ void __launch_bounds__(KV_APPEND_THREADS) kv_append(KERNEL_ARGS(KVAppendArgs) args)
{
	launch_dependents();
	wait_for_predecessor();
	if (args.type == TYPE_F32)
		append<float>(args);
	else
		append<bf16_bits>(args);
}
