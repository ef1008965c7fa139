#include "attention.cuh"

namespace {

// A warp has 16 of the block's rows and goes through all the chunks that any of the rows sees. While the tensor cores are busy with a
// chunk's keys, its values are on their way; while they are busy with the values, the next chunk's keys.
template <int D> __device__ inline void attention_prefill(const AttentionArgs &args)
{
	bf16_bits *queries = (bf16_bits *)dynamic_shared();     // [ATTENTION_PREFILL_ROWS, D]
	bf16_bits *keys = queries + ATTENTION_PREFILL_ROWS * D; // [KV_CHUNK, D]
	bf16_bits *values = keys + KV_CHUNK * D;                // [KV_CHUNK, D]
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

	const Work work = args.work[blockIdx.x];
	const Span span = args.spans[work.seq];
	const int group = args.heads / args.kv_heads, tokens = min(ATTENTION_PREFILL_ROWS / group, span.len - work.first);
	const Rows rows = {span.start + work.first, span.position + work.first, (int)blockIdx.y, group, tokens * group};
	const int end = rows.position + tokens; // no query sees a key from here on
	const int oldest = oldest_visible(rows.position, args.window);
	const int first_chunk = oldest / KV_CHUNK, last_chunk = (end - 1) / KV_CHUNK;

	// Starts copying a chunk's keys, or the values which lie `after` elements behind.
	auto load = [&](bf16_bits *tile, int chunk, int64_t after) {
		const int64_t from = keys_of_chunk(args.block_table + span.table, chunk, args.block_stride, rows.kv_head, D) + after;
		const int base = chunk * KV_CHUNK;
		load_tile<D, ATTENTION_PREFILL_THREADS>(tile, (const bf16_bits *)args.kv + from, oldest - base, end - base, end - base);
		cp_async_commit();
	};
	load(keys, first_chunk, 0);
	rotate_queries<D, ATTENTION_PREFILL_ROWS, ATTENTION_PREFILL_THREADS>(queries, args, rows, 0);

	const int warp_row = warp * MMA_ROWS;
	// Positions of the warp's first and last query, and of this lane's rows, which are lane/4 and lane/4+8 of the warp's.
	const int first = position_of(rows, warp_row), last = position_of(rows, warp_row + MMA_ROWS - 1);
	const int position[2] = {position_of(rows, warp_row + lane / 4), position_of(rows, warp_row + lane / 4 + 8)};

	float top[2] = {-INFINITY, -INFINITY}, total[2] = {}, o[D / 8][4] = {};
	for (int chunk = first_chunk; chunk <= last_chunk; chunk++) {
		const int base = chunk * KV_CHUNK; // position of the chunk's first key
		const bool seen = warp_row < rows.count && sees_chunk(first, last, base, args.window);

		cp_async_wait<0>();
		__syncthreads(); // this chunk's keys are there, and the queries; nobody needs the last chunk's values
		load(values, chunk, values_after(args.kv_heads, D));
		uint32_t p[KV_CHUNK / 16][4]; // A fragments of the weights
		Factors factors[2];
		if (seen) {
			// s[n] holds, of keys 8n … 8n+7, keys 2·(lane%4) and the next, for rows lane/4 and lane/4+8.
			float s[KV_CHUNK / 8][4] = {};
#pragma unroll
			for (int k = 0; k < D / 16; k++) {
				uint32_t q[4];
				load_queries<D>(q, queries + warp_row * D, k);
#pragma unroll
				for (int n = 0; n < KV_CHUNK / 8; n += 2) {
					uint32_t b[4];
					load_keys<D>(b, keys + n * 8 * D, k);
					mma_first(s[n], q, b);
					mma_second(s[n + 1], q, b);
				}
			}
			const bool all = base + KV_CHUNK - 1 <= first && oldest_visible(last, args.window) <= base; // no key is hidden from any row
#pragma unroll
			for (int half = 0; half < 2; half++) {
				const int from = oldest_visible(position[half], args.window) - base - lane % 4 * 2;
				const int to = position[half] - base - lane % 4 * 2;
				float chunk_top = -INFINITY;
#pragma unroll
				for (int n = 0; n < KV_CHUNK / 8; n++)
#pragma unroll
					for (int i = 0; i < 2; i++) {
						float &score = s[n][half * 2 + i];
						score = all || (from <= n * 8 + i && n * 8 + i <= to) ? score * args.scale : -INFINITY;
						chunk_top = fmaxf(chunk_top, score);
					}
				chunk_top = fmaxf(chunk_top, __shfl_xor_sync(~0u, chunk_top, 1));
				chunk_top = fmaxf(chunk_top, __shfl_xor_sync(~0u, chunk_top, 2));
#pragma unroll
				for (int n = 0; n < KV_CHUNK / 8; n++)
					p[n / 2][n % 2 * 2 + half] =
						pack_bf16(chunk_weight(s[n][half * 2], chunk_top), chunk_weight(s[n][half * 2 + 1], chunk_top));
				const bool row_sees = sees_chunk(position[half], position[half], base, args.window);
				factors[half] = row_sees ? join_tops(top[half], chunk_top) : Factors{1, 0};
			}
		}

		cp_async_wait<0>();
		__syncthreads(); // this chunk's values are there; nobody needs its keys
		if (chunk < last_chunk)
			load(keys, chunk + 1, 0);
		if (seen) {
			float chunk_total[4] = {};
			const uint32_t ones[2] = {TWO_ONES, TWO_ONES};
#pragma unroll
			for (int k = 0; k < KV_CHUNK / 16; k++)
				mma_bf16(chunk_total, p[k], ones);
#pragma unroll
			for (int half = 0; half < 2; half++)
				total[half] = join_sums(total[half], chunk_total[half * 2], factors[half]);
		}
		// Four tiles of columns at a time: enough independent sums to keep the tensor cores busy. They are branches of their own because
		// the compiler, left to itself, works on all columns at once and runs out of registers.
#pragma unroll
		for (int n = 0; n < D / 8; n += 4) {
			__syncwarp();
			if (!seen)
				continue;
			float sum[4][4] = {};
#pragma unroll
			for (int k = 0; k < KV_CHUNK / 16; k += 2)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					uint32_t b[4];
					load_values<D>(b, values + k * 16 * D, n + i);
					mma_first(sum[i], p[k], b);
					mma_second(sum[i], p[k + 1], b);
				}
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int e = 0; e < 4; e++)
					o[n + i][e] = join_sums(o[n + i][e], sum[i][e], factors[e / 2]);
		}
	}

#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int row = warp_row + lane / 4 + half * 8;
		if (row >= rows.count)
			continue;
		const int64_t head = (int64_t)token_of(rows, row) * args.heads + head_of(rows, row);
		bf16_bits *out = (bf16_bits *)args.out + head * D + lane % 4 * 2;
		const float inverse = 1 / total[half];
#pragma unroll
		for (int n = 0; n < D / 8; n++)
			*(uint32_t *)&out[n * 8] = pack_bf16(o[n][half * 2] * inverse, o[n][half * 2 + 1] * inverse);
	}
}

} // namespace

extern "C" __global__ void __launch_bounds__(ATTENTION_PREFILL_THREADS, 1) attention_prefill_96(KERNEL_ARGS(AttentionArgs) args)
{
	attention_prefill<96>(args);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_PREFILL_THREADS, 1) attention_prefill_128(KERNEL_ARGS(AttentionArgs) args)
{
	attention_prefill<128>(args);
}
