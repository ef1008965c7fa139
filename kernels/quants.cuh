// Unpacks weights of the quantized formats of GGUF files to bfloat16. The package internal/weight describes
// the formats. Its function Unpack is the reference: the values here have the same bits, except those of NaN.
//
// A weight is scale·q - minimum in float32, rounded to bfloat16. In all formats but TYPE_Q8_K, scale·q has at
// most 23 significant bits, of which 11 are those of a float16, so it is exact. In TYPE_Q8_K minimum is 0. So
// at most one operation rounds, and a fused multiply-add, which kernels/flags forbids, would have the same
// bits.
#pragma once
#include "args.h"
#include "gpu.h"

namespace {
using namespace gpu;

enum { UNPACKED = 8 }; // weights that are unpacked at once

// UNPACKED weights of a row: scale·(q - zero) - minimum.
struct Packed {
	uint2 q; // a byte each
	int zero;
	float scale, minimum;
	bool iq4; // q - zero is replaced by the q-th value of a table
};

// Blocks of weights begin at even addresses, so no load may be of more than two bytes.
__device__ inline uint32_t load2(const unsigned char *p) { return *reinterpret_cast<const uint16_t *>(p); }
__device__ inline uint32_t load4(const unsigned char *p) { return load2(p) | load2(p + 2) << 16; }
__device__ inline uint2 load8(const unsigned char *p) { return make_uint2(load4(p), load4(p + 4)); }
__device__ inline float load_half(const unsigned char *p) { return half_to_float(load2(p)); }

// Some bits of the 8 bytes at p: those of mask, which is the same in each byte, from bit shift on.
__device__ inline uint2 load_bits(const unsigned char *p, int shift, uint32_t mask)
{
	const uint2 bytes = load8(p);
	return make_uint2(bytes.x >> shift & mask, bytes.y >> shift & mask);
}

// Makes high the bits of q from bit n on.
__device__ inline uint2 with_high(uint2 q, uint2 high, int n)
{
	return make_uint2(q.x | high.x << n, q.y | high.y << n);
}

// Moves bit i of 4 bits to byte i.
__device__ inline uint32_t spread(uint32_t bits) { return (bits & 15) * 0x00204081 & 0x01010101; }

// The fifth bits of weights i … i+7, which are bits of a word of 32 at p.
__device__ inline uint2 fifth_bits(const unsigned char *p, int i)
{
	const uint32_t bits = load4(p) >> i;
	return make_uint2(spread(bits), spread(bits >> 4));
}

// Q4_K and Q5_K: multiplies the scale d and the minimum dmin, the two float16 at the beginning of a block of
// weights, by the scale and the minimum of group g, 6 bits each, which are packed in the next 12 bytes.
__device__ inline void scale_group(Packed &u, const unsigned char *block, int g)
{
	const unsigned char *packed = block + 4;
	int scale, minimum;
	if (g < 4) {
		scale = packed[g] & 63;
		minimum = packed[g + 4] & 63;
	} else {
		scale = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
		minimum = packed[g + 4] >> 4 | packed[g] >> 6 << 4;
	}
	u.scale = load_half(block) * (float)scale;
	u.minimum = load_half(block + 2) * (float)minimum;
}

// Loads weights first … first+7 of a tensor. first is a multiple of 8.
__device__ inline Packed load_packed(const void *tensor, size_t first, int type)
{
	const uint32_t BIT = 0x01010101, BITS2 = 0x03030303, BITS4 = 0x0f0f0f0f; // of each byte
	const unsigned char *bytes = static_cast<const unsigned char *>(tensor);
	const unsigned char *small = bytes, *super = bytes; // becomes the block of 32 or of 256 weights
	Packed u = {make_uint2(0, 0), 0, 0, 0, false};

	// In a block of 32 weights, 16 bytes have weights i and i+16 in their low and high halves.
	const int i = first % 32, at = i % 16, half = i / 16 * 4;
	// In a block of 256, i256 is in group g of 32 and in part p of 128.
	const int i256 = first % 256, g = i256 / 32, p = i256 / 128;
	switch (type) {
	case TYPE_Q4_0:
		small += first / 32 * 18;
		u.scale = load_half(small);
		u.q = load_bits(small + 2 + at, half, BITS4);
		u.zero = 8;
		break;
	case TYPE_Q4_1:
		small += first / 32 * 20;
		u.scale = load_half(small);
		u.minimum = -load_half(small + 2);
		u.q = load_bits(small + 4 + at, half, BITS4);
		break;
	case TYPE_Q5_0:
		small += first / 32 * 22;
		u.scale = load_half(small);
		u.q = with_high(load_bits(small + 6 + at, half, BITS4), fifth_bits(small + 2, i), 4);
		u.zero = 16;
		break;
	case TYPE_Q5_1:
		small += first / 32 * 24;
		u.scale = load_half(small);
		u.minimum = -load_half(small + 2);
		u.q = with_high(load_bits(small + 8 + at, half, BITS4), fifth_bits(small + 4, i), 4);
		break;
	case TYPE_Q8_0:
		small += first / 32 * 34;
		u.scale = load_half(small);
		u.q = load8(small + 2 + i);
		break;
	case TYPE_IQ4_NL:
		small += first / 32 * 18;
		u.scale = load_half(small);
		u.q = load_bits(small + 2 + at, half, BITS4);
		u.iq4 = true;
		break;
	case TYPE_Q2_K: {
		super += first / 256 * 84;
		const int scales = super[i256 / 16];
		u.scale = load_half(super + 80) * (float)(scales & 15);
		u.minimum = load_half(super + 82) * (float)(scales >> 4);
		u.q = load_bits(super + 16 + p * 32 + i, g % 4 * 2, BITS2);
		break;
	}
	case TYPE_Q3_K: {
		super += first / 256 * 110;
		const unsigned char *scales = super + 96;
		const int g16 = i256 / 16;
		const int low = scales[g16 % 8] >> g16 / 8 * 4 & 15, high = scales[8 + g16 % 4] >> g16 / 4 * 2 & 3;
		u.scale = load_half(super + 108) * (float)((low | high << 4) - 32);
		u.q = with_high(load_bits(super + 32 + p * 32 + i, g % 4 * 2, BITS2),
		                load_bits(super + i, g, BIT), 2);
		u.zero = 4;
		break;
	}
	case TYPE_Q4_K:
		super += first / 256 * 144;
		scale_group(u, super, g);
		u.q = load_bits(super + 16 + g / 2 * 32 + i, g % 2 * 4, BITS4);
		break;
	case TYPE_Q5_K:
		super += first / 256 * 176;
		scale_group(u, super, g);
		u.q = with_high(load_bits(super + 48 + g / 2 * 32 + i, g % 2 * 4, BITS4),
		                load_bits(super + 16 + i, g, BIT), 4);
		break;
	case TYPE_Q6_K:
		super += first / 256 * 210;
		u.scale = load_half(super + 208) * (float)(signed char)super[192 + i256 / 16];
		u.q = with_high(load_bits(super + p * 64 + i256 % 64, g % 4 / 2 * 4, BITS4),
		                load_bits(super + 128 + p * 32 + i, g % 4 * 2, BITS2), 4);
		u.zero = 32;
		break;
	case TYPE_Q8_K:
		super += first / 256 * 292;
		u.scale = __uint_as_float(load4(super));
		u.q = load8(super + 4 + i256);
		break;
	default: { // TYPE_IQ4_XS
		super += first / 256 * 136;
		const int scale = (super[4 + g / 2] >> g % 2 * 4 & 15) | (load2(super + 2) >> 2 * g & 3) << 4;
		u.scale = load_half(super) * (float)(scale - 32);
		u.q = load_bits(super + 8 + 16 * g + at, half, BITS4);
		u.iq4 = true;
	}
	}
	if (type == TYPE_Q8_0 || type == TYPE_Q8_K) { // signed bytes
		u.q = make_uint2(u.q.x ^ 0x80808080, u.q.y ^ 0x80808080);
		u.zero = 128;
	}
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
	const int q = (e < 4 ? u.q.x : u.q.y) >> e % 4 * 8 & 255;
	return u.scale * (float)(u.iq4 ? iq4_value(q) : q - u.zero) - u.minimum;
}

// Weights first … first+7 of a tensor of a quantized type, as bfloat16, the first in the lowest half. first
// is a multiple of 8. It counts from the tensor's beginning, because rows are whole blocks of weights.
__device__ inline uint4 unpack8(const void *tensor, size_t first, int type)
{
	const Packed u = load_packed(tensor, first, type);
	return make_uint4(pack_bf16(packed_weight(u, 0), packed_weight(u, 1)),
	                  pack_bf16(packed_weight(u, 2), packed_weight(u, 3)),
	                  pack_bf16(packed_weight(u, 4), packed_weight(u, 5)),
	                  pack_bf16(packed_weight(u, 6), packed_weight(u, 7)));
}

// The same as float32.
__device__ inline void unpack8(float (&values)[UNPACKED], const void *tensor, size_t first, int type)
{
	const Packed u = load_packed(tensor, first, type);
#pragma unroll
	for (int e = 0; e < UNPACKED; e++)
		values[e] = bf16_to_float(float_to_bf16(packed_weight(u, e)));
}

} // namespace
