// Unpacks quantized weights in registers, from the layout of quants_layout.h straight to the A fragments of
// mma_bf16. The values have the bits of weight.Unpack, with two exceptions: a zero has no sign, and an
// infinite scale gives NaN.
//
// The two weights of a pair are 16 bits apart in a word. A mask makes of them two float16 numbers without an
// exponent, which are q·2⁻²⁴. Both convert to float32 exactly, and one fused multiply-add by scale·2²⁴
// subtracts the minimum or scale·zero, which are exact. Only this operation rounds, as in weight.Unpack,
// where scale·q has at most 24 bits.
#pragma once
#include "args.h"
#include "gpu.h"
#include "quants_layout.h"

namespace {
using namespace gpu;

// What the types that share code have in common. BITS counts those of a weight. The weights of a TABLE are
// replaced by the values of a table.
template <int BITS, bool TABLE>
struct Quants;
#define QUANTS(BITS, TABLE, TYPE, GROUPS_OF_STEP, LONGEST, SHORTEST) \
	template <> \
	struct Quants<BITS, TABLE> { \
		enum { \
			HIGH = TYPE##_HIGH, /* planes of a step */ \
			SCALES = TYPE##_SCALES, \
			GROUPS = GROUPS_OF_STEP, /* of columns with a common scale, in a step */ \
			/* Bytes of two steps of two row groups: the most, with the tails, and the fewest, without. */ \
			MOST = 4 * LONGEST##_STEP_BYTES + 2 * LONGEST##_TAIL_BYTES, \
			FEWEST = 4 * SHORTEST##_STEP_BYTES, \
		}; \
	};
QUANTS(2, false, Q2_K, 4, Q2_K, Q2_K)
QUANTS(3, false, Q3_K, 4, Q3_K, Q3_K)
QUANTS(4, false, Q4_K, 2, Q4_1, Q4_0)
QUANTS(4, true, IQ4_NL, 2, IQ4_NL, IQ4_XS)
QUANTS(5, false, Q5_K, 2, Q5_1, Q5_0)
QUANTS(6, false, Q6_K, 4, Q6_K, Q6_K)
QUANTS(8, false, Q8_0, 2, Q8_0, Q8_K)
#undef QUANTS

// A scale of a row, as the multiply-add needs it: scale·2²⁴, and -minimum or -scale·zero.
struct GroupScale {
	float scale, offset;
};

// A lane's weights of a step of a row.
template <int BITS, bool TABLE>
struct PackedRow {
	enum { LOW = BITS == 8 ? 16 : BITS < 4 ? 4 : 8 }; // bytes of the low plane
	uint32_t low[LOW / 4];
	uint32_t high;

	// Where a lane's word of the high plane begins, in bytes of a step. Two lanes share a word of a plane of
	// 1 bit.
	__device__ static int high_begin(int lane)
	{
		return Quants<BITS, TABLE>::HIGH + 4 * (BITS == 6 ? lane : lane / 2);
	}

	// Loads a lane's bytes of the low plane, and its word of the high plane, if there is one.
	__device__ void load(const unsigned char *low_plane, const unsigned char *high_plane)
	{
		if constexpr (BITS == 8) {
			const uint4 v = *reinterpret_cast<const uint4 *>(low_plane);
			low[0] = v.x, low[1] = v.y, low[2] = v.z, low[3] = v.w;
		} else if constexpr (BITS >= 4) {
			const uint2 v = *reinterpret_cast<const uint2 *>(low_plane);
			low[0] = v.x, low[1] = v.y;
		} else {
			low[0] = *reinterpret_cast<const uint32_t *>(low_plane);
		}
		if constexpr (BITS == 3 || BITS == 5 || BITS == 6)
			high = *reinterpret_cast<const uint32_t *>(high_plane);
		if constexpr (BITS == 3 || BITS == 5)
			high >>= threadIdx.x % 2 * 4;
	}
};

// bits of x from bit `from` on, moved to bit `to`, in both halves of a word.
__device__ inline uint32_t move_bits(uint32_t x, uint32_t bits, int from, int to)
{
	return (to > from ? x << (to - from) : x >> (from - to)) & (bits << to) * 0x00010001;
}

// Pair p of a row: q·STEP of its two weights, in the halves of a word. Where weights of 4 bits lie at an odd
// place, they stay there, and STEP is 16.
template <int BITS>
__device__ inline uint32_t packed_pair(const PackedRow<BITS, false> &row, int p)
{
	const int w = p / 4, byte = p % 4 / 2, set = 2 * w + p % 2; // as quants_layout.h numbers them
	const int to = p % 2 * 4;
	if constexpr (BITS == 8)
		return move_bits(row.low[set], 255, 8 * byte, 0);
	if constexpr (BITS == 4)
		return move_bits(row.low[w], 15, 8 * byte + to, to);
	if constexpr (BITS == 5)
		return move_bits(row.low[w], 15, 8 * byte + to, to) |
		       move_bits(row.high, 1, 8 * byte + set, to + 4);
	if constexpr (BITS == 6)
		return move_bits(row.low[w], 15, 8 * byte + to, to) |
		       move_bits(row.high, 3, 8 * byte + 2 * set, to + 4);
	uint32_t pair = move_bits(row.low[0], 3, 8 * byte + 2 * set, 0);
	if constexpr (BITS == 3)
		pair |= move_bits(row.high, 1, 8 * byte + set, 2);
	return pair;
}

// Looks 4 numbers of 4 bits up in the table of TYPE_IQ4_NL and TYPE_IQ4_XS, whose values are stored as
// value + 128: a byte each, the first lowest. Bits 0 … 2 of each 4 bits of number choose a byte of each half
// of the table, and those of half choose one of the two.
__device__ inline uint32_t iq4_bytes(uint32_t number, uint32_t half)
{
	const uint32_t first = __byte_perm(0x3f2d1801, 0x766a5d4f, number);
	const uint32_t last = __byte_perm(0xa6998d81, 0xf1d9c5b5, number);
	return __byte_perm(first, last, half);
}

// Replaces weights that are numbers in the table by the table's values.
template <int BITS>
__device__ inline const PackedRow<BITS, false> &look_up(const PackedRow<BITS, false> &row)
{
	return row;
}
__device__ inline PackedRow<8, false> look_up(const PackedRow<4, true> &row)
{
	PackedRow<8, false> wide;
#pragma unroll
	for (int w = 0; w < 2; w++) {
		const uint32_t number = row.low[w] & 0x77777777, half = (row.low[w] >> 1 & 0x44444444) | 0x32103210;
		// Bytes p: the first and the second weights of the word's 4 pairs.
		const uint32_t even = iq4_bytes(number, half), odd = iq4_bytes(number >> 16, half >> 16);
		wide.low[2 * w] = __byte_perm(even, odd, 0x6420);
		wide.low[2 * w + 1] = __byte_perm(even, odd, 0x7531);
	}
	return wide;
}

// The bfloat16 weights of pair p of a row, the one of the lower column in the lower half. In types with a
// float32 scale, scale·q may round, and scale·2²⁴ be infinite: EXACT subtracts zero first.
template <bool EXACT, int BITS>
__device__ inline uint32_t unpack_pair(const PackedRow<BITS, false> &row, GroupScale s, int p)
{
	const uint32_t pair = packed_pair(row, p);
	const float even = half_to_float(pair & 0xffff), odd = half_to_float(pair >> 16); // q·2⁻²⁴·STEP
	if constexpr (EXACT)
		return pack_bf16(s.scale * fmaf(even, 0x1p24f, -128.0f), s.scale * fmaf(odd, 0x1p24f, -128.0f));
	const float scale = BITS >= 4 && BITS <= 6 && p % 2 == 1 ? s.scale * 0x1p-4f : s.scale;
	return pack_bf16(fmaf(even, scale, s.offset), fmaf(odd, scale, s.offset));
}

// An integer below 256 as float32, times 2²⁴ or negated. Adding it to the lowest bits of a power of two takes
// less time than converting it.
__device__ inline float code_2_24(uint32_t code) { return __uint_as_float(0x57000000 | code) - 0x1p47f; }
__device__ inline float minus_code(uint32_t code) { return 0x1p23f - __uint_as_float(0x4b000000 | code); }

__device__ inline uint32_t load_u16(const unsigned char *p) { return *reinterpret_cast<const uint16_t *>(p); }
__device__ inline uint32_t load_u32(const unsigned char *p) { return *reinterpret_cast<const uint32_t *>(p); }

// Bytes of the scales of a half of a row's step: those of one group of 32 columns, or of two groups of 16.
__device__ inline int scale_bytes(int type)
{
	return type == TYPE_Q4_1 || type == TYPE_Q5_1 ? 4 : type == TYPE_IQ4_XS ? 1 : 2;
}

// Decodes a half of a row's scales of two steps, at scales and step_bytes behind. tail is the row's.
template <int BITS, bool TABLE>
__device__ inline void decode_scales(GroupScale (&out)[2][Quants<BITS, TABLE>::GROUPS / 2],
                                     const unsigned char *scales, int step_bytes, const unsigned char *tail,
                                     int type)
{
	// For types without a minimum. Signed codes are stored as code + 128.
	const float ZERO = -0x1p-24f * (BITS == 3 ? Q3_K_ZERO : BITS == 4 && !TABLE ? Q4_0_ZERO :
		BITS == 5 ? Q5_0_ZERO : BITS == 6 ? Q6_K_ZERO : 128);
	const float SIGNED = 0x1p31f;
	if constexpr (BITS == 2) {
		const uint32_t d = load_u32(tail);
		const float scale = half_to_float(d & 0xffff), minimum = half_to_float(d >> 16);
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const uint32_t codes = load_u16(scales + odd * step_bytes);
#pragma unroll
			for (int i = 0; i < 2; i++)
				out[odd][i] = {scale * code_2_24(codes >> 8 * i & 15),
				               minimum * minus_code(codes >> (8 * i + 4) & 15)};
		}
	} else if constexpr (BITS == 3 || BITS == 6) {
		const float d = half_to_float(load_u16(tail));
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const uint32_t codes = load_u16(scales + odd * step_bytes);
#pragma unroll
			for (int i = 0; i < 2; i++) {
				const float scale = d * (code_2_24(codes >> 8 * i & 255) - SIGNED);
				out[odd][i] = {scale, scale * ZERO};
			}
		}
	} else if ((BITS == 4 || BITS == 5) && !TABLE && (type == TYPE_Q4_K || type == TYPE_Q5_K)) {
		const uint32_t d = load_u32(tail);
		const float scale = half_to_float(d & 0xffff), minimum = half_to_float(d >> 16);
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const uint32_t codes = load_u16(scales + odd * step_bytes);
			out[odd][0] = {scale * code_2_24(codes & 255), minimum * minus_code(codes >> 8)};
		}
	} else if ((BITS == 4 || BITS == 5) && !TABLE && (type == TYPE_Q4_1 || type == TYPE_Q5_1)) {
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const uint32_t both = load_u32(scales + odd * step_bytes);
			out[odd][0] = {half_to_float(both & 0xffff) * 0x1p24f, -half_to_float(both >> 16)};
		}
	} else if (BITS == 4 && TABLE && type == TYPE_IQ4_XS) {
		const float d = half_to_float(load_u16(tail));
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const float scale = d * (code_2_24(scales[odd * step_bytes]) - SIGNED);
			out[odd][0] = {scale, scale * ZERO};
		}
	} else if (BITS == 8 && type == TYPE_Q8_K) {
		out[0][0] = out[1][0] = {__uint_as_float(load_u32(tail)), 0};
	} else {
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			const float scale = half_to_float(load_u16(scales + odd * step_bytes)) * 0x1p24f;
			out[odd][0] = {scale, scale * ZERO};
		}
	}
}

} // namespace
