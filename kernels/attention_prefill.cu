#include "attention.cuh"

namespace {

// A warp takes 16 of the block's rows and processes every chunk that any of the rows sees. A chunk's
// keys, and then its values, are loaded in parts of PART columns, and the next part is loaded while the
// tensor cores work on this one. Most heads have one part of keys and one of values. For the widest heads
// the registers hold only COLS columns of the result, so two blocks share the columns, and both compute
// all scores.
//
// The function is long because its stages share registers and shared memory. A reader can follow the order of
// the loads, barriers and products only where they stand together.
template <int D> __device__ inline void attention_prefill(const AttentionArgs &args)
{
	constexpr int COLS = D / ATTENTION_PREFILL_SPLITS(D), PART = ATTENTION_PREFILL_PART(D);
	constexpr int KEY_PARTS = D / PART, VALUE_PARTS = COLS / PART;
	static_assert((KEY_PARTS + VALUE_PARTS) % 2 == 0, "a chunk's first part goes to the first tile");
	bf16_bits *queries = (bf16_bits *)dynamic_shared();      // [ATTENTION_PREFILL_ROWS, D]
	bf16_bits *tiles = queries + ATTENTION_PREFILL_ROWS * D; // [2][KV_CHUNK, PART]: parts use them in turn
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	launch_dependents();

	const Work work = args.work[blockIdx.x];
	const Span span = args.spans[work.seq];
	const int group = args.heads / args.kv_heads;
	const int tokens = min(ATTENTION_PREFILL_ROWS / group, span.len - work.first);
	const int kv_head = blockIdx.y / ATTENTION_PREFILL_SPLITS(D);
	const int first_col = blockIdx.y % ATTENTION_PREFILL_SPLITS(D) * COLS;
	const Rows rows = {span.start + work.first, span.position + work.first, kv_head, group, tokens * group};
	const int end = rows.position + tokens; // no query sees a key from here on
	const int oldest = oldest_visible(rows.position, args.window);
	const int first_chunk = oldest / KV_CHUNK, last_chunk = (end - 1) / KV_CHUNK;

	// Starts copying a part of a chunk. The keys' KEY_PARTS come first, then the values' VALUE_PARTS.
	auto load = [&](int chunk, int part) {
		const int64_t after = part < KEY_PARTS
			? part * PART
			: values_after(args.kv_heads, D) + first_col + (part - KEY_PARTS) * PART;
		const int64_t from =
			keys_of_chunk(args.block_table + span.table, chunk, args.block_stride, kv_head, D) + after;
		const int base = chunk * KV_CHUNK;
		load_tile<PART, ATTENTION_PREFILL_THREADS>(
			tiles + part % 2 * KV_CHUNK * PART, (const bf16_bits *)args.kv + from, D, oldest - base,
			end - base, end - base);
		cp_async_commit();
	};
	wait_for_predecessor(); // the cache has this step's keys and values
	load(first_chunk, 0);
	rotate_queries<D, ATTENTION_PREFILL_ROWS, ATTENTION_PREFILL_THREADS>(queries, args, rows, 0);

	const int warp_row = warp * MMA_ROWS;
	// The positions of the warp's first and last query, and of this lane's rows, lane/4 and lane/4+8 of
	// the warp's.
	const int first = position_of(rows, warp_row), last = position_of(rows, warp_row + MMA_ROWS - 1);
	const int position[2] = {position_of(rows, warp_row + lane / 4),
	                         position_of(rows, warp_row + lane / 4 + 8)};

	float top[2] = {-INFINITY, -INFINITY}, total[2] = {}, o[COLS / 8][4] = {};
	for (int chunk = first_chunk; chunk <= last_chunk; chunk++) {
		const int base = chunk * KV_CHUNK; // position of the chunk's first key
		const bool seen = warp_row < rows.count && sees_chunk(first, last, base, args.window);

		// s[n] holds the scores of keys 8n + 2·(lane%4) and the next, for rows lane/4 and lane/4+8.
		float s[KV_CHUNK / 8][4] = {};
		uint32_t p[KV_CHUNK / 16][4]; // A fragments of the weights
		Factors factors[2];
#pragma unroll 1
		for (int part = 0; part < KEY_PARTS; part++) {
			cp_async_wait<0>();
			__syncthreads(); // this part of the keys is there; the part before is free
			load(chunk, part + 1);
			if (!seen)
				continue;
			bf16_bits *keys = tiles + part % 2 * KV_CHUNK * PART;
#pragma unroll
			for (int k = 0; k < PART / 16; k++) {
				uint32_t q[4];
				load_queries<D>(q, queries + warp_row * D + part * PART, k);
#pragma unroll
				for (int n = 0; n < KV_CHUNK / 8; n += 2) {
					uint32_t b[4];
					load_keys<PART>(b, keys + n * 8 * PART, k);
					mma_first(s[n], q, b);
					mma_second(s[n + 1], q, b);
				}
			}
			if (part < KEY_PARTS - 1)
				continue;
			// Whether every row sees every key.
			const bool all = base + KV_CHUNK - 1 <= first && oldest_visible(last, args.window) <= base;
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
						score = all || (from <= n * 8 + i && n * 8 + i <= to) ? score * args.scale
						                                                      : -INFINITY;
						chunk_top = fmaxf(chunk_top, score);
					}
				chunk_top = fmaxf(chunk_top, __shfl_xor_sync(~0u, chunk_top, 1));
				chunk_top = fmaxf(chunk_top, __shfl_xor_sync(~0u, chunk_top, 2));
#pragma unroll
				for (int n = 0; n < KV_CHUNK / 8; n++)
					p[n / 2][n % 2 * 2 + half] =
						pack_bf16(chunk_weight(s[n][half * 2], chunk_top),
						          chunk_weight(s[n][half * 2 + 1], chunk_top));
				const bool row_sees = sees_chunk(position[half], position[half], base, args.window);
				factors[half] = row_sees ? join_tops(top[half], chunk_top) : Factors{1, 0};
			}
		}

#pragma unroll
		for (int part = 0; part < VALUE_PARTS; part++) {
			cp_async_wait<0>();
			__syncthreads(); // this part of the values is there; the part before is free
			if (part < VALUE_PARTS - 1)
				load(chunk, KEY_PARTS + part + 1);
			else if (chunk < last_chunk)
				load(chunk + 1, 0);
			if (part == 0 && seen) {
				float chunk_total[4] = {};
				const uint32_t ones[2] = {TWO_ONES, TWO_ONES};
#pragma unroll
				for (int k = 0; k < KV_CHUNK / 16; k++)
					mma_bf16(chunk_total, p[k], ones);
#pragma unroll
				for (int half = 0; half < 2; half++)
					total[half] = join_sums(total[half], chunk_total[half * 2], factors[half]);
			}
			bf16_bits *values = tiles + (KEY_PARTS + part) % 2 * KV_CHUNK * PART;
			// Four tiles of columns at a time give enough independent sums to keep the tensor cores busy.
			// Each four is a separate branch, because otherwise the compiler computes all columns at once
			// and runs out of registers.
#pragma unroll
			for (int n = 0; n < PART / 8; n += 4) {
				__syncwarp();
				if (!seen)
					continue;
				float sum[4][4] = {};
#pragma unroll
				for (int k = 0; k < KV_CHUNK / 16; k += 2)
#pragma unroll
					for (int i = 0; i < 4 && n + i < PART / 8; i++) {
						uint32_t b[4];
						load_values<PART>(b, values + k * 16 * PART, n + i);
						mma_first(sum[i], p[k], b);
						mma_second(sum[i], p[k + 1], b);
					}
#pragma unroll
				for (int i = 0; i < 4 && n + i < PART / 8; i++)
#pragma unroll
					for (int e = 0; e < 4; e++) {
						float &to = o[part * (PART / 8) + n + i][e];
						to = join_sums(to, sum[i][e], factors[e / 2]);
					}
			}
		}
	}

#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int row = warp_row + lane / 4 + half * 8;
		if (row >= rows.count)
			continue;
		const int64_t head = (int64_t)token_of(rows, row) * args.heads + head_of(rows, row);
		bf16_bits *out = (bf16_bits *)args.out + head * D + first_col + lane % 4 * 2;
		const float inverse = 1 / total[half];
#pragma unroll
		for (int n = 0; n < COLS / 8; n++)
			*(uint32_t *)&out[n * 8] = pack_bf16(o[n][half * 2] * inverse, o[n][half * 2 + 1] * inverse);
	}
}

} // namespace

#define ATTENTION_PREFILL(D) \
	extern "C" __global__ void __launch_bounds__(ATTENTION_PREFILL_THREADS, 1) \
		attention_prefill_##D(KERNEL_ARGS(AttentionArgs) args) \
	{ \
		attention_prefill<D>(args); \
	}

ATTENTION_PREFILL(64)
ATTENTION_PREFILL(80)
ATTENTION_PREFILL(96)
ATTENTION_PREFILL(128)
ATTENTION_PREFILL(256)
