#include "attention.cuh"

namespace {

constexpr int DECODE_WARPS = ATTENTION_DECODE_THREADS / 32;
constexpr int DECODE_KEYS = KV_CHUNK / DECODE_WARPS; // one warp computes the scores of this many keys
// In bfloat16. 16 bytes more than a power of two avoid bank conflicts.
constexpr int WEIGHTS_STRIDE = KV_CHUNK + 8;

// Dynamic shared memory. No shared memory is static: the dynamic part is aligned to 1024 bytes, so any
// static part would cost 1 KB, and four blocks would no longer fit on a multiprocessor of 228 KB.
template <int D> struct AttentionDecodeShared {
	// Keys in the first tile, values in the last. If there is only one, the values replace the keys.
	bf16_bits tiles[ATTENTION_DECODE_TILES(D)][KV_CHUNK * D];
	bf16_bits queries[MMA_ROWS * D];
	bf16_bits weights[MMA_ROWS * WEIGHTS_STRIDE];
	float top[DECODE_WARPS][MMA_ROWS]; // greatest score of each row over one warp's keys
	int last;                          // whether this block is the last one for its sequence and kv head
};

// One kv head of one sequence in a step. All blocks that work on it see the same.
struct DecodeHead {
	Rows rows;
	const int32_t *block_table;
	int end;                 // the sequence's length, with the step's tokens
	int oldest, first_chunk; // the first position that any query sees, and its chunk
	int chunks;              // the number of chunks from first_chunk on
};

__device__ inline DecodeHead decode_head(const AttentionArgs &args, int seq, int kv_head)
{
	const Span span = args.spans[seq];
	DecodeHead h;
	h.rows.token = span.start;
	h.rows.position = span.position;
	h.rows.kv_head = kv_head;
	h.rows.group = args.heads / args.kv_heads;
	h.rows.count = span.len * h.rows.group;
	h.block_table = args.block_table + span.table;
	h.end = span.position + span.len;
	h.oldest = oldest_visible(span.position, args.window);
	h.first_chunk = h.oldest / KV_CHUNK;
	h.chunks = (h.end - 1) / KV_CHUNK - h.first_chunk + 1;
	return h;
}

// A chunk's result for a row: weighted sum of values [D], maximum, sum of weights.
template <int D>
__device__ inline float *partial(const AttentionArgs &args, const DecodeHead &h, int row, int chunk)
{
	const int64_t head = (int64_t)token_of(h.rows, row) * args.heads + head_of(h.rows, row);
	return args.partial + (head * args.max_chunks + chunk - h.first_chunk) * (D + 2);
}

// Loads a chunk's keys, its values or both into shared memory; one that is null is not loaded. Rows of
// earlier steps come from the cache, keys and values in a group of copies each. Rows of this step come
// from qkv and are also written to the cache.
template <int D>
__device__ inline void load_chunk(const AttentionArgs &args, const DecodeHead &h, int chunk, bf16_bits *keys,
                                  bf16_bits *values)
{
	const int base = chunk * KV_CHUNK;
	bf16_bits *cached_keys = (bf16_bits *)args.kv +
	                         keys_of_chunk(h.block_table, chunk, args.block_stride, h.rows.kv_head, D);
	bf16_bits *cached_values = cached_keys + values_after(args.kv_heads, D);
	const int first_new = min(max(h.rows.position - base, 0), (int)KV_CHUNK);
	const int end = min(h.end - base, (int)KV_CHUNK);

	if (keys) {
		load_tile<D, ATTENTION_DECODE_THREADS>(keys, cached_keys, D, h.oldest - base, first_new, end);
		cp_async_commit();
	}
	if (values) {
		load_tile<D, ATTENTION_DECODE_THREADS>(values, cached_values, D, h.oldest - base, first_new, end);
		cp_async_commit();
	}

	for (int i = threadIdx.x; i < (end - first_new) * D; i += ATTENTION_DECODE_THREADS) {
		const int row = first_new + i / D, j = i % D;
		const int64_t token = h.rows.token + base + row - h.rows.position;
		const float *key =
			args.qkv + (token * (args.heads + 2 * args.kv_heads) + args.heads + h.rows.kv_head) * D;
		const float *cos = args.cos + token * args.rope_half, *sin = args.sin + token * args.rope_half;
		if (keys)
			tile_at<D>(keys, row, j / 8)[j % 8] = cached_keys[row * D + j] =
				float_to_bf16(rotated(key, j, args.rope_half, cos, sin));
		if (values)
			tile_at<D>(values, row, j / 8)[j % 8] = cached_values[row * D + j] =
				float_to_bf16(key[args.kv_heads * D + j]);
	}
}

// Joins the chunks in ascending order. The last block of a sequence and kv head calls it.
template <int D> __device__ inline void join_chunks(const AttentionArgs &args, const DecodeHead &h)
{
	for (int i = threadIdx.x; i < h.rows.count * D; i += ATTENTION_DECODE_THREADS) {
		const int row = i / D, j = i % D, position = position_of(h.rows, row);
		const int from = oldest_visible(position, args.window) / KV_CHUNK, to = position / KV_CHUNK;
		float top = -INFINITY, total = 0, sum = 0;
#pragma unroll 4
		for (int chunk = from; chunk <= to; chunk++) {
			const float *p = partial<D>(args, h, row, chunk);
			const Factors factors = join_tops(top, p[D]);
			total = join_sums(total, p[D + 1], factors);
			sum = join_sums(sum, p[j], factors);
		}
		const int64_t head = (int64_t)token_of(h.rows, row) * args.heads + head_of(h.rows, row);
		((bf16_bits *)args.out)[head * D + j] = float_to_bf16(sum * (1 / total));
	}
}

// The function is long because its stages share registers and shared memory. A reader can follow the order of
// the loads, barriers and products only where they stand together.
template <int D> __device__ inline void attention_decode(const AttentionArgs &args)
{
	AttentionDecodeShared<D> &sh = *reinterpret_cast<AttentionDecodeShared<D> *>(dynamic_shared());
	static_assert(sizeof(sh) == ATTENTION_DECODE_SHARED(D), "what the host asks for");
	constexpr bool ONE_TILE = ATTENTION_DECODE_TILES(D) == 1;
	bf16_bits *keys = sh.tiles[0], *values = sh.tiles[ONE_TILE ? 0 : 1];
	bf16_bits *queries = sh.queries, *weights = sh.weights;
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

	const int items = *args.works * args.kv_heads;
	for (int item = blockIdx.x; item < items; item += gridDim.x) {
		const Work work = args.work[item / args.kv_heads];
		const DecodeHead h = decode_head(args, work.seq, item % args.kv_heads);
		const int chunk = work.first;

		if (!ONE_TILE)
			load_chunk<D>(args, h, chunk, keys, values);
		for (int first_row = 0; first_row < h.rows.count; first_row += MMA_ROWS) {
			if (ONE_TILE)
				load_chunk<D>(args, h, chunk, keys, nullptr);
			rotate_queries<D, MMA_ROWS, ATTENTION_DECODE_THREADS>(queries, args, h.rows, first_row);
			cp_async_wait<ONE_TILE ? 0 : 1>();
			__syncthreads(); // keys and queries are there

			// The scores of this warp's keys. s[n] holds those of keys 8n + 2·(lane%4) and the next, for rows
			// lane/4 and lane/4+8.
			float s[DECODE_KEYS / 8][4] = {};
#pragma unroll
			for (int k = 0; k < D / 16; k++) {
				uint32_t q[4];
				load_queries<D>(q, queries, k);
#pragma unroll
				for (int n = 0; n < DECODE_KEYS / 8; n += 2) {
					uint32_t b[4];
					load_keys<D>(b, keys + (warp * DECODE_KEYS + n * 8) * D, k);
					mma_first(s[n], q, b);
					mma_second(s[n + 1], q, b);
				}
			}
#pragma unroll
			for (int half = 0; half < 2; half++) {
				const int row = lane / 4 + half * 8, position = position_of(h.rows, first_row + row);
				const int oldest = oldest_visible(position, args.window);
				float top = -INFINITY;
#pragma unroll
				for (int n = 0; n < DECODE_KEYS / 8; n++)
#pragma unroll
					for (int i = 0; i < 2; i++) {
						const int key = chunk * KV_CHUNK + warp * DECODE_KEYS + n * 8 + lane % 4 * 2 + i;
						float &score = s[n][half * 2 + i];
						score = oldest <= key && key <= position ? score * args.scale : -INFINITY;
						top = fmaxf(top, score);
					}
				top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
				top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
				if (lane % 4 == 0)
					sh.top[warp][row] = top;
			}
			__syncthreads(); // every warp's maxima are there; the keys are no longer read
			if (ONE_TILE)
				load_chunk<D>(args, h, chunk, nullptr, values);

			float top[2];
#pragma unroll
			for (int half = 0; half < 2; half++) {
				const int row = lane / 4 + half * 8;
				top[half] = sh.top[0][row];
#pragma unroll
				for (int w = 1; w < DECODE_WARPS; w++)
					top[half] = fmaxf(top[half], sh.top[w][row]);
#pragma unroll
				for (int n = 0; n < DECODE_KEYS / 8; n++)
					*(uint32_t *)&weights[row * WEIGHTS_STRIDE + warp * DECODE_KEYS + n * 8 + lane % 4 * 2] =
						pack_bf16(chunk_weight(s[n][half * 2], top[half]),
						          chunk_weight(s[n][half * 2 + 1], top[half]));
			}
			cp_async_wait<0>();
			__syncthreads(); // all weights and values are there

			// o is the weighted sum of values, for this warp's quarter of the columns or less. total is
			// the sum of weights, the same in every warp and column.
			constexpr int UNITS = (D / 8 + DECODE_WARPS - 1) / DECODE_WARPS;
			const int units = min(UNITS, D / 8 - warp * UNITS);
			float o[UNITS][4] = {}, total[4] = {};
#pragma unroll
			for (int key = 0; key < KV_CHUNK; key += 32) {
				uint32_t p[2][4];
#pragma unroll
				for (int i = 0; i < 2; i++)
					ldmatrix_x4(p[i], &weights[lane % 16 * WEIGHTS_STRIDE + key + i * 16 + lane / 16 * 8]);
				const uint32_t ones[4] = {TWO_ONES, TWO_ONES, TWO_ONES, TWO_ONES};
				mma_first(total, p[0], ones);
				mma_second(total, p[1], ones);
#pragma unroll
				for (int n = 0; n < UNITS; n++) {
					if (D / 8 % DECODE_WARPS != 0 && n >= units)
						continue;
					uint32_t b[4];
					load_values<D>(b, values + key * D, warp * UNITS + n);
					mma_first(o[n], p[0], b);
					mma_second(o[n], p[1], b);
				}
			}
#pragma unroll
			for (int half = 0; half < 2; half++) {
				const int row = first_row + lane / 4 + half * 8;
				if (row >= h.rows.count)
					continue;
				float *to = partial<D>(args, h, row, chunk);
#pragma unroll
				for (int n = 0; n < UNITS; n++)
					if (D / 8 % DECODE_WARPS == 0 || n < units)
						*(float2 *)&to[(warp * UNITS + n) * 8 + lane % 4 * 2] =
							make_float2(o[n][half * 2], o[n][half * 2 + 1]);
				if (warp == 0 && lane % 4 == 0)
					*(float2 *)&to[D] = make_float2(top[half], total[half * 2]);
			}
			__syncthreads(); // all is written to partial; shared memory may be overwritten
		}

		if (threadIdx.x == 0) {
			int32_t *arrived = &args.arrived[work.seq * args.kv_heads + h.rows.kv_head];
			__threadfence(); // whoever sees this arrival sees what the block wrote before the barrier
			sh.last = atomicAdd(arrived, 1) == h.chunks - 1;
			__threadfence(); // and after the next barrier the last block sees what the others wrote
			if (sh.last)
				*arrived = 0; // for the next step
		}
		__syncthreads();
		if (sh.last)
			join_chunks<D>(args, h);
	}
}

} // namespace

// BLOCKS is how many blocks fit into the shared memory of a multiprocessor of 228 KB.
#define ATTENTION_DECODE(D, BLOCKS) \
	extern "C" __global__ void __launch_bounds__(ATTENTION_DECODE_THREADS, BLOCKS) \
		attention_decode_##D(KERNEL_ARGS(AttentionArgs) args) \
	{ \
		attention_decode<D>(args); \
	}

ATTENTION_DECODE(64, 5)
ATTENTION_DECODE(80, 4)
ATTENTION_DECODE(96, 4)
ATTENTION_DECODE(128, 3)
ATTENTION_DECODE(256, 2)
