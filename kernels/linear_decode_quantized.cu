// Matrix products of quantized weights for up to DECODE_TOKENS tokens.
//
// Tiles, segments and rings are those of linear_decode.cu, which phi3.cu includes first. Here the ring holds
// the packed bytes, and a warp unpacks them in registers, straight to the fragments that it multiplies. So
// each byte is read once. At 4 bits a weight the time of the instructions is near that of reading, so the
// main loop must have few. docs/cuda.md counts them.
#include "linear.cuh"
#include "quants_fragment.cuh"

namespace {

enum { QUANTIZED_RING = LINEAR_DECODE_RING(LINEAR_DECODE_STAGES) / K_SEGMENTS }; // bytes of a warp

// A warp's part of the ring. A stage is two steps of 16 rows, of which the first has an even number: the
// steps of a row group, those of another, then the groups' tails.
template <int BITS, bool TABLE>
struct QuantizedStages {
	using Q = Quants<BITS, TABLE>;
	enum {
		PIECE = 16,                                           // bytes of a request
		REQUESTS = (Q::MOST + 32 * PIECE - 1) / (32 * PIECE), // of a lane for a stage
		STAGE = REQUESTS * 32 * PIECE,
		GROUPS = 2 * Q::GROUPS, // of columns, in a stage
		ROOM = (QUANTIZED_RING - 16 * GROUPS * sizeof(GroupScale)) / STAGE,
		COUNT = ROOM < 8 ? ROOM : 8,
		LAST = (COUNT - 1) * STAGE,
	};
	static_assert(Q::FEWEST >= 32 * PIECE * (REQUESTS - 1), "only the last may be missing, or for a tail");
	static_assert(COUNT >= 3, "two stages in flight");
	unsigned char ring[COUNT * STAGE];
	GroupScale scales[16][GROUPS]; // of the stage that is being multiplied
};

// Requests a warp's weights, one stage at a time, in the order of their use: the stages of its segment of the
// block's first tile, then of its second tile, and so on.
template <int BITS, bool TABLE, int EPILOGUE>
struct QuantizedRing {
	using Stages = QuantizedStages<BITS, TABLE>;
	enum { REQUESTS = Stages::REQUESTS };
	const LinearArgs &args;
	const unsigned first, end; // stages of the segment
	int tile;                  // of the next request
	unsigned stage;            // the next request's
	int step_bytes, tail_bytes;
	uint32_t group_bytes; // of a row group
	size_t tile_bytes;    // from a tile to the block's next one
	// This lane's requests. Each brings PIECE bytes of stage s, from src + s·2·step_bytes. The last request
	// may be for a tail, which is that of two stages: from src + s/2·tail_bytes.
	const unsigned char *src[REQUESTS];
	bool second[REQUESTS];  // whether it is of the tile's second row group
	unsigned shift, stride; // of the last request: 0 and 2·step_bytes, or 1 and tail_bytes
	bool last;              // whether the lane has a last request
	NextWeights next;

	__device__ QuantizedRing(const LinearArgs &args, int first, int end)
		: args(args), first(first), end(end), tile(blockIdx.x), next(args)
	{
		const QuantLayout layout = quant_layout(args.type);
		step_bytes = layout.step_bytes;
		tail_bytes = layout.tail_bytes;
		const int steps = QUANT_STEPS(args.k), groups = (args.rows + QUANT_ROWS - 1) / QUANT_ROWS;
		group_bytes = steps * step_bytes + steps / 4 * tail_bytes;
		const size_t tile_groups = (size_t)group_bytes * (EPILOGUE == GATE_UP ? 1 : 2);
		const size_t to_second = EPILOGUE == GATE_UP ? (size_t)groups * group_bytes : group_bytes; // the ups
		tile_bytes = tile_groups * gridDim.x;
#pragma unroll
		for (int i = 0; i < REQUESTS; i++) {
			int at = (threadIdx.x % 32 + 32 * i) * Stages::PIECE;
			if (at < 4 * step_bytes) {
				second[i] = at >= 2 * step_bytes;
				at -= second[i] ? 2 * step_bytes : 0;
				shift = 0;
				stride = 2 * step_bytes;
				last = true;
			} else {
				at -= 4 * step_bytes;
				last = at < 2 * tail_bytes;
				second[i] = at >= tail_bytes;
				at += steps * step_bytes - (second[i] ? tail_bytes : 0);
				shift = 1;
				stride = tail_bytes;
			}
			src[i] = static_cast<const unsigned char *>(args.w) + tile * tile_groups + at +
			         (second[i] && has_second() ? to_second : 0);
		}
		stage = has_tile() ? first : end;
	}

	__device__ bool has_tile() const { return tile * (EPILOGUE == GATE_UP ? 8 : 16) < args.rows; }

	// Whether the tile has two row groups. Otherwise its first one is read twice; those sums are not used.
	__device__ bool has_second() const { return EPILOGUE == GATE_UP || tile * 16 + 8 < args.rows; }

	// Requests the next stage as one group of copies. After the last stage it prefetches the next product's
	// weights, and the group is empty.
	__device__ void request(unsigned char *dst)
	{
		if (stage < end) {
			dst += threadIdx.x % 32 * Stages::PIECE;
#pragma unroll
			for (int i = 0; i < REQUESTS; i++) {
				const bool common = i + 1 < REQUESTS;
				const size_t at =
					common ? (size_t)stage * (2 * step_bytes) : (size_t)(stage >> shift) * stride;
				cp_async_16(dst + i * 32 * Stages::PIECE, src[i] + at, common || last);
			}
			if (++stage == end) {
				tile += gridDim.x;
				stage = has_tile() ? first : end;
				const size_t to_second = tile_bytes - (has_second() ? 0 : group_bytes);
#pragma unroll
				for (int i = 0; i < REQUESTS; i++)
					src[i] += second[i] ? to_second : tile_bytes;
			}
		} else {
			next.prefetch();
		}
		cp_async_commit();
	}
};

// Decodes the scales of a stage for the whole warp: lanes 2r and 2r + 1 decode those of row r.
template <int BITS, bool TABLE>
struct ScaleDecoder {
	using Q = Quants<BITS, TABLE>;
	int scales, tail; // where the lane finds its codes of the first step, and its tail: bytes of the stage
	int step_bytes, type;

	__device__ ScaleDecoder(int type, int step_bytes, int tail_bytes) : step_bytes(step_bytes), type(type)
	{
		const int lane = threadIdx.x % 32, group = lane / 16, place = lane % 16;
		scales = group * 2 * step_bytes + Q::SCALES + place * scale_bytes(type);
		tail = 4 * step_bytes + group * tail_bytes + place / 2 * (tail_bytes / QUANT_ROWS);
	}

	__device__ void decode(QuantizedStages<BITS, TABLE> &stages, const unsigned char *stage) const
	{
		const int lane = threadIdx.x % 32;
		GroupScale decoded[2][Q::GROUPS / 2];
		decode_scales<BITS, TABLE>(decoded, stage + scales, step_bytes, stage + tail, type);
#pragma unroll
		for (int odd = 0; odd < 2; odd++)
#pragma unroll
			for (int i = 0; i < Q::GROUPS / 2; i++)
				stages.scales[lane / 2][odd * Q::GROUPS + lane % 2 * (Q::GROUPS / 2) + i] = decoded[odd][i];
	}
};

// Unpacks a step: w[j] becomes the A fragment of k16 tile j. The row groups are to_second bytes apart. scales
// are those of row 0; from one row to the next there are 2·GROUPS of them.
template <int BITS, bool TABLE, bool EXACT>
__device__ inline void unpack_step(uint32_t (&w)[4][4], const unsigned char *step, int to_second,
                                   const GroupScale *scales)
{
	enum { GROUPS = Quants<BITS, TABLE>::GROUPS };
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const int row = i * 8 + threadIdx.x % 32 / 4;
		const float4 *decoded = reinterpret_cast<const float4 *>(scales + row * 2 * GROUPS);
		GroupScale s[GROUPS];
#pragma unroll
		for (int n = 0; n < GROUPS / 2; n++) {
			const float4 v = decoded[n];
			s[2 * n].scale = v.x;
			s[2 * n].offset = v.y;
			s[2 * n + 1].scale = v.z;
			s[2 * n + 1].offset = v.w;
		}
		PackedRow<BITS, TABLE> packed;
		packed.load(step + i * to_second);
		const auto unpackable = look_up(packed);
#pragma unroll
		for (int p = 0; p < 8; p++)
			w[p / 2][p % 2 * 2 + i] = unpack_pair<EXACT>(unpackable, s[p * GROUPS / 8], p);
	}
}

// The inputs of a step, in mma's layout, as load_inputs gives them. k is a multiple of 32.
template <bool NORM>
struct StepInputs {
	const bf16_bits *x; // the tokens
	int first, end;     // this lane's first column, and where its row ends

	__device__ StepInputs(const LinearArgs &args, const bf16_bits *normed)
	{
		const int lane = threadIdx.x % 32;
		x = NORM ? normed : static_cast<const bf16_bits *>(args.x);
		const int token = min(NORM ? lane % 8 : lane / 4, args.tokens - 1);
		const int row = token * (NORM ? args.k + UNIT_COLS : args.k);
		first = row + (NORM ? lane / 8 * UNIT_COLS : lane % 4 * 2);
		end = row + args.k;
	}

	__device__ void load(uint32_t (&b)[4][1][2], int step) const
	{
		const int at = first + step * K_STEP;
		if constexpr (NORM) {
#pragma unroll
			for (int half = 0; half < 2; half++) {
				uint32_t r[4];
				ldmatrix_x4(r, x + (half == 0 ? at : min(at + 32, end))); // at end are zeros
				b[2 * half][0][0] = r[0];
				b[2 * half][0][1] = r[1];
				b[2 * half + 1][0][0] = r[2];
				b[2 * half + 1][0][1] = r[3];
			}
		} else {
			const uint32_t *pairs = reinterpret_cast<const uint32_t *>(x + at);
			const bool whole = at + 32 < end;
#pragma unroll
			for (int i = 0; i < 8; i++)
				b[i / 2][0][i % 2] = i < 4 || whole ? pairs[4 * i] : 0;
		}
	}
};

template <int BITS, bool TABLE, int EPILOGUE, bool NORM>
__device__ inline void quantized_decode(const LinearArgs &args)
{
	using Stages = QuantizedStages<BITS, TABLE>;
	DecodeSums &sm = *reinterpret_cast<DecodeSums *>(dynamic_shared());
	unsigned char *rings = reinterpret_cast<unsigned char *>(&sm + 1);
	bf16_bits *normed = reinterpret_cast<bf16_bits *>(rings + LINEAR_DECODE_RING(LINEAR_DECODE_STAGES));
	// The shuffle tells the compiler that all lanes of a warp have the same number.
	const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
	Stages &stages = *reinterpret_cast<Stages *>(rings + warp * QUANTIZED_RING);

	const int outputs = EPILOGUE == GATE_UP ? 8 : 16; // a tile's
	const int steps = k_steps(args.k), segment = segment_steps(args.k);
	const int segments = (steps + segment - 1) / segment;
	// The warp's steps, and the stages that have them: none for warps from number segments on.
	const int first = min(warp * segment, steps), end = min(first + segment, steps);
	const int first_stage = first / 2, end_stage = first < end ? (end + 1) / 2 : first_stage;

	QuantizedRing<BITS, TABLE, EPILOGUE> ring(args, first_stage, end_stage);
#pragma unroll 1
	for (int i = 0; i < Stages::COUNT - 1; i++)
		ring.request(stages.ring + i * Stages::STAGE); // the weights need not wait for the input
	wait_for_predecessor();
	if constexpr (NORM)
		norm_tokens(args, sm, normed);

	const StepInputs<NORM> inputs(args, normed);
	const int step_bytes = ring.step_bytes;
	const ScaleDecoder<BITS, TABLE> scales(args.type, step_bytes, ring.tail_bytes);
	int slot = Stages::LAST, turn = 0; // slot: the stage that is being multiplied, in bytes
	for (int tile = blockIdx.x; tile * outputs < args.rows; tile += gridDim.x) {
		float sum[1][4] = {};
#pragma unroll 1
		for (int s = first_stage; s < end_stage; s++) {
			cp_async_wait<Stages::COUNT - 2>(); // this lane's part of the next stage is there
			__syncwarp();                       // all lanes' parts are, and this stage is free
			ring.request(stages.ring + slot);
			slot = slot == Stages::LAST ? 0 : slot + Stages::STAGE;
			const unsigned char *stage = stages.ring + slot;
			scales.decode(stages, stage);
			__syncwarp(); // all scales are there
#pragma unroll(BITS == 4 && !TABLE ? 2 : 1)
			for (int odd = 0; odd < 2; odd++) {
				const int step = 2 * s + odd;
				if (step < first || step >= end)
					continue; // another warp's
				uint32_t x[4][1][2], w[4][4];
				inputs.load(x, step);
				const unsigned char *packed = stage + odd * step_bytes;
				const GroupScale *decoded = stages.scales[0] + odd * Quants<BITS, TABLE>::GROUPS;
				if (BITS == 8 && args.type == TYPE_Q8_K)
					unpack_step<BITS, TABLE, true>(w, packed, 2 * step_bytes, decoded);
				else
					unpack_step<BITS, TABLE, false>(w, packed, 2 * step_bytes, decoded);
#pragma unroll
				for (int j = 0; j < K_STEP / 16; j++)
					mma_weight<TYPE_BF16, 1>(sum, w[j], x[j]);
			}
		}

		if (warp < segments)
			sm.sums[turn][warp][lane] = make_float4(sum[0][0], sum[0][1], sum[0][2], sum[0][3]);
		__syncthreads();
		if (warp == 0) { // the other warps go on and write to the other sums next
			float total[4] = {};
			for (int i = 0; i < segments; i++) {
				const float4 part = sm.sums[turn][i][lane];
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

template <int EPILOGUE, bool NORM>
__device__ inline void quantized_decode(const LinearArgs &args)
{
	launch_dependents();
	switch (args.type) { // the same for all threads
	case TYPE_Q4_0:
	case TYPE_Q4_1:
	case TYPE_Q4_K:
		quantized_decode<4, false, EPILOGUE, NORM>(args);
		break;
	case TYPE_IQ4_NL:
	case TYPE_IQ4_XS:
		quantized_decode<4, true, EPILOGUE, NORM>(args);
		break;
	case TYPE_Q5_0:
	case TYPE_Q5_1:
	case TYPE_Q5_K:
		quantized_decode<5, false, EPILOGUE, NORM>(args);
		break;
	case TYPE_Q6_K:
		quantized_decode<6, false, EPILOGUE, NORM>(args);
		break;
	case TYPE_Q8_0:
	case TYPE_Q8_K:
		quantized_decode<8, false, EPILOGUE, NORM>(args);
		break;
	case TYPE_Q2_K:
		quantized_decode<2, false, EPILOGUE, NORM>(args);
		break;
	default: // TYPE_Q3_K
		quantized_decode<3, false, EPILOGUE, NORM>(args);
	}
}

} // namespace

#define QUANTIZED_KERNEL(NAME, EPILOGUE, NORM) \
	extern "C" __global__ void __launch_bounds__(LINEAR_DECODE_THREADS, 2) \
		NAME(KERNEL_ARGS(LinearArgs) args) \
	{ \
		quantized_decode<EPILOGUE, NORM>(args); \
	}

QUANTIZED_KERNEL(norm_linear_decode_quantized, STORE, true)
QUANTIZED_KERNEL(norm_gate_up_decode_quantized, GATE_UP, true)
QUANTIZED_KERNEL(linear_decode_quantized, STORE, false)
QUANTIZED_KERNEL(gate_up_decode_quantized, GATE_UP, false)
QUANTIZED_KERNEL(linear_add_decode_quantized, ADD, false)
