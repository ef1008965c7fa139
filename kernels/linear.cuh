// Shared by the matrix products for decode and for prefill, so that both give the same bits.
//
// Both compute D[m][n], where m is a weight row and n a token, on tensor-core tiles of 16 weight rows, 8
// tokens and 16 columns of K. K is cut into steps of K_STEP columns, and the steps into at most
// K_SEGMENTS segments (args.h). The tensor cores sum a segment in ascending order of k, starting from
// zero; columns from k on count as zeros. The segments are added to zero in ascending order.
#pragma once
#include "args.h"
#include "gpu.h"
#include "quants.cuh"

namespace {
using namespace gpu;

// What a product does with a finished sum.
enum Epilogue {
	STORE, // y = sum
	ADD,   // y = y + sum
	// y = SiLU(g)·u. In a tile of 16 weight rows the first 8 are gates, the last 8 the ups of the same
	// outputs.
	GATE_UP,
};

__device__ inline int k_steps(int k) { return (k + K_STEP - 1) / K_STEP; }

// Steps in each segment. The last segments may have fewer, or none.
__device__ inline int segment_steps(int k) { return (k_steps(k) + K_SEGMENTS - 1) / K_SEGMENTS; }

// In shared memory a step's rows have K_STEP columns, which are 8 units of 16 bytes. Unit c of row r is
// stored at place c ^ r % 8. This spreads over all banks both the same unit of 8 consecutive rows, for
// ldmatrix, and the 8 units of one row, for copying.
enum { UNIT_COLS = 8, STEP_UNITS = K_STEP / UNIT_COLS, STEP_ROW = K_STEP * 2 /* bytes */ };
__device__ inline int unit_offset(int row, int unit)
{
	return row * STEP_ROW + ((unit ^ row % STEP_UNITS) << 4);
}

// Brings a unit of weights, those of a row of args.w from column col on, to shared memory. If !valid it
// brings zeros. cp.async brings weights of 16 bits. Quantized weights are unpacked here, and stored at once.
template <int TYPE>
__device__ inline void bring_weights(void *dst, const LinearArgs &args, int row, int col, bool valid)
{
	static_assert((int)UNIT_COLS == (int)UNPACKED, "a unit of quantized weights");
	if constexpr (TYPE == TYPE_QUANTIZED)
		*static_cast<uint4 *>(dst) =
			valid ? unpack8(args.w, row, col, args.k, args.type) : make_uint4(0, 0, 0, 0);
	else
		cp_async_16(dst, static_cast<const bf16_bits *>(args.w) + (size_t)row * args.k + col, valid);
}

// A warp's share of the next product's weights. The warps of the grid prefetch them into the L2 cache, each
// when it has requested all its own weights: from then on the memory has less and less to do, until the next
// product runs at full speed. Shares are whole lines of the cache; the last warps may have less, or none.
struct NextWeights {
	const char *begin;
	unsigned bytes;

	__device__ explicit NextWeights(const LinearArgs &args)
	{
		const unsigned all = args.next_bytes, warps = gridDim.x * (blockDim.x / 32);
		const unsigned warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
		const unsigned share = (all + CACHE_LINE * warps - 1) / (CACHE_LINE * warps) * CACHE_LINE;
		const unsigned first = min(warp * share, all);
		begin = static_cast<const char *>(args.next) + first;
		bytes = min(share, all - first);
	}

	// Prefetches the share.
	__device__ void prefetch() const
	{
		const unsigned lane = threadIdx.x % 32;
		if (BULK_PREFETCH && lane == 0 && bytes > 0)
			prefetch_l2(begin, bytes);
#pragma unroll 1
		for (unsigned at = lane * CACHE_LINE; !BULK_PREFETCH && at < bytes; at += 32 * CACHE_LINE)
			prefetch_l2(begin + at, min((unsigned)CACHE_LINE, bytes - at));
	}

	// Prefetches the share at the first call.
	__device__ void prefetch_once()
	{
		prefetch();
		bytes = 0;
	}
};

// Moves an offset from unit 0 or 1 of a row to the same unit of k16 tile j. An exclusive or is enough,
// because unit_offset permutes units by exclusive or.
__device__ inline int k16_offset(int offset, int j) { return offset ^ j << 5; }

// acc[n] += w·x[n] for N tiles of tokens; w is 16 weight rows as they are in shared memory. A float16 has
// 11 significant bits and a bfloat16 has 8, so a float16 is exactly the sum of two bfloat16 numbers. Both
// are multiplied, the greater first.
template <int TYPE, int N>
__device__ inline void mma_weight(float (&acc)[N][4], const uint32_t (&w)[4], const uint32_t (&x)[N][2])
{
	if constexpr (TYPE != TYPE_F16) {
#pragma unroll
		for (int n = 0; n < N; n++)
			mma_bf16(acc[n], w, x[n]);
	} else {
		uint32_t high[4], low[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const float w0 = half_to_float(w[i] & 0xffff), w1 = half_to_float(w[i] >> 16);
			high[i] = pack_bf16(w0, w1);
			low[i] = pack_bf16(w0 - bf16_to_float(high[i] & 0xffff), w1 - bf16_to_float(high[i] >> 16));
		}
#pragma unroll
		for (int n = 0; n < N; n++)
			mma_bf16(acc[n], high, x[n]);
#pragma unroll
		for (int n = 0; n < N; n++)
			mma_bf16(acc[n], low, x[n]);
	}
}

// Adds this lane's sums of a tile's segments, in mma's layout, in ascending order. sums are those of
// segment 0, and stride leads to those of the next one.
__device__ inline void add_segments(float (&total)[4], const float4 *sums, int stride, int segments)
{
	for (int i = 0; i < segments; i++) {
		const float4 part = sums[i * stride];
		total[0] += part.x;
		total[1] += part.y;
		total[2] += part.z;
		total[3] += part.w;
	}
}

__device__ inline float silu(float x)
{
	const float LOG2_E = 1.44269504f;
	return x / (1.0f + exp2_approx(-x * LOG2_E));
}

// Loads the values of y to which ADD adds the sums of one tile, laid out as in finish.
template <int EPILOGUE>
__device__ inline void load_addends(float (&y)[4], const LinearArgs &args, int row, int token,
                                    int to_second = 8)
{
	if constexpr (EPILOGUE == ADD) {
		const int lane = threadIdx.x % 32;
		row += lane / 4;
		token += lane % 4 * 2;
#pragma unroll
		for (int i = 0; i < 2; i++) {
			const float *from = static_cast<const float *>(args.y) + (size_t)(token + i) * args.rows + row;
			y[i] = token + i < args.tokens && row < args.rows ? from[0] : 0;
			y[2 + i] = token + i < args.tokens && row + to_second < args.rows ? from[to_second] : 0;
		}
	}
}

// Applies the epilogue to the sums of one tile, in mma's layout: this lane holds weight rows lane/4 and
// lane/4 + 8, tokens 2·(lane%4) and the next. row is the tile's first output, token its first token. The
// tile's last 8 rows are the outputs from row + to_second on, except in GATE_UP.
template <int EPILOGUE>
__device__ inline void finish(const LinearArgs &args, const float (&sum)[4], const float (&addends)[4],
                              int row, int token, int to_second = 8)
{
	const int lane = threadIdx.x % 32;
	row += lane / 4;
	token += lane % 4 * 2;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (token + i >= args.tokens)
			break;
		const size_t at = (size_t)(token + i) * args.rows + row;
		if constexpr (EPILOGUE == GATE_UP) {
			if (row < args.rows)
				static_cast<bf16_bits *>(args.y)[at] = float_to_bf16(silu(sum[i]) * sum[2 + i]);
		} else {
			float *y = static_cast<float *>(args.y) + at;
			if (row < args.rows)
				y[0] = EPILOGUE == ADD ? addends[i] + sum[i] : sum[i];
			if (row + to_second < args.rows)
				y[to_second] = EPILOGUE == ADD ? addends[2 + i] + sum[2 + i] : sum[2 + i];
		}
	}
}

template <int EPILOGUE>
__device__ inline void finish(const LinearArgs &args, const float (&sum)[4], int row, int token,
                              int to_second = 8)
{
	float addends[4];
	load_addends<EPILOGUE>(addends, args, row, token, to_second);
	finish<EPILOGUE>(args, sum, addends, row, token, to_second);
}

} // namespace
