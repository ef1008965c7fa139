// Unpacks weights of the quantized types to bfloat16, from the layout that quants_layout.h describes. The
// package internal/weight describes the formats. Its function Unpack is the reference: the values here have
// the same bits, except those of NaN.
//
// A weight is scale·(q - zero) - minimum in float32, rounded to bfloat16. In all formats but TYPE_Q8_K,
// scale·(q - zero) has at most 23 significant bits, of which 11 are those of a float16, so it is exact. In
// TYPE_Q8_K minimum is 0. So at most one operation rounds, and a fused multiply-add, which kernels/flags
// forbids, would have the same bits.
#pragma once
#include "args.h"
#include "gpu.h"
#include "quants_layout.h"

namespace {
using namespace gpu;

// What a kernel must know of a type to read its planes. HIGH and SCALES are bytes from the beginning of a
// step.
struct QuantLayout {
	int bits, zero, high, scales, step_bytes, tail_bytes;
};

__device__ inline QuantLayout quant_layout(int type)
{
#define QUANT_LAYOUT_CASE(TYPE, ...) \
	case TYPE_##TYPE: \
		return {TYPE##_BITS,   TYPE##_ZERO,       TYPE##_HIGH, \
		        TYPE##_SCALES, TYPE##_STEP_BYTES, TYPE##_TAIL_BYTES};
	switch (type) {
		QUANT_LAYOUTS(QUANT_LAYOUT_CASE)
	}
	return {};
#undef QUANT_LAYOUT_CASE
}

enum { UNPACKED = 8 }; // weights that are unpacked at once

// UNPACKED weights of a row: scale·(q - zero) - minimum.
struct Packed {
	uint32_t q[UNPACKED / 2]; // two in each, the second one in the upper half
	int zero;
	float scale, minimum;
	bool iq4; // q - zero is replaced by the q-th value of a table
};

__device__ inline uint32_t load4(const unsigned char *p) { return *reinterpret_cast<const uint32_t *>(p); }
__device__ inline uint32_t load2(const unsigned char *p) { return *reinterpret_cast<const uint16_t *>(p); }
__device__ inline float load_half(const unsigned char *p) { return half_to_float(load2(p)); }

// Loads the scale and the minimum of 8 columns, the p-th 8 of a step, of row g of a row group. scales are the
// step's, and tail is that of the columns.
__device__ inline void load_scale(Packed &u, const unsigned char *scales, const unsigned char *tail, int g,
                                  int p, int type)
{
	const int at32 = 2 * g + p / 4, at16 = 4 * g + p / 2; // of a group of 32 and of 16 weights
	switch (type) {
	case TYPE_Q4_1:
	case TYPE_Q5_1:
		u.scale = load_half(scales + 4 * at32);
		u.minimum = load_half(scales + 4 * at32 + 2);
		break;
	case TYPE_Q2_K:
		u.scale = load_half(tail + 4 * g) * (float)(scales[at16] & 15);
		u.minimum = load_half(tail + 4 * g + 2) * (float)(scales[at16] >> 4);
		break;
	case TYPE_Q4_K:
	case TYPE_Q5_K:
		u.scale = load_half(tail + 4 * g) * (float)scales[2 * at32];
		u.minimum = load_half(tail + 4 * g + 2) * (float)scales[2 * at32 + 1];
		break;
	case TYPE_Q3_K:
	case TYPE_Q6_K:
		u.scale = load_half(tail + 2 * g) * (float)(scales[at16] - 128);
		break;
	case TYPE_IQ4_XS:
		u.scale = load_half(tail + 2 * g) * (float)(scales[at32] - 128);
		break;
	case TYPE_Q8_K:
		u.scale = __uint_as_float(load4(tail + 4 * g));
		break;
	default: // TYPE_Q4_0, TYPE_Q5_0, TYPE_Q8_0, TYPE_IQ4_NL
		u.scale = load_half(scales + 2 * at32);
	}
}

// Loads columns col … col+7 of a row of a matrix [rows, k]. col is a multiple of 8.
__device__ inline Packed load_packed(const void *tensor, int row, int col, int k, int type)
{
	const QuantLayout layout = quant_layout(type);
	const int g = row % QUANT_ROWS, steps = QUANT_STEPS(k);
	const size_t group_bytes = (size_t)steps * layout.step_bytes + k / 256 * layout.tail_bytes;
	const unsigned char *group = static_cast<const unsigned char *>(tensor) + row / QUANT_ROWS * group_bytes;
	const unsigned char *step = group + (size_t)(col / QUANT_STEP) * layout.step_bytes;
	const unsigned char *tail = group + (size_t)steps * layout.step_bytes + col / 256 * layout.tail_bytes;

	// The columns are pair p of four lanes. It belongs to set s, from byte b on.
	const int p = col % QUANT_STEP / 8, s = p / 4 * 2 + p % 2, b = p % 4 / 2;
	const int low = layout.bits == 8 ? 8 : layout.bits >= 4 ? 4 : 2; // bits of the planes
	const int high = layout.bits - low;
	const uint32_t BIT = 0x01010101; // of each byte of a set
	Packed u = {{}, layout.zero, 0, 0, type == TYPE_IQ4_NL || type == TYPE_IQ4_XS};
#pragma unroll
	for (int t = 0; t < UNPACKED / 2; t++) {
		const int lane = 4 * g + t;
		const uint32_t word = load4(step + 2 * low * lane + s * low / 8 * 4);
		uint32_t set = word >> s * low % 8 & ((1 << low) - 1) * BIT;
		if (high == 2)
			set |= (load4(step + layout.high + 4 * lane) >> 2 * s & 3 * BIT) << low;
		if (high == 1)
			set |= (load4(step + layout.high + 4 * (lane / 2)) >> s + t % 2 * 4 & BIT) << low;
		u.q[t] = set >> 8 * b & 0x00ff00ff;
	}
	load_scale(u, step + layout.scales, tail, g, p, type);
	return u;
}

// The q-th of the 16 values of TYPE_IQ4_NL and TYPE_IQ4_XS.
__device__ inline int iq4_value(int q)
{
	// -127, -104, -83, -65, -49, -35, -22, -10; 1, 13, 25, 38, 53, 69, 89, 113: a byte each, the first lowest
	const uint64_t values = q < 8 ? 0xf6eaddcfbfad9881 : 0x7159453526190d01;
	return (signed char)(values >> q % 8 * 8);
}

// Weight e of u, not rounded yet.
__device__ inline float packed_weight(const Packed &u, int e)
{
	const int q = u.q[e / 2] >> e % 2 * 16 & 255;
	return u.scale * (float)(u.iq4 ? iq4_value(q) : q - u.zero) - u.minimum;
}

// Columns col … col+7 of a row of a matrix [rows, k] of a quantized type, as bfloat16, the first in the
// lowest half.
__device__ inline uint4 unpack8(const void *tensor, int row, int col, int k, int type)
{
	const Packed u = load_packed(tensor, row, col, k, type);
	return make_uint4(pack_bf16(packed_weight(u, 0), packed_weight(u, 1)),
	                  pack_bf16(packed_weight(u, 2), packed_weight(u, 3)),
	                  pack_bf16(packed_weight(u, 4), packed_weight(u, 5)),
	                  pack_bf16(packed_weight(u, 6), packed_weight(u, 7)));
}

// The same as float32.
__device__ inline void unpack8(float (&values)[UNPACKED], const void *tensor, int row, int col, int k,
                               int type)
{
	const Packed u = load_packed(tensor, row, col, k, type);
#pragma unroll
	for (int e = 0; e < UNPACKED; e++)
		values[e] = bf16_to_float(float_to_bf16(packed_weight(u, e)));
}

} // namespace
