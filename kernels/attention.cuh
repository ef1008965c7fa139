// What kv_append and the attention kernels share: RoPE, where the cache keeps a key, which keys a query sees, and how chunks of keys
// join. That each of these exists once is why decode, prefill and any mixture of the two give the same bits.
#pragma once
#include "args.h"
#include "gpu.h"

namespace {

using namespace gpu;

// Element j of head x after RoPE (spec 3.2): (x[j], x[j + half]) turn by the angle of cos[j], sin[j]; elements from 2·half on stay.
__device__ inline float rotated(const float *x, int j, int half, const float *cos, const float *sin)
{
	if (j < half)
		return x[j] * cos[j] - x[j + half] * sin[j];
	if (j < 2 * half)
		return x[j] * cos[j - half] + x[j - half] * sin[j - half];
	return x[j];
}

// The sequence that row token of the step belongs to.
__device__ inline int sequence_of(int token, const Span *spans, int seqs)
{
	int seq = 0;
	while (seq + 1 < seqs && token >= spans[seq + 1].start)
		seq++;
	return seq;
}

// Where the keys of a chunk start for one kv head, in elements from the layer's keys in block 0: [KV_CHUNK, head_dim]. Values lie
// values_after elements behind.
__device__ inline int64_t keys_of_chunk(const int32_t *block_table, int chunk, int64_t block_stride, int kv_head, int head_dim)
{
	return block_table[chunk] * block_stride + (int64_t)kv_head * KV_CHUNK * head_dim;
}

__device__ inline int64_t values_after(int kv_heads, int head_dim) { return (int64_t)kv_heads * KV_CHUNK * head_dim; }

// The first position that a query at the given position sees. It sees all from there to its own (spec 3.4).
__device__ inline int oldest_visible(int position, int window) { return window > 0 ? max(0, position - window + 1) : 0; }

// Whether any query at positions first … last sees a key of the chunk that starts at position base.
__device__ inline bool sees_chunk(int first, int last, int base, int window)
{
	return base <= last && oldest_visible(first, window) < base + KV_CHUNK;
}

// Chunks of keys are attended to apart, each under its own greatest score, and then joined in ascending order as in flash attention
// (Dao et al., 2022, algorithm 1). Factors are what sums must be multiplied by: the running ones, and the chunk's.
struct Factors {
	float running, chunk;
};

// Takes a chunk's greatest score into the running one, which starts at −∞. Only for a chunk of which the query sees a key.
__device__ inline Factors join_tops(float &top, float chunk_top)
{
	const float old = top;
	top = fmaxf(old, chunk_top);
	return {exp2_approx(old - top), exp2_approx(chunk_top - top)};
}

// Takes a chunk's sum, of weights or of weighted values, into the running one, which starts at 0.
__device__ inline float join_sums(float running, float chunk, Factors f) { return fmaf(chunk, f.chunk, running * f.running); }

// The weight of a score in a chunk, before it is rounded to bfloat16; top is the chunk's greatest score, −∞ where nothing is visible.
__device__ inline float chunk_weight(float score, float top) { return exp2_approx(score - (top == -INFINITY ? 0.0f : top)); }

// ---- tensor cores -------------------------------------------------------------------------------------------------------------------
// Scores are q·kᵀ: queries are the rows of A, keys the columns of B, head_dim ascends from zero. The chunk's weighted sum of values is
// P·V: the scores' fragments, exponentiated and packed, are A; values are B; keys ascend from zero. The sum of weights is P·1, so that
// it has the very weights, rounded, that the values had.

constexpr int MMA_ROWS = 16; // rows of A in one mma

constexpr uint32_t TWO_ONES = 0x3f803f80; // bfloat16 1, 1

// A chunk's keys, or values, or queries in shared memory are rows of D bfloat16 in units of 16 bytes. The units of a row are permuted
// so that the same unit of eight successive rows lies in eight different banks of 16 bytes, as ldmatrix likes it, without padding.
// The permutation is the same eight rows on.
template <int D> __device__ inline bf16_bits *tile_at(bf16_bits *tile, int row, int unit)
{
	static_assert(D == 80 || D == 96 || D % 64 == 0, "the permutations below fit rows of 10, 12 and of a multiple of 8 units");
	return tile + row * D + (unit ^ (D == 80 ? row / 4 % 2 : D == 96 ? row / 2 % 4 : row % 8)) * 8;
}

// The rows of A for one kv head: (query, head of the group) pairs, row r being head r % group of query r / group.
struct Rows {
	int token, position; // of row 0: its row in the step, its place in the sequence
	int kv_head, group, count;
};

__device__ inline int token_of(const Rows &rows, int r) { return rows.token + r / rows.group; }

__device__ inline int position_of(const Rows &rows, int r) { return rows.position + r / rows.group; }

__device__ inline int head_of(const Rows &rows, int r) { return rows.kv_head * rows.group + r % rows.group; }

// Rotates the queries of rows first … first+COUNT-1 and puts them into a tile; zeros where there is no such row.
template <int D, int COUNT, int THREADS>
__device__ inline void rotate_queries(bf16_bits *tile, const AttentionArgs &args, const Rows &rows, int first)
{
	for (int i = threadIdx.x; i < COUNT * D / 2; i += THREADS) {
		const int r = i / (D / 2), j = i % (D / 2) * 2;
		uint32_t pair = 0;
		if (first + r < rows.count) {
			const int64_t token = token_of(rows, first + r);
			const float *x = args.qkv + (token * (args.heads + 2 * args.kv_heads) + head_of(rows, first + r)) * D;
			const float *cos = args.cos + token * args.rope_half, *sin = args.sin + token * args.rope_half;
			pair = pack_bf16(rotated(x, j, args.rope_half, cos, sin), rotated(x, j + 1, args.rope_half, cos, sin));
		}
		*(uint32_t *)&tile_at<D>(tile, r, j / 8)[j % 8] = pair;
	}
}

// Starts copying D elements of each of the rows from … to-1 of a chunk to a tile, by THREADS threads. Rows are stride elements apart.
// Rows from `to` to `end`-1 are left alone, and all others filled with zeros: the cache may hold anything there, and 0·NaN is not 0.
template <int D, int THREADS>
__device__ inline void load_tile(bf16_bits *tile, const bf16_bits *rows, int stride, int from, int to, int end)
{
	constexpr int UNITS = D / 8, ROW_THREADS = UNITS > 8 ? 16 : 8; // 16 threads a row, even if it has 10 or 12 units: see tile_at
	const int first = threadIdx.x / ROW_THREADS, unit = threadIdx.x % ROW_THREADS;
	if (unit >= UNITS)
		return;
	tile = tile_at<D>(tile, first, unit);
	rows += first * stride + unit * 8;
#pragma unroll
	for (int i = 0; i < KV_CHUNK; i += THREADS / ROW_THREADS) {
		const int row = first + i;
#pragma unroll
		for (int u = 0; u < UNITS; u += ROW_THREADS)
			if (row < to || row >= end)
				cp_async_16(tile + i * D + u * 8, rows + i * stride + u * 8, from <= row && row < to);
	}
}

// Fragments, from the tile's row 0; other rows are reached by passing a later start, in steps of 8. k and unit are known at compile time,
// and XORed last, so that few address registers serve many loads.

// The A fragment of 16 queries × elements 16·k … 16·k+15.
template <int D> __device__ inline void load_queries(uint32_t (&a)[4], bf16_bits *tile, int k)
{
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(a, tile_at<D>(tile, lane % 16, lane / 16 ^ 2 * k));
}

// The B fragments of keys 0 … 7 in b[0], b[1] and of keys 8 … 15 in b[2], b[3], for elements 16·k … 16·k+15.
template <int D> __device__ inline void load_keys(uint32_t (&b)[4], bf16_bits *tile, int k)
{
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(b, tile_at<D>(tile, lane / 16 * 8 + lane % 8, lane / 8 % 2 ^ 2 * k));
}

// The B fragments of elements 8·unit … 8·unit+7, for keys 0 … 15 in b[0], b[1] and for keys 16 … 31 in b[2], b[3].
template <int D> __device__ inline void load_values(uint32_t (&b)[4], bf16_bits *tile, int unit)
{
	ldmatrix_x4_trans(b, tile_at<D>(tile, threadIdx.x % 32, unit));
}

// Two products with one ldmatrix's worth of B.
__device__ inline void mma_first(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[4])
{
	const uint32_t half[2] = {b[0], b[1]};
	mma_bf16(d, a, half);
}

__device__ inline void mma_second(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[4])
{
	const uint32_t half[2] = {b[2], b[3]};
	mma_bf16(d, a, half);
}

} // namespace
