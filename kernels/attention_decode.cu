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
	float *partial;          // the sequence's part of args.partial
};

// The head of a work item. The work items of a sequence are consecutive, one for each chunk.
__device__ inline DecodeHead decode_head(const AttentionArgs &args, int number, const Work &work, int kv_head)
{
	const Span span = args.spans[work.seq];
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
	const int first_item = number - (work.first - h.first_chunk);
	h.partial = args.partial + (int64_t)first_item * (DECODE_TOKENS * args.heads * (args.head_dim + 2));
	return h;
}

// The chunks' results for a row, from first_chunk on: weighted sums of values [chunks, D] at sums, greatest
// scores and sums of weights [chunks] at tops. Rows of sums are aligned to 16 bytes.
struct Partial {
	float *sums;
	float2 *tops;
};

template <int D>
__device__ inline Partial partial(const AttentionArgs &args, const DecodeHead &h, int row)
{
	const int64_t first = (int64_t)(row / h.rows.group * args.heads + head_of(h.rows, row)) * h.chunks;
	float2 *tops = (float2 *)(h.partial + (int64_t)h.chunks * (DECODE_TOKENS * args.heads * D));
	return {h.partial + first * D, tops + first};
}

// The result of a row: [D].
template <int D>
__device__ inline bf16_bits *out_of(const AttentionArgs &args, const DecodeHead &h, int row)
{
	const int64_t head = (int64_t)token_of(h.rows, row) * args.heads + head_of(h.rows, row);
	return (bf16_bits *)args.out + head * D;
}

// Loads a chunk's keys, its values or both into shared memory; one that is null is not loaded. Rows of
// earlier steps come from the cache, keys and values in a group of copies each. No kernel of this step writes
// them, so their copies start before the product that makes qkv has ended. Rows of this step come from qkv
// and are also written to the cache.
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

	wait_for_predecessor();
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

// The join of chunks. A warp takes JOIN_COLUMNS columns of a row, one for each lane.
constexpr int JOIN_COLUMNS = 32;
constexpr int JOIN_STAGE = 16; // chunks whose sums a stage of a warp's ring holds
constexpr int JOIN_STAGE_FLOATS = JOIN_STAGE * JOIN_COLUMNS;

// Starts copying columns of a stage's chunks, or of as many as there are, to a warp's ring. Each lane copies
// four columns.
template <int D>
__device__ inline void load_sums(float *stage, const float *sums, int chunks, int column)
{
	const int lane = threadIdx.x % 32, chunk = lane / 8;
	column += lane % 8 * 4;
#pragma unroll
	for (int i = 0; i < JOIN_STAGE; i += 4)
		if (i + chunk < chunks && column < D)
			cp_async_16(stage + i * JOIN_COLUMNS + lane * 4, sums + (i + chunk) * D + column, true);
	cp_async_commit();
}

// Joins a row's chunks in ascending order, for columns first_column … first_column+JOIN_COLUMNS-1.
//
// Only the multiplications and additions of a sum depend on each other. The greatest score up to each chunk
// is a prefix maximum, which is exact in any order. So each lane computes the factors of another chunk. The
// sums come through a ring in shared memory. The ring and the factors are the warp's own.
template <int D>
__device__ inline void join_columns(const AttentionArgs &args, const DecodeHead &h,
                                    AttentionDecodeShared<D> &sh, int row, int first_column)
{
	constexpr int STAGES = sizeof(sh.tiles) / (DECODE_WARPS * JOIN_STAGE_FLOATS * sizeof(float));
	static_assert(sizeof(sh.weights) >= DECODE_WARPS * 32 * sizeof(float4), "the factors' memory");
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = first_column + lane;
	float *ring = (float *)sh.tiles + warp * (STAGES * JOIN_STAGE_FLOATS);
	float4 *factors = (float4 *)sh.weights + warp * 32; // running, chunk, the chunk's sum of weights

	const int position = position_of(h.rows, row);
	const int from = oldest_visible(position, args.window) / KV_CHUNK;
	const int chunks = position / KV_CHUNK - from + 1;
	const Partial p = partial<D>(args, h, row);
	const float *sums = p.sums + (int64_t)(from - h.first_chunk) * D;
	const float2 *tops = p.tops + from - h.first_chunk;

	__syncwarp(); // the ring is free
#pragma unroll
	for (int i = 0; i < STAGES - 1; i++)
		load_sums<D>(ring + i * JOIN_STAGE_FLOATS, sums + i * JOIN_STAGE * D, chunks - i * JOIN_STAGE,
		             first_column);
	int to_load = (STAGES - 1) * JOIN_STAGE, slot = 0; // the first chunk not asked for, the stage to read
	const float2 none = make_float2(-INFINITY, 0);
	float2 next = lane < chunks ? tops[lane] : none;
	float top = -INFINITY, total = 0, sum = 0;
	for (int first = 0; first < chunks; first += 32) {
		const float2 mine = next;
		next = first + 32 + lane < chunks ? tops[first + 32 + lane] : none;
		float upto = fmaxf(top, mine.x); // the greatest score up to the lane's chunk
#pragma unroll
		for (int distance = 1; distance < 32; distance *= 2)
			upto = fmaxf(upto, __shfl_up_sync(~0u, upto, distance));
		const float before = __shfl_up_sync(~0u, upto, 1);
		const Factors f = factors_of(lane == 0 ? top : before, mine.x, upto);
		top = __shfl_sync(~0u, upto, 31);
		__syncwarp(); // the factors before have been read
		factors[lane] = make_float4(f.running, f.chunk, mine.y, 0);

		for (int at = first; at < min(first + 32, chunks); at += JOIN_STAGE) {
			cp_async_wait<STAGES - 2>();
			__syncwarp(); // the factors and this stage are there; the stage before is free
			const int free = slot == 0 ? STAGES - 1 : slot - 1;
			load_sums<D>(ring + free * JOIN_STAGE_FLOATS, sums + (int64_t)to_load * D, chunks - to_load,
			             first_column);
			to_load += JOIN_STAGE;
			const float *stage = ring + slot * JOIN_STAGE_FLOATS + lane;
			slot = slot == STAGES - 1 ? 0 : slot + 1;
			if (column >= D)
				continue;
			const int count = min(JOIN_STAGE, chunks - at);
#pragma unroll 8
			for (int i = 0; i < count; i++) {
				const float4 factor = factors[at - first + i];
				const Factors f = {factor.x, factor.y};
				total = join_sums(total, factor.z, f);
				sum = join_sums(sum, stage[i * JOIN_COLUMNS], f);
			}
		}
	}
	if (column < D)
		out_of<D>(args, h, row)[column] = float_to_bf16(sum * (1 / total));
}

// Joins the chunks of all rows. The last block of a sequence and kv head calls it.
template <int D>
__device__ inline void join_chunks(const AttentionArgs &args, const DecodeHead &h,
                                   AttentionDecodeShared<D> &sh)
{
	constexpr int PARTS = (D + JOIN_COLUMNS - 1) / JOIN_COLUMNS; // of a row
	for (int i = threadIdx.x / 32; i < h.rows.count * PARTS; i += DECODE_WARPS)
		join_columns<D>(args, h, sh, i / PARTS, i % PARTS * JOIN_COLUMNS);
	__syncthreads(); // shared memory may be overwritten
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
	launch_dependents();

	const int items = *args.works * args.kv_heads;
	for (int item = blockIdx.x; item < items; item += gridDim.x) {
		const Work work = args.work[item / args.kv_heads];
		const DecodeHead h = decode_head(args, item / args.kv_heads, work, item % args.kv_heads);
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
				if (h.chunks == 1) {
					float running = -INFINITY;
					const Factors f = join_tops(running, top[half]);
					const float inverse = 1 / join_sums(0, total[half * 2], f);
					bf16_bits *out = out_of<D>(args, h, row) + warp * UNITS * 8 + lane % 4 * 2;
#pragma unroll
					for (int n = 0; n < UNITS; n++) {
						if (D / 8 % DECODE_WARPS != 0 && n >= units)
							continue;
						*(uint32_t *)&out[n * 8] = pack_bf16(join_sums(0, o[n][half * 2], f) * inverse,
						                                     join_sums(0, o[n][half * 2 + 1], f) * inverse);
					}
					continue;
				}
				const Partial p = partial<D>(args, h, row);
				float *sums = p.sums + (int64_t)(chunk - h.first_chunk) * D;
#pragma unroll
				for (int n = 0; n < UNITS; n++)
					if (D / 8 % DECODE_WARPS == 0 || n < units)
						*(float2 *)&sums[(warp * UNITS + n) * 8 + lane % 4 * 2] =
							make_float2(o[n][half * 2], o[n][half * 2 + 1]);
				if (warp == 0 && lane % 4 == 0)
					p.tops[chunk - h.first_chunk] = make_float2(top[half], total[half * 2]);
			}
			__syncthreads(); // all is written to partial; shared memory may be overwritten
		}
		if (h.chunks == 1)
			continue; // the results are stored, without a way through memory

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
			join_chunks<D>(args, h, sh);
	}
	wait_for_predecessor(); // blocks without items too
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
