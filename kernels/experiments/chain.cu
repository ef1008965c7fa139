// What do the gaps between the decode products cost, and what closes them?
//
// The four products of a layer of Phi-3-mini run for one token and 32 layers. Each layer has weights of
// its own:
//
//   graph      phi3's own kernels in a graph, as the program runs them today
//   prefetch   the same, but a block that has requested its last weights prefetches its share of the
//              beginning of the next matrix into L2
//   pdl        programmatic dependent launch: a kernel fills its rings before the kernel before it has ended
//   pdl-96KB   the same with one block a multiprocessor and a ring of 96 KB, so that two kernels fit on a
//              multiprocessor together
//
// The figures are microseconds for all 32 layers, and GB/s of weights. What is missing to the read
// ceiling (read.cu) is lost between the kernels. If pdl-96KB comes near the ceiling, programmatic
// dependent launch is worth building in. If prefetch does too, prefetch is simpler and works on every
// GPU.
//
// The loop is that of ../linear_decode.cu, for bfloat16 weights, with a ring of any number of stages. It
// adds in the same order, and the host compares the bits.
#include "../linear.cuh"
#include "../rms_norm.cuh"
#include "experiment.cuh"

typedef struct {
	LinearArgs product;
	DEVICE(const void) next; // the next product's weights
	int32_t next_bytes;      // that each warp prefetches: a multiple of 16, 0 after the last product
} ChainArgs;

enum { CHAIN_WIDE_STAGES = 6 }; // of 16 KB: a ring of 96 KB

namespace {

template <int STAGES> struct ChainShared {
	unsigned char ring[K_SEGMENTS][STAGES][LINEAR_DECODE_TILE * STEP_ROW];
	union {
		float4 sums[2][K_SEGMENTS][32];
		float shares[NORM_WARPS];
	};
};

static_assert(sizeof(ChainShared<LINEAR_DECODE_STAGES>) == LINEAR_DECODE_SHARED, "what the host asks for");
static_assert(sizeof(ChainShared<CHAIN_WIDE_STAGES>) == (96 + 8) << 10, "what the host asks for");

// A warp's requests for weights, as in ../linear_decode.cu.
template <int EPILOGUE, int STAGES> struct ChainRing {
	const LinearArgs &args;
	unsigned char (&stages)[STAGES][LINEAR_DECODE_TILE * STEP_ROW];
	int first, end;
	int tile, tiles;
	int col;
	int slot;

	__device__ void request()
	{
		if (tile < tiles && first < end) {
			const int lane = threadIdx.x % 32, unit = lane % STEP_UNITS, c = col + unit * UNIT_COLS;
			const int outputs = EPILOGUE == GATE_UP ? 8 : 16;
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const int r = lane / STEP_UNITS + 4 * i, output = tile * outputs + r % outputs;
				const int row = EPILOGUE == GATE_UP && r >= 8 ? args.rows + output : output;
				cp_async_16(stages[slot] + unit_offset(r, unit),
				            static_cast<const bf16_bits *>(args.w) + (size_t)row * args.k + c,
				            output < args.rows && c < args.k);
			}
			col += K_STEP;
			if (col >= end) {
				col = first;
				tile += gridDim.x;
			}
		}
		cp_async_commit();
		slot = slot + 1 == STAGES ? 0 : slot + 1;
	}
};

// RMSNorm of the one token.
__device__ inline void chain_norm(const LinearArgs &args, float (&shares)[NORM_WARPS], bf16_bits *normed)
{
	const float *x = static_cast<const float *>(args.x);
	const float share = warp_square_sum(x, args.k);
	if (threadIdx.x % 32 == 0)
		shares[threadIdx.x / 32] = share;
	__syncthreads();
	const float scale = norm_scale(shares, args.k, args.eps);
	for (int i = threadIdx.x; i < args.k / 4; i += LINEAR_DECODE_THREADS)
		store4(normed, TYPE_BF16, i, args.k, normed4(x, args.norm, scale, i, args.k));
	if (threadIdx.x < UNIT_COLS)
		normed[args.k + threadIdx.x] = 0;
	__syncthreads();
}

// Loads the token's columns of one step. The tensor-core tile's columns for other tokens repeat it.
template <bool NORM>
__device__ inline void chain_inputs(uint32_t (&x)[4][1][2], const LinearArgs &args, const bf16_bits *normed,
                                    int col)
{
	const bf16_bits *row = NORM ? normed : static_cast<const bf16_bits *>(args.x);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		const int c = col + i * 8 + threadIdx.x % 4 * 2;
		x[i / 2][0][i % 2] = c < args.k ? *reinterpret_cast<const uint32_t *>(row + c) : 0;
	}
}

// Prefetches this warp's share of the beginning of the next matrix.
__device__ inline void prefetch_next(const ChainArgs &args)
{
	const unsigned char *from = static_cast<const unsigned char *>(args.next) +
	                            (size_t)(blockIdx.x * K_SEGMENTS + threadIdx.x / 32) * args.next_bytes;
#ifdef HAVE_PDL // the same GPUs have an instruction that prefetches many bytes
	if (threadIdx.x % 32 == 0 && args.next_bytes > 0)
		prefetch_l2(from, args.next_bytes);
#else
	for (int at = threadIdx.x % 32 * 128; at < args.next_bytes; at += 32 * 128)
		asm volatile("prefetch.global.L2 [%0];" ::"l"(from + at) : "memory");
#endif
}

template <int EPILOGUE, bool NORM, int STAGES, bool PDL, bool PREFETCH>
__device__ inline void chain_product(const ChainArgs &chain)
{
	const LinearArgs &args = chain.product;
	ChainShared<STAGES> &sm = *reinterpret_cast<ChainShared<STAGES> *>(dynamic_shared());
	bf16_bits *normed = reinterpret_cast<bf16_bits *>(&sm + 1);
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

	const int outputs = EPILOGUE == GATE_UP ? 8 : 16; // a tile's
	const int tiles = (args.rows + outputs - 1) / outputs;
	const int segment = segment_steps(args.k) * K_STEP, segments = (args.k + segment - 1) / segment;
	const int first = warp * segment, end = min(first + segment, args.k);

#ifdef HAVE_PDL
	if constexpr (PDL)
		launch_dependents();
#endif
	ChainRing<EPILOGUE, STAGES> ring = {args, sm.ring[warp], first, end, (int)blockIdx.x, tiles, first, 0};
	for (int i = 0; i < STAGES - 1; i++)
		ring.request(); // weights, which no kernel writes
#ifdef HAVE_PDL
	if constexpr (PDL)
		wait_for_predecessor(); // from here on memory that other kernels write or read may be used
#endif
	if constexpr (NORM)
		chain_norm(args, sm.shares, normed);

	uint32_t x[4][1][2];
	chain_inputs<NORM>(x, args, normed, first);
	const int a_offset = unit_offset(lane % 16, lane / 16);
	int slot = 0, turn = 0;
	bool prefetched = !PREFETCH;
	for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
		float sum[1][4] = {};
		for (int col = first; col < end; col += K_STEP) {
			cp_async_wait<STAGES - 2>();
			__syncwarp();
			ring.request();
			if (!prefetched && ring.tile >= tiles) {
				prefetch_next(chain);
				prefetched = true;
			}
			uint32_t ahead[4][1][2];
			chain_inputs<NORM>(ahead, args, normed, col + K_STEP < end ? col + K_STEP : first);
			const unsigned char *stage = ring.stages[slot];
			slot = slot + 1 == STAGES ? 0 : slot + 1;
#pragma unroll
			for (int j = 0; j < K_STEP / 16; j++) {
				uint32_t w[4];
				ldmatrix_x4(w, stage + k16_offset(a_offset, j));
				mma_weight<TYPE_BF16, 1>(sum, w, x[j]);
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
		if (warp == 0) {
			float total[4] = {};
			for (int s = 0; s < segments; s++) {
				const float4 part = sm.sums[turn][s][lane];
				total[0] += part.x;
				total[1] += part.y;
				total[2] += part.z;
				total[3] += part.w;
			}
			finish<EPILOGUE>(args, total, tile * outputs, 0);
		}
		turn ^= 1;
	}
}

} // namespace

#define CHAIN_KERNELS(NAME, STAGES, PDL, PREFETCH) \
	extern "C" __global__ void __launch_bounds__(LINEAR_DECODE_THREADS, 2) \
		chain_norm_linear_##NAME(KERNEL_ARGS(ChainArgs) args) \
	{ \
		chain_product<STORE, true, STAGES, PDL, PREFETCH>(args); \
	} \
	extern "C" __global__ void __launch_bounds__(LINEAR_DECODE_THREADS, 2) \
		chain_linear_add_##NAME(KERNEL_ARGS(ChainArgs) args) \
	{ \
		chain_product<ADD, false, STAGES, PDL, PREFETCH>(args); \
	} \
	extern "C" __global__ void __launch_bounds__(LINEAR_DECODE_THREADS, 2) \
		chain_norm_gate_up_##NAME(KERNEL_ARGS(ChainArgs) args) \
	{ \
		chain_product<GATE_UP, true, STAGES, PDL, PREFETCH>(args); \
	}

CHAIN_KERNELS(prefetch, LINEAR_DECODE_STAGES, false, true)
#ifdef HAVE_PDL
CHAIN_KERNELS(pdl, LINEAR_DECODE_STAGES, true, false)
CHAIN_KERNELS(pdl_96, CHAIN_WIDE_STAGES, true, false)
#endif
