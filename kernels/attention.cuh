// Shared by kv_append and the attention kernels: RoPE, where the cache stores a key, which keys a query
// sees, and how chunks of keys are joined. Decode, prefill and any mixture of the two give the same bits
// because each of these exists only once.
#pragma once
#include "args.h"
#include "gpu.h"

namespace {

using namespace gpu;

// Element j of head x after RoPE (spec 3.2). The pair (x[j], x[j + half]) is rotated by the angle of
// cos[j] and sin[j]. Elements from 2·half on do not change.
__device__ inline float rotated(const float *x, int j, int half, const float *cos, const float *sin)
{
	if (j < half)
		return x[j] * cos[j] - x[j + half] * sin[j];
	if (j < 2 * half)
		return x[j] * cos[j - half] + x[j - half] * sin[j - half];
	return x[j];
}

// The sequence to which row number token of the step belongs.
__device__ inline int sequence_of(int token, const Span *spans, int seqs)
{
	int seq = 0;
	while (seq + 1 < seqs && token >= spans[seq + 1].start)
		seq++;
	return seq;
}

// Where one kv head's keys of a chunk start, in elements from the layer's keys in block 0. They are
// [KV_CHUNK, head_dim]. The values start values_after elements later.
__device__ inline int64_t keys_of_chunk(const int32_t *block_table, int chunk, int64_t block_stride,
                                        int kv_head, int head_dim)
{
	return block_table[chunk] * block_stride + (int64_t)kv_head * KV_CHUNK * head_dim;
}

__device__ inline int64_t values_after(int kv_heads, int head_dim)
{
	return (int64_t)kv_heads * KV_CHUNK * head_dim;
}

// The first position that a query sees. It sees all positions from there to its own (spec 3.4).
__device__ inline int oldest_visible(int position, int window)
{
	return window > 0 ? max(0, position - window + 1) : 0;
}

// Whether a query at any of the positions first … last sees a key of the chunk that starts at position base.
__device__ inline bool sees_chunk(int first, int last, int base, int window)
{
	return base <= last && oldest_visible(first, window) < base + KV_CHUNK;
}

// Each chunk of keys is summed relative to its own greatest score. Chunks are then joined in ascending
// order, as in flash attention (Dao et al., 2022, algorithm 1). Factors scale the running sums and the
// chunk's sums to the same greatest score.
struct Factors {
	float running, chunk;
};

// top is the greater one of the running greatest score before the chunk, running, and the chunk's.
__device__ inline Factors factors_of(float running, float chunk_top, float top)
{
	return {exp2_approx(running - top), exp2_approx(chunk_top - top)};
}

// Joins a chunk's greatest score to the running one, which starts at −∞. The query must see a key of the
// chunk.
__device__ inline Factors join_tops(float &top, float chunk_top)
{
	const float running = top;
	top = fmaxf(running, chunk_top);
	return factors_of(running, chunk_top, top);
}

// Joins a chunk's sum, of weights or of weighted values, to the running one, which starts at 0.
__device__ inline float join_sums(float running, float chunk, Factors f)
{
	return fmaf(chunk, f.chunk, running * f.running);
}

// The weight of a score in a chunk, before it is rounded to bfloat16. top is the chunk's greatest score,
// −∞ if no key is visible.
__device__ inline float chunk_weight(float score, float top)
{
	return exp2_approx(score - (top == -INFINITY ? 0.0f : top));
}

// ---- Tensor cores
//
// Scores are q·kᵀ: queries are the rows of A, keys are the columns of B, and head_dim ascends from zero.
// The chunk's weighted sum of values is P·V: the weights, packed from the fragments of scores, are A;
// values are B; keys ascend from zero. The sum of weights is P·1, so that it uses the same rounded
// weights as the values.

constexpr int MMA_ROWS = 16; // rows of A in one mma

constexpr uint32_t TWO_ONES = 0x3f803f80; // bfloat16 1, 1

// A tile in shared memory holds a chunk's keys or values, or queries: rows of D bfloat16, in units of 16
// bytes. The units of a row are permuted so that the same unit of eight successive rows lies in eight
// different banks of 16 bytes. ldmatrix is then fast without padding. Row r + 8 has the permutation of
// row r.
template <int D> __device__ inline bf16_bits *tile_at(bf16_bits *tile, int row, int unit)
{
	static_assert(D == 80 || D == 96 || D % 64 == 0,
	              "the permutations below are for rows of 10, 12 or a multiple of 8 units");
	return tile + row * D + (unit ^ (D == 80 ? row / 4 % 2 : D == 96 ? row / 2 % 4 : row % 8)) * 8;
}

// The rows of A for one kv head. A row is a pair (query, head of the group): row r is head r % group of query
// r / group.
struct Rows {
	int token, position; // of row 0: its row in the step and its position in the sequence
	int kv_head, group, count;
};

__device__ inline int token_of(const Rows &rows, int r) { return rows.token + r / rows.group; }

__device__ inline int position_of(const Rows &rows, int r) { return rows.position + r / rows.group; }

__device__ inline int head_of(const Rows &rows, int r) { return rows.kv_head * rows.group + r % rows.group; }

// Rotates the queries of rows first … first+COUNT-1 into a tile. Rows that do not exist become zeros.
template <int D, int COUNT, int THREADS>
__device__ inline void rotate_queries(bf16_bits *tile, const AttentionArgs &args, const Rows &rows, int first)
{
	for (int i = threadIdx.x; i < COUNT * D / 2; i += THREADS) {
		const int r = i / (D / 2), j = i % (D / 2) * 2;
		uint32_t pair = 0;
		if (first + r < rows.count) {
			const int64_t token = token_of(rows, first + r);
			const float *x =
				args.qkv + (token * (args.heads + 2 * args.kv_heads) + head_of(rows, first + r)) * D;
			const float *cos = args.cos + token * args.rope_half, *sin = args.sin + token * args.rope_half;
			pair = pack_bf16(rotated(x, j, args.rope_half, cos, sin),
			                 rotated(x, j + 1, args.rope_half, cos, sin));
		}
		*(uint32_t *)&tile_at<D>(tile, r, j / 8)[j % 8] = pair;
	}
}

// Starts copying rows from … to-1 of a chunk to a tile, D elements each, by THREADS threads. Rows are stride
// elements apart. Rows to … end-1 are not changed. All others become zeros, because the cache may hold NaN
// there, and 0·NaN is not 0.
template <int D, int THREADS>
__device__ inline void load_tile(bf16_bits *tile, const bf16_bits *rows, int stride, int from, int to,
                                 int end)
{
	// 16 threads for each row even if it has 10 or 12 units, because tile_at permutes groups of 8 rows.
	constexpr int UNITS = D / 8, ROW_THREADS = UNITS > 8 ? 16 : 8;
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

// The functions below load fragments from row 0 of a tile on. To load from another row, a multiple of 8,
// pass a later start. k and unit are known at compile time and XORed last, so that many loads share few
// address registers.

// Loads the A fragment of 16 queries × elements 16·k … 16·k+15.
template <int D> __device__ inline void load_queries(uint32_t (&a)[4], bf16_bits *tile, int k)
{
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(a, tile_at<D>(tile, lane % 16, lane / 16 ^ 2 * k));
}

// Loads the B fragments of keys 0 … 7 to b[0], b[1] and of keys 8 … 15 to b[2], b[3], for elements 16·k …
// 16·k+15.
template <int D> __device__ inline void load_keys(uint32_t (&b)[4], bf16_bits *tile, int k)
{
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(b, tile_at<D>(tile, lane / 16 * 8 + lane % 8, lane / 8 % 2 ^ 2 * k));
}

// Loads the B fragments of elements 8·unit … 8·unit+7, for keys 0 … 15 to b[0], b[1] and for keys 16 … 31
// to b[2], b[3].
template <int D> __device__ inline void load_values(uint32_t (&b)[4], bf16_bits *tile, int unit)
{
	ldmatrix_x4_trans(b, tile_at<D>(tile, threadIdx.x % 32, unit));
}

// mma_first and mma_second multiply by the two B fragments that one ldmatrix loads.
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
