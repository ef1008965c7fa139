// Matrix products for 9 to BATCH_TOKENS tokens, such as a server's batches and short prompts. Each weight is
// read from memory once, as in decode.
//
// A block processes 2 or 4 tiles of 16 weight rows at once, for all tokens, and warp w its segment w of K.
// The warps run independently. Each has a ring of stages in shared memory, which cp.async fills; a stage is
// 16 columns of the weight rows and of the tokens. The ring runs ahead of the sums into the block's next
// rows. At the end of the rows the warps add the sums of their segments, through shared memory. After its
// last request a warp prefetches its share of the next product's weights.
//
// How the sizes were chosen, on paper, for an H100, whose 132 multiprocessors can each take 14.5 bytes a
// clock from memory and 128 from shared memory, and together about 25 each from the L2 cache, at most 55
// alone:
//   - The tokens come from the L2 cache again for each block's rows. With N tokens and R rows, the cache must
//     deliver 1 + N/R bytes for each byte of weights, so R should be large.
//   - o_proj and down_proj have 3,072 rows. So that many multiprocessors take part, R should be small.
//   - A warp writes its part of a stage to shared memory once and reads it once, which is 2 + 2·N/R bytes
//     for each byte of weights. Warps that share a stage, as in prefill, would read more, because each has a
//     smaller tile.
// The expected share of the memory's speed, limited by the multiprocessors in use, the L2 cache, or shared
// memory; prefill has 128 rows a block:
//
//   tokens    R    of o and down, in prefill   of o and down, here   of gate_up, here
//       16   32                         37 %                 100 %              100 %
//       32   32                         37 %                  85 %               85 %
//       64   64                         36 %                  69 %               83 %
//
// With 32 rows for 64 tokens it would be 57 %. What is missing at 64 tokens is the tokens' part of the
// traffic from the L2 cache. Only multiprocessors that share their tokens, as in Hopper's clusters, could
// save it. Fewer than 32 tokens take the tiles of 32: their zeros are not read from memory.
//
// Quantized weights are unpacked when they are requested: the ring holds bfloat16, and the warp waits for
// what it loads.
#include "linear.cuh"

namespace {

enum { BATCH_ROW = LINEAR_BATCH_COLS * 2 }; // bytes of a row of a stage
static_assert(LINEAR_BATCH_THREADS == 32 * K_SEGMENTS, "a warp a segment");
static_assert(LINEAR_BATCH_TOKEN_TILES(BATCH_TOKENS) <= K_SEGMENTS, "a warp a token tile");
static_assert(LINEAR_BATCH_COLS == 2 * UNIT_COLS && K_STEP % LINEAR_BATCH_COLS == 0, "a k16 tile");

// Where a unit of 8 columns is in a warp's part of a stage. A row has two units, which change places in every
// other 4 rows, so that the same unit of 8 consecutive rows is spread over all banks.
__device__ inline int batch_offset(int row, int unit)
{
	return row * BATCH_ROW + ((unit ^ row / 4 % 2) << 4);
}

// A warp's requests in the order of their use: the columns of its segment for the block's first rows, then
// for its next rows, and so on. Each lane brings one unit of a row of each row tile, and of every 16th token.
template <int TYPE, int EPILOGUE, int ROW_TILES, int TOKEN_TILES>
struct BatchRequests {
	enum {
		OUTPUTS = EPILOGUE == GATE_UP ? 8 : 16, // of a row tile
		STAGE = (ROW_TILES * 16 + TOKEN_TILES * 8) * BATCH_ROW, // bytes
	};
	const LinearArgs &args;
	unsigned char *stages; // of this warp
	int first, end;        // its columns: whole steps, so they may end behind k
	NextWeights next_product;
	// The next request:
	int part, parts;    // of ROW_TILES row tiles, in the whole matrix
	int rows;           // how many outputs there are from this lane's in the first row tile on
	int row, col;       // this lane's row in the first row tile, and its column
	const bf16_bits *w; // there, if weights have 16 bits
	const bf16_bits *x; // this lane's first token, at that column
	int slot, at;       // where the stage goes: its number, and this lane's first unit, in bytes

	__device__ BatchRequests(const LinearArgs &args, unsigned char *stages, int first, int end)
		: args(args), stages(stages), first(first), end(end), next_product(args), part(blockIdx.x), slot(0)
	{
		parts = first < end ? (args.rows + ROW_TILES * OUTPUTS - 1) / (ROW_TILES * OUTPUTS) : 0;
		at = batch_offset(lane_row(), lane_unit());
		begin_part();
	}

	static __device__ int lane_row() { return threadIdx.x % 32 / 2; }
	static __device__ int lane_unit() { return threadIdx.x % 2; }

	__device__ void begin_part()
	{
		const int output = part * ROW_TILES * OUTPUTS + lane_row() % OUTPUTS;
		rows = args.rows - output;
		row = EPILOGUE == GATE_UP && lane_row() >= 8 ? args.rows + output : output;
		col = first + lane_unit() * UNIT_COLS;
		w = static_cast<const bf16_bits *>(args.w) + (size_t)row * args.k + col;
		x = static_cast<const bf16_bits *>(args.x) + (size_t)lane_row() * args.k + col;
	}

	// After its last weights the warp prefetches its share of the next product's.
	__device__ void request_weights()
	{
		if (part >= parts) {
			next_product.prefetch_once();
			return;
		}
#pragma unroll(TYPE == TYPE_QUANTIZED ? 1 : ROW_TILES)
		for (int m = 0; m < ROW_TILES; m++) {
			unsigned char *to = stages + at + m * 16 * BATCH_ROW;
			const bool valid = m * OUTPUTS < rows && col < args.k;
			if constexpr (TYPE == TYPE_QUANTIZED)
				bring_weights<TYPE>(to, args, row + m * OUTPUTS, col, valid);
			else
				cp_async_16(to, w + (size_t)(m * OUTPUTS) * args.k, valid);
		}
	}

	// Tokens that do not exist become zeros.
	__device__ void request_inputs() const
	{
		if (part >= parts)
			return;
#pragma unroll
		for (int n = 0; n < TOKEN_TILES * 8; n += 16)
			cp_async_16(stages + at + (ROW_TILES * 16 + n) * BATCH_ROW, x + (size_t)n * args.k,
			            lane_row() < args.tokens - n && col < args.k);
	}

	__device__ void advance()
	{
		slot++;
		at += STAGE;
		if (slot == args.stages) {
			slot = 0;
			at -= args.stages * STAGE;
		}
		col += LINEAR_BATCH_COLS;
		w += LINEAR_BATCH_COLS;
		x += LINEAR_BATCH_COLS;
		if (col >= end) {
			part += gridDim.x;
			begin_part();
		}
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

// Adds the products of one stage to the sums, in mma's layout. The offsets are those of this lane's rows of
// the first tiles.
template <int TYPE, int ROW_TILES, int TOKEN_TILES>
__device__ inline void multiply_stage(float (&sums)[ROW_TILES][TOKEN_TILES][4], const unsigned char *stage,
                                      int w_offset, int x_offset)
{
	uint32_t x[TOKEN_TILES][2];
#pragma unroll
	for (int n = 0; n < TOKEN_TILES; n += 2) {
		uint32_t r[4];
		ldmatrix_x4(r, stage + x_offset + n * 8 * BATCH_ROW);
		x[n][0] = r[0];
		x[n][1] = r[1];
		x[n + 1][0] = r[2];
		x[n + 1][1] = r[3];
	}
#pragma unroll
	for (int m = 0; m < ROW_TILES; m++) {
		uint32_t w[4];
		ldmatrix_x4(w, stage + w_offset + m * 16 * BATCH_ROW);
		mma_weight<TYPE, TOKEN_TILES>(sums[m], w, x);
	}
}

// Adds the sums of all segments, in ascending order, and applies the epilogue. One row tile at a time passes
// through shared memory, where each warp adds the segments of one token tile.
template <int EPILOGUE, int ROW_TILES, int TOKEN_TILES>
__device__ inline void join_segments(const LinearArgs &args, const float (&sums)[ROW_TILES][TOKEN_TILES][4],
                                     float4 (*shared_sums)[TOKEN_TILES][32], int segments, int part)
{
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	const int outputs = EPILOGUE == GATE_UP ? 8 : 16, first_output = part * ROW_TILES * outputs;
	float addends[ROW_TILES][4]; // of this warp's token tile, loaded at once because of the latency
#pragma unroll
	for (int m = 0; m < ROW_TILES; m++)
		if (warp < TOKEN_TILES)
			load_addends<EPILOGUE>(addends[m], args, first_output + m * outputs, warp * 8);

#pragma unroll
	for (int m = 0; m < ROW_TILES; m++) {
#pragma unroll
		for (int n = 0; n < TOKEN_TILES; n++)
			if (warp < segments)
				shared_sums[warp][n][lane] =
					make_float4(sums[m][n][0], sums[m][n][1], sums[m][n][2], sums[m][n][3]);
		__syncthreads(); // all segments' sums are there
		if (warp < TOKEN_TILES) {
			float total[4] = {};
			add_segments(total, &shared_sums[0][warp][lane], TOKEN_TILES * 32, segments);
			finish<EPILOGUE>(args, total, addends[m], first_output + m * outputs, warp * 8);
		}
		__syncthreads(); // they are no longer read
	}
}

template <int TYPE, int EPILOGUE, int ROW_TILES, int TOKEN_TILES>
__device__ inline void batch_product(const LinearArgs &args)
{
	typedef BatchRequests<TYPE, EPILOGUE, ROW_TILES, TOKEN_TILES> Requests;
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	const int segment = segment_steps(args.k) * K_STEP, segments = (args.k + segment - 1) / segment;
	// The warp's columns: none for warps from number segments on.
	const int first = warp * segment, end = min(first + segment, k_steps(args.k) * K_STEP);
	const int ring = args.stages * Requests::STAGE; // bytes of a warp's
	unsigned char *stages = dynamic_shared() + warp * ring;
	auto shared_sums = reinterpret_cast<float4(*)[TOKEN_TILES][32]>(dynamic_shared() + K_SEGMENTS * ring);

	Requests requests(args, stages, first, end), weights = requests;
#pragma unroll 1
	for (int i = 0; i < args.stages - 1; i++, weights.advance())
		weights.request_weights(); // before the wait: no kernel writes them
	requests.next_product = weights.next_product;
	wait_for_predecessor();
#pragma unroll 1
	for (int i = 0; i < args.stages - 1; i++, requests.advance()) {
		requests.request_inputs();
		cp_async_commit();
	}

	const int w_offset = batch_offset(lane % 16, lane / 16);
	const int x_offset = batch_offset(ROW_TILES * 16 + lane % 8 + lane / 16 * 8, lane / 8 % 2);
	const unsigned char *oldest = stages;
	const int parts = (args.rows + ROW_TILES * Requests::OUTPUTS - 1) / (ROW_TILES * Requests::OUTPUTS);
	for (int part = blockIdx.x; part < parts; part += gridDim.x) {
		float sums[ROW_TILES][TOKEN_TILES][4] = {};
#pragma unroll 1
		for (int col = first; col < end; col += LINEAR_BATCH_COLS) {
			wait_for_oldest(args.stages);
			__syncwarp(); // all lanes' parts of the stage are there, and the stage before is free
			requests.request_weights();
			requests.request_inputs();
			cp_async_commit();
			requests.advance();
			multiply_stage<TYPE>(sums, oldest, w_offset, x_offset);
			oldest = oldest + Requests::STAGE == stages + ring ? stages : oldest + Requests::STAGE;
		}
		join_segments<EPILOGUE>(args, sums, shared_sums, segments, part);
	}
}

template <int TYPE, int EPILOGUE>
__device__ inline void linear_batch(const LinearArgs &args)
{
	launch_dependents();
	if (args.tokens > 32)
		batch_product<TYPE, EPILOGUE, LINEAR_BATCH_ROW_TILES(64), LINEAR_BATCH_TOKEN_TILES(64)>(args);
	else
		batch_product<TYPE, EPILOGUE, LINEAR_BATCH_ROW_TILES(32), LINEAR_BATCH_TOKEN_TILES(32)>(args);
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
