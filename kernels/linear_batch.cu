// Matrix products for 9 to BATCH_TOKENS tokens, such as a server's batches and short prompts. Each weight is
// read from memory once, as in decode.
//
// A block processes 2 or 4 tiles of 16 weight rows at once, for all tokens, and warp w its segment w of K. The
// warps run independently. Each has a ring of stages in shared memory, which cp.async fills; a stage is 16
// columns of the weight rows and of the tokens. The ring runs ahead of the sums into the block's next rows.
// At the end of the rows the warps add the sums of their segments, through shared memory. After its last
// request a warp prefetches its share of the next product's weights.
//
// How the sizes were chosen, on paper, for an H100, whose 132 multiprocessors can each take 14.5 bytes a clock
// from memory and 128 from shared memory, and together about 25 each from the L2 cache, at most 55 alone:
//   - The tokens come from the L2 cache again for each block's rows. With N tokens and R rows, the cache must
//     deliver 1 + N/R bytes for each byte of weights, so R should be large.
//   - o_proj and down_proj have 3,072 rows. So that many multiprocessors take part, R should be small.
//   - A warp writes its part of a stage to shared memory once and reads it once, which is 2 + 2·N/R bytes for
//     each byte of weights. Warps that share a stage, as in prefill, would read more, because each has a
//     smaller tile.
// The expected share of the memory's speed, limited by the multiprocessors in use, the L2 cache, or shared
// memory; prefill has 128 rows a block:
//
//   tokens    R    of o and down, in prefill   of o and down, here   of gate_up, here
//       16   32                         37 %                 100 %              100 %
//       32   32                         37 %                  85 %               85 %
//       64   64                         36 %                  69 %               83 %
//
// With 32 rows for 64 tokens it would be 57 %. What is missing at 64 tokens is the tokens' part of the traffic
// from the L2 cache. Only multiprocessors that share their tokens, as in Hopper's clusters, could save it.
//
// Quantized weights are unpacked when they are requested: the ring holds bfloat16, and the warp waits for what
// it loads.
#include "linear.cuh"

namespace {

enum {
	BATCH_ROW_TILES = LINEAR_BATCH_ROW_TILES(BATCH_TOKENS), // at most
	BATCH_TOKEN_TILES = LINEAR_BATCH_TOKEN_TILES(BATCH_TOKENS),
	BATCH_ROW = LINEAR_BATCH_COLS * 2, // bytes of a row of a stage
};
static_assert(LINEAR_BATCH_THREADS == 32 * K_SEGMENTS, "a warp a segment");
static_assert(BATCH_TOKEN_TILES <= K_SEGMENTS, "a warp adds the segments of a token tile");
static_assert(LINEAR_BATCH_COLS == 2 * UNIT_COLS && K_STEP % LINEAR_BATCH_COLS == 0, "a k16 tile");

// Where a unit of 8 columns is in a warp's part of a stage. A row has two units, which change places in every
// other 4 rows: so the same unit of 8 consecutive rows is spread over all banks.
__device__ inline int batch_offset(int row, int unit) { return row * BATCH_ROW + ((unit ^ row / 4 % 2) << 4); }

// A warp's ring, and its requests in the order of their use: the columns of its segment for the block's first
// rows, then for its next rows, and so on.
template <int TYPE, int EPILOGUE>
struct BatchRing {
	const LinearArgs &args;
	unsigned char *stages;      // of this warp
	int stage;                  // bytes of one
	int row_tiles, token_tiles; // of the block
	int first, end;             // the warp's columns: whole steps, so they may end behind k
	int parts;                  // of row_tiles tiles of weight rows, in the whole matrix
	NextWeights next_product;

	struct Place { // of a request
		int part, col, slot;
	};

	__device__ bool exists(const Place &at) const { return at.part < parts && first < end; }

	__device__ Place after(Place at) const
	{
		at.slot = at.slot + 1 == args.stages ? 0 : at.slot + 1;
		at.col += LINEAR_BATCH_COLS;
		if (at.col >= end) {
			at.col = first;
			at.part += gridDim.x;
		}
		return at;
	}

	// Each lane brings one unit of a weight row in each row tile. After the last ones the warp prefetches its
	// share of the next product's weights.
	__device__ void request_weights(const Place &at)
	{
		if (!exists(at)) {
			next_product.prefetch();
			return;
		}
		const int r = threadIdx.x % 32 / 2, unit = threadIdx.x % 2, c = at.col + unit * UNIT_COLS;
		const int outputs = EPILOGUE == GATE_UP ? 8 : 16; // a tile's
		const int output = at.part * row_tiles * outputs + r % outputs;
		const int row = EPILOGUE == GATE_UP && r >= 8 ? args.rows + output : output;
		unsigned char *to = stages + at.slot * stage + batch_offset(r, unit);
#pragma unroll(TYPE == TYPE_QUANTIZED ? 1 : BATCH_ROW_TILES)
		for (int m = 0; m < BATCH_ROW_TILES; m++)
			if (m < row_tiles)
				bring_weights<TYPE>(to + m * 16 * BATCH_ROW, args, row + m * outputs, c,
				                    output + m * outputs < args.rows && c < args.k);
	}

	// Each lane brings one unit of every 16th token. Tokens that do not exist become zeros.
	__device__ void request_inputs(const Place &at) const
	{
		if (!exists(at))
			return;
		const int r = threadIdx.x % 32 / 2, unit = threadIdx.x % 2, c = at.col + unit * UNIT_COLS;
		const bf16_bits *x = static_cast<const bf16_bits *>(args.x);
		unsigned char *to = stages + at.slot * stage + batch_offset(row_tiles * 16 + r, unit);
#pragma unroll
		for (int n = 0; n < BATCH_TOKEN_TILES; n += 2)
			if (n < token_tiles)
				cp_async_16(to + n * 8 * BATCH_ROW, x + (size_t)(n * 8 + r) * args.k + c,
				            n * 8 + r < args.tokens && c < args.k);
	}
};

// Waits for this lane's part of the oldest of a ring's requests.
__device__ inline void wait_for_oldest(int stages)
{
	if (stages >= LINEAR_BATCH_MAX_STAGES)
		cp_async_wait<LINEAR_BATCH_MAX_STAGES - 2>();
	else if (stages >= 6)
		cp_async_wait<4>();
	else if (stages >= 4)
		cp_async_wait<2>();
	else
		cp_async_wait<0>();
}

typedef float BatchSums[BATCH_ROW_TILES][BATCH_TOKEN_TILES][4]; // in mma's layout

// Adds the products of one stage to the sums, for ROW_TILES by TOKEN_TILES tiles.
template <int TYPE, int ROW_TILES, int TOKEN_TILES>
__device__ inline void multiply_stage(BatchSums &sums, const unsigned char *stage)
{
	const int lane = threadIdx.x % 32;
	const unsigned char *w_from = stage + batch_offset(lane % 16, lane / 16);
	const unsigned char *x_from =
		stage + batch_offset(ROW_TILES * 16 + lane % 8 + lane / 16 * 8, lane / 8 % 2);
	uint32_t x[TOKEN_TILES][2];
#pragma unroll
	for (int n = 0; n < TOKEN_TILES; n += 2) {
		uint32_t r[4];
		ldmatrix_x4(r, x_from + n * 8 * BATCH_ROW);
		x[n][0] = r[0];
		x[n][1] = r[1];
		x[n + 1][0] = r[2];
		x[n + 1][1] = r[3];
	}
#pragma unroll
	for (int m = 0; m < ROW_TILES; m++) {
		uint32_t w[4];
		ldmatrix_x4(w, w_from + m * 16 * BATCH_ROW);
		mma_weight<TYPE, TOKEN_TILES>(reinterpret_cast<float(&)[TOKEN_TILES][4]>(sums[m]), w, x);
	}
}

// Adds the sums of all segments, in ascending order, and applies the epilogue. One row tile at a time passes
// through shared memory, where each warp adds the segments of one token tile.
template <int EPILOGUE>
__device__ inline void join_segments(const LinearArgs &args, const BatchSums &sums, float4 *shared_sums,
                                     int segments, int part)
{
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	const int row_tiles = LINEAR_BATCH_ROW_TILES(args.tokens);
	const int token_tiles = LINEAR_BATCH_TOKEN_TILES(args.tokens);
	const int outputs = EPILOGUE == GATE_UP ? 8 : 16, first_output = part * row_tiles * outputs;
	float addends[BATCH_ROW_TILES][4]; // of this warp's token tile, loaded at once because of the latency
#pragma unroll
	for (int m = 0; m < BATCH_ROW_TILES; m++)
		if (m < row_tiles && warp < token_tiles)
			load_addends<EPILOGUE>(addends[m], args, first_output + m * outputs, warp * 8);

#pragma unroll
	for (int m = 0; m < BATCH_ROW_TILES; m++) {
		if (m >= row_tiles)
			break;
#pragma unroll
		for (int n = 0; n < BATCH_TOKEN_TILES; n++)
			if (warp < segments && n < token_tiles)
				shared_sums[(warp * token_tiles + n) * 32 + lane] =
					make_float4(sums[m][n][0], sums[m][n][1], sums[m][n][2], sums[m][n][3]);
		__syncthreads(); // all segments' sums are there
		if (warp < token_tiles) {
			float total[4] = {};
			for (int s = 0; s < segments; s++) {
				const float4 sum = shared_sums[(s * token_tiles + warp) * 32 + lane];
				total[0] += sum.x;
				total[1] += sum.y;
				total[2] += sum.z;
				total[3] += sum.w;
			}
			finish<EPILOGUE>(args, total, addends[m], first_output + m * outputs, warp * 8);
		}
		__syncthreads(); // they are no longer read
	}
}

template <int TYPE, int EPILOGUE>
__device__ inline void linear_batch(const LinearArgs &args)
{
	const int warp = threadIdx.x / 32;
	const int row_tiles = LINEAR_BATCH_ROW_TILES(args.tokens);
	const int token_tiles = LINEAR_BATCH_TOKEN_TILES(args.tokens);
	const int outputs = row_tiles * (EPILOGUE == GATE_UP ? 8 : 16); // of a block
	const int parts = (args.rows + outputs - 1) / outputs;
	const int segment = segment_steps(args.k) * K_STEP, segments = (args.k + segment - 1) / segment;
	// The warp's columns: none for warps from number segments on.
	const int first = warp * segment, end = min(first + segment, k_steps(args.k) * K_STEP);
	const int stage = LINEAR_BATCH_STAGE(args.tokens); // bytes of all warps
	unsigned char *ring_bytes = dynamic_shared();
	float4 *shared_sums = reinterpret_cast<float4 *>(ring_bytes + args.stages * stage);

	BatchRing<TYPE, EPILOGUE> ring = {
		args, ring_bytes + warp * args.stages * (stage / K_SEGMENTS), stage / K_SEGMENTS, row_tiles,
		token_tiles, first, end, parts, NextWeights(args),
	};
	typename BatchRing<TYPE, EPILOGUE>::Place next = {(int)blockIdx.x, first, 0}, at = next;
	launch_dependents();
#pragma unroll 1
	for (int i = 0; i < args.stages - 1; i++, next = ring.after(next))
		ring.request_weights(next); // before the wait: no kernel writes them
	wait_for_predecessor();
#pragma unroll 1
	for (int i = 0; i < args.stages - 1; i++, at = ring.after(at)) {
		ring.request_inputs(at);
		cp_async_commit();
	}

	int slot = 0;
	for (int part = blockIdx.x; part < parts; part += gridDim.x) {
		BatchSums sums = {};
		for (int col = first; col < end; col += LINEAR_BATCH_COLS) {
			wait_for_oldest(args.stages);
			__syncwarp(); // all lanes' parts of the stage are there, and the stage before is free
			ring.request_weights(next);
			ring.request_inputs(next);
			cp_async_commit();
			next = ring.after(next);
			const unsigned char *oldest = ring.stages + slot * ring.stage;
			slot = slot + 1 == args.stages ? 0 : slot + 1;
			if (token_tiles == 2)
				multiply_stage<TYPE, 2, 2>(sums, oldest);
			else if (token_tiles == 4)
				multiply_stage<TYPE, 2, 4>(sums, oldest);
			else
				multiply_stage<TYPE, BATCH_ROW_TILES, BATCH_TOKEN_TILES>(sums, oldest);
		}
		join_segments<EPILOGUE>(args, sums, shared_sums, segments, part);
	}
}

} // namespace

#define BATCH_KERNEL(NAME, TYPE, EPILOGUE) \
	extern "C" __global__ void __launch_bounds__(LINEAR_BATCH_THREADS, 1) \
		NAME(KERNEL_ARGS(LinearArgs) args) \
	{ \
		linear_batch<TYPE, EPILOGUE>(args); \
	}

BATCH_KERNEL(linear_batch_bf16, TYPE_BF16, STORE)
BATCH_KERNEL(linear_batch_f16, TYPE_F16, STORE)
BATCH_KERNEL(linear_batch_quantized, TYPE_QUANTIZED, STORE)
BATCH_KERNEL(gate_up_batch_bf16, TYPE_BF16, GATE_UP)
BATCH_KERNEL(gate_up_batch_f16, TYPE_F16, GATE_UP)
BATCH_KERNEL(gate_up_batch_quantized, TYPE_QUANTIZED, GATE_UP)
BATCH_KERNEL(linear_add_batch_bf16, TYPE_BF16, ADD)
BATCH_KERNEL(linear_add_batch_f16, TYPE_F16, ADD)
BATCH_KERNEL(linear_add_batch_quantized, TYPE_QUANTIZED, ADD)
