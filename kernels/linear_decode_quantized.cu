// Matrix products of quantized weights for up to DECODE_TOKENS tokens.
//
// Segments and rings are those of linear_decode.cu, which phi3.cu includes first. Here the ring holds the
// packed bytes, and a warp unpacks them in registers, straight to the fragments that it multiplies. So each
// byte is read once. At 4 bits a weight the time of the instructions is near that of reading, so the main
// loop must have few. docs/cuda.md counts them.
//
// For the same reason the multiprocessors must have equally much to unpack. So the blocks share row groups of
// 8 rows, not tiles of 16: block b of n takes groups b, b + n, b + 2n, …, in pairs, which are its tiles. Its
// last tile may have one group, and then takes less time. In gate_up a group of gates and that of their ups
// are a tile.
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

// A block's tiles, one after another. group is the first row group of a tile, or in gate_up that of its
// gates.
template <int EPILOGUE>
struct QuantizedTiles {
	const int groups; // of outputs
	int group = blockIdx.x;

	__device__ explicit QuantizedTiles(int rows) : groups((rows + QUANT_ROWS - 1) / QUANT_ROWS) {}
	__device__ bool has_tile() const { return group < groups; }
	__device__ bool has_second() const { return EPILOGUE == GATE_UP || group + (int)gridDim.x < groups; }
	// Row groups from a tile's first to its second, and to the first of the next tile.
	__device__ int to_second() const { return EPILOGUE == GATE_UP ? groups : (int)gridDim.x; }
	__device__ int to_next() const { return EPILOGUE == GATE_UP ? gridDim.x : 2 * gridDim.x; }
};

// Requests a warp's weights, one stage at a time, in the order of their use: the stages of its segment of the
// block's first tile, then of its second tile, and so on.
template <int BITS, bool TABLE, int EPILOGUE>
struct QuantizedRing {
	using Stages = QuantizedStages<BITS, TABLE>;
	enum { REQUESTS = Stages::REQUESTS, LAST = REQUESTS - 1 };
	QuantizedTiles<EPILOGUE> tiles; // the next request's
	int step_bytes, tail_bytes;
	// This lane's requests. Each brings PIECE bytes of two steps. The last may be for a tail, which is that
	// of two stages. If nothing is left for it, it brings the stage's last piece again, to another place.
	const unsigned char *src[REQUESTS]; // of the tile's first stage
	bool second[REQUESTS];              // whether it is of the tile's second row group
	// From the first stage to the next request, and to the end of the segment: bytes. After the block's last
	// tile end is 0, and at is 1 until the next product's weights are prefetched.
	unsigned at, end;
	unsigned last_at, advance, flip; // The last request's; advance is to the next stage, then advance ^ flip.
	unsigned first_advance;
	size_t to_second, to_next; // from a tile's first row group to its second, and to the next tile
	const NextWeights next;

	// first and end_stage are the stages of the segment.
	__device__ QuantizedRing(const LinearArgs &args, int first, int end_stage)
		: tiles(args.rows), last_at(0), next(args)
	{
		const QuantLayout layout = quant_layout(args.type);
		step_bytes = layout.step_bytes;
		tail_bytes = layout.tail_bytes;
		const int steps = QUANT_STEPS(args.k), stage_bytes = 2 * step_bytes;
		const size_t group_bytes = steps * step_bytes + steps / 4 * tail_bytes;
		to_second = group_bytes * tiles.to_second();
		to_next = group_bytes * tiles.to_next();
#pragma unroll
		for (int i = 0; i < REQUESTS; i++) {
			int from = (threadIdx.x % 32 + 32 * i) * Stages::PIECE;
			from = min(from, 2 * (stage_bytes + tail_bytes) - Stages::PIECE);
			if (from < 2 * stage_bytes) {
				second[i] = from >= stage_bytes;
				from += first * stage_bytes - (second[i] ? stage_bytes : 0);
				first_advance = stage_bytes;
				flip = 0;
			} else {
				from -= 2 * stage_bytes;
				second[i] = from >= tail_bytes;
				from += steps * step_bytes + first / 2 * tail_bytes - (second[i] ? tail_bytes : 0);
				first_advance = first % 2 * tail_bytes;
				flip = tail_bytes;
			}
			src[i] = static_cast<const unsigned char *>(args.w) + from + group_bytes * tiles.group +
			         (second[i] && tiles.has_second() ? to_second : 0);
		}
		advance = first_advance;
		end = tiles.has_tile() ? (end_stage - first) * stage_bytes : 0;
		at = end == 0;
	}

	// Requests the next stage as one group of copies. After the last stage it prefetches the next product's
	// weights, and the group is empty. Where a tile has no second row group, its first one comes twice.
	__device__ void request(unsigned char *dst)
	{
		if (at < end) {
			dst += threadIdx.x % 32 * Stages::PIECE;
#pragma unroll
			for (int i = 0; i < REQUESTS; i++)
				cp_async_16(dst + i * 32 * Stages::PIECE, src[i] + (i < LAST ? at : last_at), true);
			at += 2 * step_bytes;
			last_at += advance;
			advance ^= flip;
			if (at == end)
				next_tile();
		} else if (at == 1) {
			next.prefetch();
			at = 0;
		}
		cp_async_commit();
	}

	__device__ void next_tile()
	{
		__syncwarp(); // keeps this a branch: ptxas would otherwise predicate these instructions
		tiles.group += tiles.to_next();
		last_at = 0;
		advance = first_advance;
#pragma unroll
		for (int i = 0; i < REQUESTS; i++)
			src[i] += to_next - (second[i] && !tiles.has_second() ? to_second : 0);
		at = !tiles.has_tile();
		end = at == 1 ? 0 : end;
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

// Unpacks a step of ROW_GROUPS row groups, which are to_second bytes apart: w[j] becomes the A fragment of
// k16 tile j. The rows of a second group that does not exist are zero. low and high are this lane's bytes of
// the step's planes. scales are those of row 0; from one row to the next there are 2·GROUPS of them.
template <int ROW_GROUPS, int BITS, bool TABLE, bool EXACT>
__device__ inline void unpack_step(uint32_t (&w)[4][4], const unsigned char *low,
                                   const unsigned char *high, int to_second, const GroupScale *scales)
{
	enum { GROUPS = Quants<BITS, TABLE>::GROUPS };
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (i == ROW_GROUPS) {
#pragma unroll
			for (int j = 0; j < 4; j++)
				w[j][1] = w[j][3] = 0;
			break;
		}
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
		packed.load(low + i * to_second, high + i * to_second);
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

	// Loads those of a step. at is first + the step's first column.
	__device__ void load(uint32_t (&b)[4][1][2], int at) const
	{
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

// A warp, which multiplies its segment of each of the block's tiles.
template <int BITS, bool TABLE, int EPILOGUE, bool NORM>
struct QuantizedWarp {
	using Stages = QuantizedStages<BITS, TABLE>;
	using Packed = PackedRow<BITS, TABLE>;
	Stages &stages;
	QuantizedRing<BITS, TABLE, EPILOGUE> &ring;
	const StepInputs<NORM> inputs;
	const ScaleDecoder<BITS, TABLE> scales;
	const int first, end; // the segment's steps
	const int stages_end; // of the stages that have them
	const bool exact;     // how to unpack: see unpack_pair
	int slot;             // the stage that was multiplied last: bytes

	// Adds the products of the segment of a tile with this many row groups.
	template <int ROW_GROUPS>
	__device__ void multiply(float (&sum)[1][4])
	{
		const int step_bytes = ring.step_bytes, lane = threadIdx.x % 32;
#pragma unroll 1
		for (int s = first / 2; s < stages_end; s++) {
			cp_async_wait<Stages::COUNT - 2>(); // this lane's part of the next stage is there
			__syncwarp();                       // all lanes' parts are, and the last stage is free
			ring.request(stages.ring + slot);
			slot = slot == Stages::LAST ? 0 : slot + Stages::STAGE;
			const unsigned char *stage = stages.ring + slot;
			// This lane's bytes of the planes.
			const unsigned char *low = stages.ring + lane * Packed::LOW + slot;
			const unsigned char *high = stages.ring + Packed::high_begin(lane) + slot;
			const int at = inputs.first + s * 2 * K_STEP;
			scales.decode(stages, stage);
			__syncwarp(); // all scales are there
#pragma unroll(BITS == 4 && !TABLE ? 2 : 1)
			for (int odd = 0; odd < 2; odd++) {
				const int step = 2 * s + odd;
				if (odd == 0 ? step < first : step >= end)
					continue; // another warp's
				uint32_t x[4][1][2], w[4][4];
				inputs.load(x, at + odd * K_STEP);
				const int skip = odd * step_bytes, to_second = 2 * step_bytes;
				const GroupScale *decoded = stages.scales[0] + odd * Quants<BITS, TABLE>::GROUPS;
				if (BITS == 8 && exact)
					unpack_step<ROW_GROUPS, BITS, TABLE, true>(w, low + skip, high + skip, to_second,
					                                           decoded);
				else
					unpack_step<ROW_GROUPS, BITS, TABLE, false>(w, low + skip, high + skip, to_second,
					                                            decoded);
#pragma unroll
				for (int j = 0; j < K_STEP / 16; j++)
					mma_weight<TYPE_BF16, 1>(sum, w[j], x[j]);
			}
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

	QuantizedWarp<BITS, TABLE, EPILOGUE, NORM> own = {
		stages, ring, StepInputs<NORM>(args, normed),
		ScaleDecoder<BITS, TABLE>(args.type, ring.step_bytes, ring.tail_bytes), first, end, end_stage,
		args.type == TYPE_Q8_K, Stages::LAST};
	int turn = 0;
	for (QuantizedTiles<EPILOGUE> tiles(args.rows); tiles.has_tile(); tiles.group += tiles.to_next()) {
		float sum[1][4] = {};
		if (tiles.has_second())
			own.template multiply<2>(sum);
		else
			own.template multiply<1>(sum);

		if (warp < segments)
			sm.sums[turn][warp][lane] = make_float4(sum[0][0], sum[0][1], sum[0][2], sum[0][3]);
		__syncthreads();
		if (warp == 0) { // the other warps go on and write to the other sums next
			float total[4] = {};
			add_segments(total, &sm.sums[turn][0][lane], 32, segments);
			finish<EPILOGUE>(args, total, tiles.group * QUANT_ROWS, 0, tiles.to_second() * QUANT_ROWS);
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
