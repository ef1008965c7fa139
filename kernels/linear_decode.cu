// Matrix products for up to DECODE_TOKENS tokens. Each weight is read once, and the time is that of reading.
//
// A block processes a tile of 16 weight rows at once, and warp w its segment w of K. The warps run
// independently. Each has a ring of stages in shared memory, which cp.async fills; a stage is one step of the
// warp's segment. The ring runs ahead of the sums into the block's next tile, so that requests are always in
// flight, from before the input is read until the last tile. After its last request a warp prefetches its
// share of the next product's weights.
#include "linear.cuh"
#include "rms_norm.cuh"

namespace {

enum { DECODE_STAGE = LINEAR_DECODE_TILE * STEP_ROW }; // bytes
static_assert(LINEAR_DECODE_THREADS == 32 * K_SEGMENTS, "a warp a segment");
static_assert(LINEAR_DECODE_THREADS == 32 * NORM_WARPS, "RMSNorm's order of operations");
static_assert(LINEAR_DECODE_TILE == 16 && DECODE_TOKENS == 8, "the tensor-core tile");

// The beginning of the dynamic shared memory. The rings of the warps follow, and then the normed tokens. No
// shared memory is static, so that the host knows what a block needs.
union DecodeSums {
	float4 sums[2][K_SEGMENTS][32]; // of a tile's segments, in mma's layout; tiles use the two in turn
	// Before the first tile: each warp's share of the tokens' sums of squares.
	float shares[DECODE_TOKENS][NORM_WARPS];
};
static_assert(sizeof(DecodeSums) == LINEAR_DECODE_SUMS, "what the host asks for");

// Requests a warp's weights, one stage at a time, in the order of their use: the steps of its segment of the
// block's first tile, then of its second tile, and so on.
template <int TYPE, int EPILOGUE>
struct WeightRing {
	const LinearArgs &args;
	unsigned char *stages;
	int first, end;  // the warp's columns
	int tile, tiles; // the next request's
	int col;
	int slot;
	NextWeights next;

	// Requests the next stage as one group of copies. After the last stage it prefetches the next product's
	// weights, and the group is empty.
	__device__ void request()
	{
		if (tile < tiles && first < end) {
			const int lane = threadIdx.x % 32, unit = lane % STEP_UNITS, c = col + unit * UNIT_COLS;
			const int outputs = EPILOGUE == GATE_UP ? 8 : 16; // a tile's
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const int r = lane / STEP_UNITS + 4 * i, output = tile * outputs + r % outputs;
				const int row = EPILOGUE == GATE_UP && r >= 8 ? args.rows + output : output;
				bring_weights<TYPE>(stages + slot * DECODE_STAGE + unit_offset(r, unit), args, row, c,
				                    output < args.rows && c < args.k);
			}
			col += K_STEP;
			if (col >= end) {
				col = first;
				tile += gridDim.x;
			}
		} else {
			next.prefetch_once();
		}
		cp_async_commit();
		slot = slot + 1 == args.stages ? 0 : slot + 1;
	}

	// Waits until this lane's part of the oldest stage is there, the first of stages - 1 groups in flight.
	__device__ void wait() const
	{
		if (args.stages == LINEAR_DECODE_WIDE_STAGES)
			cp_async_wait<LINEAR_DECODE_WIDE_STAGES - 2>();
		else
			cp_async_wait<LINEAR_DECODE_STAGES - 2>();
	}
};

// Normalizes x, once for each block: bfloat16 [tokens, k + 8] in shared memory, where the last 8 columns
// are 0.
__device__ inline void norm_tokens(const LinearArgs &args, DecodeSums &sm, bf16_bits *normed)
{
	const float *x = static_cast<const float *>(args.x);
	for (int t = 0; t < args.tokens; t++) {
		const float share = warp_square_sum(x + (size_t)t * args.k, args.k);
		if (threadIdx.x % 32 == 0)
			sm.shares[t][threadIdx.x / 32] = share;
	}
	__syncthreads();
	for (int t = 0; t < args.tokens; t++) {
		const float scale = norm_scale(sm.shares[t], args.k, args.eps);
		bf16_bits *row = normed + t * (args.k + UNIT_COLS);
#pragma unroll 4
		for (int i = threadIdx.x; i < args.k / 4; i += LINEAR_DECODE_THREADS)
			store4(row, TYPE_BF16, i, args.k, normed4(x + (size_t)t * args.k, args.norm, scale, i, args.k));
		if (threadIdx.x < UNIT_COLS)
			row[args.k + threadIdx.x] = 0;
	}
	__syncthreads();
}

// Loads the inputs of one step, from column col on, in mma's layout: the 4 k16 tiles of up to 8 tokens.
// Columns of the tile beyond the tokens repeat the last token; their sums are not used.
template <bool NORM>
__device__ inline void load_inputs(uint32_t (&x)[4][1][2], const LinearArgs &args, const bf16_bits *normed,
                                   int col)
{
	const int lane = threadIdx.x % 32;
	if constexpr (NORM) {
		const bf16_bits *row = normed + min(lane % 8, args.tokens - 1) * (args.k + UNIT_COLS);
#pragma unroll
		for (int half = 0; half < 2; half++) {
			uint32_t r[4];
			ldmatrix_x4(r, row + min(col + half * 32 + lane / 8 * UNIT_COLS, args.k)); // from k on, the zeros
			x[2 * half][0][0] = r[0];
			x[2 * half][0][1] = r[1];
			x[2 * half + 1][0][0] = r[2];
			x[2 * half + 1][0][1] = r[3];
		}
	} else {
		const bf16_bits *row =
			static_cast<const bf16_bits *>(args.x) + (size_t)min(lane / 4, args.tokens - 1) * args.k;
#pragma unroll
		for (int i = 0; i < 8; i++) {
			const int c = col + i * 8 + lane % 4 * 2;
			x[i / 2][0][i % 2] = c < args.k ? *reinterpret_cast<const uint32_t *>(row + c) : 0;
		}
	}
}

template <int TYPE, int EPILOGUE, bool NORM>
__device__ inline void linear_decode(const LinearArgs &args)
{
	DecodeSums &sm = *reinterpret_cast<DecodeSums *>(dynamic_shared());
	unsigned char *rings = reinterpret_cast<unsigned char *>(&sm + 1);
	bf16_bits *normed = reinterpret_cast<bf16_bits *>(rings + LINEAR_DECODE_RING(args.stages));
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

	const int outputs = EPILOGUE == GATE_UP ? 8 : 16; // a tile's
	const int tiles = (args.rows + outputs - 1) / outputs;
	const int segment = segment_steps(args.k) * K_STEP, segments = (args.k + segment - 1) / segment;
	// The warp's columns: none for warps from number segments on.
	const int first = warp * segment, end = min(first + segment, args.k);

	launch_dependents(); // the next kernel fills its rings while this one ends
	WeightRing<TYPE, EPILOGUE> ring = {
		args, rings + warp * args.stages * DECODE_STAGE, first, end, (int)blockIdx.x, tiles, first, 0,
		NextWeights(args)};
#pragma unroll 1
	for (int i = 0; i < args.stages - 1; i++)
		ring.request(); // weights, which no kernel writes
	wait_for_predecessor(); // from here on the memory of other kernels may be read and written
	if constexpr (NORM)
		norm_tokens(args, sm, normed);

	uint32_t x[4][1][2];
	load_inputs<NORM>(x, args, normed, first);
	const int a_offset = unit_offset(lane % 16, lane / 16);
	int slot = 0, turn = 0;
	for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
		float sum[1][4] = {};
		for (int col = first; col < end; col += K_STEP) {
			ring.wait();  // this lane's part of the oldest stage is there
			__syncwarp(); // all lanes' parts are, and the stage before is free
			ring.request();
			uint32_t ahead[4][1][2];
			load_inputs<NORM>(ahead, args, normed, col + K_STEP < end ? col + K_STEP : first);
			const unsigned char *stage = ring.stages + slot * DECODE_STAGE;
			slot = slot + 1 == args.stages ? 0 : slot + 1;
#pragma unroll
			for (int j = 0; j < K_STEP / 16; j++) {
				uint32_t w[4];
				ldmatrix_x4(w, stage + k16_offset(a_offset, j));
				mma_weight<TYPE, 1>(sum, w, x[j]);
			}
#pragma unroll
			for (int j = 0; j < K_STEP / 16; j++) {
				x[j][0][0] = ahead[j][0][0];
				x[j][0][1] = ahead[j][0][1];
			}
		}

		if (warp < segments)
			sm.sums[turn][warp][lane] = make_float4(sum[0][0], sum[0][1], sum[0][2], sum[0][3]);
		__syncthreads();
		if (warp == 0) { // the other warps go on and write to the other sums next
			float total[4] = {};
			add_segments(total, &sm.sums[turn][0][lane], 32, segments);
			finish<EPILOGUE>(args, total, tile * outputs, 0);
		}
		turn ^= 1;
	}
}

} // namespace

#define DECODE_KERNEL(NAME, TYPE, EPILOGUE, NORM) \
	extern "C" __global__ void __launch_bounds__(LINEAR_DECODE_THREADS, 2) \
		NAME(KERNEL_ARGS(LinearArgs) args) \
	{ \
		linear_decode<TYPE, EPILOGUE, NORM>(args); \
	}

DECODE_KERNEL(norm_linear_decode_bf16, TYPE_BF16, STORE, true)
DECODE_KERNEL(norm_linear_decode_f16, TYPE_F16, STORE, true)
DECODE_KERNEL(norm_gate_up_decode_bf16, TYPE_BF16, GATE_UP, true)
DECODE_KERNEL(norm_gate_up_decode_f16, TYPE_F16, GATE_UP, true)
DECODE_KERNEL(linear_decode_bf16, TYPE_BF16, STORE, false)
DECODE_KERNEL(linear_decode_f16, TYPE_F16, STORE, false)
DECODE_KERNEL(gate_up_decode_bf16, TYPE_BF16, GATE_UP, false)
DECODE_KERNEL(gate_up_decode_f16, TYPE_F16, GATE_UP, false)
DECODE_KERNEL(linear_add_decode_bf16, TYPE_BF16, ADD, false)
DECODE_KERNEL(linear_add_decode_f16, TYPE_F16, ADD, false)
