// Matrix products for many tokens. A block computes 128 weight rows by 128 tokens, in steps of K_STEP
// columns that pass through a ring in shared memory. Blocks that differ only in their tokens are
// neighbours in the grid, so that weights are read from DRAM once.
//
// A warp computes 32 tokens by 64 weight rows. This part is large because reading shared memory is the
// limit, and a large part reads less for each product. In a block with 32 tokens or fewer, a warp
// computes 32 tokens by 16 weight rows instead, so that short prompts use all warps.
#include "linear.cuh"

namespace {

enum {
	PREFILL_WARPS = LINEAR_PREFILL_THREADS / 32,
	WARP_TOKENS = 32, // of a warp's part of the block's tile
	TOKEN_TILES = WARP_TOKENS / 8,
	PREFILL_ROW_BYTES = LINEAR_PREFILL_ROWS * STEP_ROW,
	// Bytes: a step of the weight rows, then of the tokens.
	PREFILL_STAGE = PREFILL_ROW_BYTES + LINEAR_PREFILL_TOKENS * STEP_ROW,
	COPY_ROWS = LINEAR_PREFILL_THREADS / STEP_UNITS, // rows that the block copies at once
};
static_assert(PREFILL_WARPS * 16 == LINEAR_PREFILL_ROWS && 4 * WARP_TOKENS == LINEAR_PREFILL_TOKENS,
              "the warps divide the tile evenly");

// This thread's share of copying each step: one unit of every COPY_ROWS-th weight row and token. In a tile of
// gate_up, rows 16i … 16i+7 are gates and the next 8 are their ups.
template <int TYPE>
struct PrefillCopy {
	// The step's unit in this thread's first weight row (of weights of 16 bits) and in its first token.
	const bf16_bits *w, *x;
	int row, col;                  // of that unit in the weights
	int rows, tokens;              // how many of this thread's rows and tokens exist
	int row_distance;              // from one of its weight rows to the next
	size_t w_distance, x_distance; // from one weight row and token to the next, in elements
	int offset;                    // of the first row's unit in a stage

	// Requests the next step of the ring. Columns from k on, and rows that do not exist, become zeros.
	__device__ void request(const LinearArgs &args, unsigned char *stage)
	{
#pragma unroll(TYPE == TYPE_QUANTIZED ? 1 : LINEAR_PREFILL_ROWS / COPY_ROWS)
		for (int i = 0; i < LINEAR_PREFILL_ROWS / COPY_ROWS; i++) {
			unsigned char *dst = stage + offset + i * COPY_ROWS * STEP_ROW;
			const bool valid = i < rows && col < args.k;
			if constexpr (TYPE == TYPE_QUANTIZED)
				bring_weights<TYPE>(dst, args, row + i * row_distance, col, valid);
			else
				cp_async_16(dst, w + i * w_distance, valid);
		}
#pragma unroll
		for (int i = 0; i < LINEAR_PREFILL_TOKENS / COPY_ROWS; i++)
			cp_async_16(stage + PREFILL_ROW_BYTES + offset + i * COPY_ROWS * STEP_ROW, x + i * x_distance,
			            i < tokens && col < args.k);
		cp_async_commit();
		w += K_STEP;
		x += K_STEP;
		col += K_STEP;
	}
};

template <int TYPE, int EPILOGUE>
__device__ inline PrefillCopy<TYPE> prefill_copy(const LinearArgs &args, int first_output, int first_token)
{
	const int r = threadIdx.x / STEP_UNITS, unit = threadIdx.x % STEP_UNITS;
	const int token = first_token + r;
	int output = first_output + r, row = output, distance = COPY_ROWS;
	if (EPILOGUE == GATE_UP) {
		output = first_output + r / 16 * 8 + r % 8;
		row = r % 16 < 8 ? output : args.rows + output;
		distance = COPY_ROWS / 2;
	}
	PrefillCopy<TYPE> copy;
	copy.w = static_cast<const bf16_bits *>(args.w) + (size_t)row * args.k + unit * UNIT_COLS;
	copy.x = static_cast<const bf16_bits *>(args.x) + (size_t)token * args.k + unit * UNIT_COLS;
	copy.row = row;
	copy.col = unit * UNIT_COLS;
	copy.rows = output < args.rows ? (args.rows - output - 1) / distance + 1 : 0;
	copy.tokens = token < args.tokens ? (args.tokens - token - 1) / COPY_ROWS + 1 : 0;
	copy.row_distance = distance;
	copy.w_distance = (size_t)distance * args.k;
	copy.x_distance = (size_t)COPY_ROWS * args.k;
	copy.offset = unit_offset(r, unit);
	return copy;
}

// The operands of one k16 tile of a warp's part, in mma's layout.
template <int ROW_TILES>
struct Operands {
	uint32_t w[ROW_TILES][4];
	uint32_t x[TOKEN_TILES][2];

	// Loads k16 tile j of a stage. The offsets are those of this lane's rows in tile 0.
	__device__ void load(const unsigned char *stage, int w_offset, int x_offset, int j)
	{
#pragma unroll
		for (int m = 0; m < ROW_TILES; m++)
			ldmatrix_x4(w[m], stage + k16_offset(w_offset, j) + m * 16 * STEP_ROW);
#pragma unroll
		for (int n = 0; n < TOKEN_TILES; n += 2) {
			uint32_t r[4];
			ldmatrix_x4(r, stage + k16_offset(x_offset, j) + n * 8 * STEP_ROW);
			x[n][0] = r[0];
			x[n][1] = r[1];
			x[n + 1][0] = r[2];
			x[n + 1][1] = r[3];
		}
	}
};

// A warp's part has ROW_TILES tiles of 16 weight rows: 4 or 1.
template <int TYPE, int EPILOGUE, int ROW_TILES>
__device__ inline void prefill_tile(const LinearArgs &args)
{
	unsigned char *ring = dynamic_shared();
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	const int row_warps = PREFILL_WARPS / ROW_TILES; // neighbouring warps run on different tensor cores
	// Where the warp's part begins in the block's tile.
	const int row = warp % row_warps * ROW_TILES * 16, token = warp / row_warps * WARP_TOKENS;
	const int tile_outputs = EPILOGUE == GATE_UP ? 8 : 16;
	const int first_output = blockIdx.y * (LINEAR_PREFILL_ROWS / 16) * tile_outputs;
	const int first_token = blockIdx.x * LINEAR_PREFILL_TOKENS;
	// A warp that is not busy only copies.
	const bool busy = first_output + row / 16 * tile_outputs < args.rows && first_token + token < args.tokens;

	PrefillCopy<TYPE> copy = prefill_copy<TYPE, EPILOGUE>(args, first_output, first_token);
#pragma unroll(TYPE == TYPE_QUANTIZED ? 1 : LINEAR_PREFILL_STAGES)
	for (int i = 0; i < LINEAR_PREFILL_STAGES; i++)
		copy.request(args, ring + i * PREFILL_STAGE);

	const int w_offset = unit_offset(row + lane % 16, lane / 16);
	const int x_offset = PREFILL_ROW_BYTES + unit_offset(token + lane % 8 + lane / 16 * 8, lane / 8 % 2);
	const int steps = k_steps(args.k), segment = segment_steps(args.k);
	float sum[ROW_TILES][TOKEN_TILES][4] = {}, total[ROW_TILES][TOKEN_TILES][4] = {};
	Operands<ROW_TILES> operands[2];
	cp_async_wait<LINEAR_PREFILL_STAGES - 1>();
	__syncthreads();
	if (busy)
		operands[0].load(ring, w_offset, x_offset, 0);

	int slot = 0, left = segment; // left: steps of the segment
	for (int step = 0; step < steps; step++) {
		unsigned char *stage = ring + slot * PREFILL_STAGE;
		slot = slot + 1 == LINEAR_PREFILL_STAGES ? 0 : slot + 1;
#pragma unroll
		for (int j = 0; j < K_STEP / 16; j++) {
			// The operands of the next k16 tile are loaded while this one is multiplied.
			const unsigned char *next = stage;
			if (j + 1 == K_STEP / 16) {
				cp_async_wait<LINEAR_PREFILL_STAGES - 2>(); // this thread's part of the next stage is there
				__syncthreads(); // all threads' parts are there, and nobody reads this stage any more
				copy.request(args, stage);
				next = ring + slot * PREFILL_STAGE;
			}
			if (busy) {
				operands[(j + 1) % 2].load(next, w_offset, x_offset, (j + 1) % (K_STEP / 16));
#pragma unroll
				for (int m = 0; m < ROW_TILES; m++)
					mma_weight<TYPE, TOKEN_TILES>(sum[m], operands[j % 2].w[m], operands[j % 2].x);
			}
		}
		if (--left > 0 && step + 1 < steps)
			continue;
		left = segment;
#pragma unroll
		for (int m = 0; m < ROW_TILES; m++)
#pragma unroll
			for (int n = 0; n < TOKEN_TILES; n++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					total[m][n][i] += sum[m][n][i];
					sum[m][n][i] = 0;
				}
	}

#pragma unroll
	for (int m = 0; m < ROW_TILES; m++)
#pragma unroll
		for (int n = 0; n < TOKEN_TILES; n++)
			finish<EPILOGUE>(args, total[m][n], first_output + (row / 16 + m) * tile_outputs,
			                 first_token + token + n * 8);
}

template <int TYPE, int EPILOGUE>
__device__ inline void linear_prefill(const LinearArgs &args)
{
	if (args.tokens - blockIdx.x * LINEAR_PREFILL_TOKENS > WARP_TOKENS)
		prefill_tile<TYPE, EPILOGUE, 4>(args);
	else
		prefill_tile<TYPE, EPILOGUE, 1>(args);
}

} // namespace

#define PREFILL_KERNEL(NAME, TYPE, EPILOGUE) \
	extern "C" __global__ void __launch_bounds__(LINEAR_PREFILL_THREADS, 1) \
		NAME(KERNEL_ARGS(LinearArgs) args) \
	{ \
		linear_prefill<TYPE, EPILOGUE>(args); \
	}

PREFILL_KERNEL(linear_prefill_bf16, TYPE_BF16, STORE)
PREFILL_KERNEL(linear_prefill_f16, TYPE_F16, STORE)
PREFILL_KERNEL(linear_prefill_quantized, TYPE_QUANTIZED, STORE)
PREFILL_KERNEL(gate_up_prefill_bf16, TYPE_BF16, GATE_UP)
PREFILL_KERNEL(gate_up_prefill_f16, TYPE_F16, GATE_UP)
PREFILL_KERNEL(gate_up_prefill_quantized, TYPE_QUANTIZED, GATE_UP)
PREFILL_KERNEL(linear_add_prefill_bf16, TYPE_BF16, ADD)
PREFILL_KERNEL(linear_add_prefill_f16, TYPE_F16, ADD)
PREFILL_KERNEL(linear_add_prefill_quantized, TYPE_QUANTIZED, ADD)
