// How weights of the quantized types lie in device memory. The upload makes this layout from the file's
// blocks (internal/cuda/layout.go), so that a lane's weights for the tensor cores are words that it loads at
// once. Both the kernels and the Go backend (cgo) read this file.
//
// A matrix [rows, k] is cut into row groups of QUANT_ROWS rows, and a row group into steps of QUANT_STEP
// columns. Rows and columns that do not exist are zero bytes. A row group has, in this order:
//
//   QUANT_STEPS(k) steps, an even number, each: low plane, high plane, scales
//   k/256 tails (types with 256 weights a block): d of each row
//
// All of these parts are multiples of 16 bytes.
//
// Planes. In a step, lane l = 4·g + t of a warp holds the weights that the A fragments of mma_bf16 give it
// in row g of the group: of pair p = 0 … 7, the columns 8p + 2t (e = 0) and 8p + 2t + 1 (e = 1). With
// p = 4w + i, a weight belongs to set s = 2w + i%2 of the lane, where it is byte B = i/2 + 2e. So a set is
// four bytes, and
//
//   plane   a lane's bytes          where the bits of set s, byte B are
//   8 bits  16, at 16·l             byte B of word s
//   4 bits  8, at 8·l               bits 8B + 4·(s%2) … of word s/2, one word for each 32 columns
//   2 bits  4, at 4·l               bits 8B + 2·s …
//   1 bit   2: half of the word at  bit 8B + s + 4·(t%2)
//           8·g + 4·(t/2)
//
// So in each word the weights of a pair lie 16 bits apart, and a set is one shift and one mask:
//   low 4 bits  word[s/2] >> 4·(s%2) & 0x0f0f0f0f
//   high 2 bits word >> 2·s & 0x03030303
//   high bit    word >> s + 4·(t%2) & 0x01010101
// The low plane has 8 bits (types of 8 bits), 4 bits (4, 5, 6) or 2 bits (2, 3), the high plane the rest.
// q is unsigned. Types of 8 bits are stored as q + 128.
//
// A weight is scale·(q - zero) - minimum in float32, then rounded to bfloat16. For IQ4, q - zero is replaced
// by the q-th value of a table. A step's scales are [8 rows][groups of 32 or of 16 columns]:
//
//   types                        groups  stored                       scale           minimum
//   Q4_0, Q5_0, Q8_0, IQ4_NL     2       float16 scale                scale           0
//   Q4_1, Q5_1                   2       float16 scale and minimum    scale           minimum
//   Q4_K, Q5_K                   2       bytes s and m                d·s             dmin·m
//   IQ4_XS                       2       byte s + 128                 d·s             0
//   Q3_K, Q6_K                   4       byte s + 128                 d·s             0
//   Q2_K                         4       4 bits each: s, then m       d·s             dmin·m
//   Q8_K                                 nothing                      d               0
//
// Q4_1 and Q5_1 have the negative of the file's minimum, which is added there.
// A tail is [8 rows] of float16 d, of float16 d and dmin, or of float32 d (Q8_K).
#pragma once

enum { QUANT_ROWS = 8, QUANT_STEP = 64 };
// Steps of a row group: 2·⌈k/128⌉, because a decode product brings two at once.
#define QUANT_STEPS(k) (((k) + 2 * QUANT_STEP - 1) / (2 * QUANT_STEP) * 2)

// For each type: bits, zero; bytes of the low plane, the high plane and the scales of a step, and of a tail.
#define QUANT_LAYOUTS(LAYOUT) \
	LAYOUT(Q4_0, 4, 8, 256, 0, 32, 0)       /* 4.5    bits a weight */ \
	LAYOUT(Q4_1, 4, 0, 256, 0, 64, 0)       /* 5 */ \
	LAYOUT(Q5_0, 5, 16, 256, 64, 32, 0)     /* 5.5 */ \
	LAYOUT(Q5_1, 5, 0, 256, 64, 64, 0)      /* 6 */ \
	LAYOUT(Q8_0, 8, 128, 512, 0, 32, 0)     /* 8.5 */ \
	LAYOUT(Q2_K, 2, 0, 128, 0, 32, 32)      /* 2.625 */ \
	LAYOUT(Q3_K, 3, 4, 128, 64, 32, 16)     /* 3.5625 */ \
	LAYOUT(Q4_K, 4, 0, 256, 0, 32, 32)      /* 4.625 */ \
	LAYOUT(Q5_K, 5, 0, 256, 64, 32, 32)     /* 5.625 */ \
	LAYOUT(Q6_K, 6, 32, 256, 128, 32, 16)   /* 6.5625 */ \
	LAYOUT(Q8_K, 8, 128, 512, 0, 0, 32)     /* 8.125 */ \
	LAYOUT(IQ4_NL, 4, 0, 256, 0, 32, 0)     /* 4.5 */ \
	LAYOUT(IQ4_XS, 4, 0, 256, 0, 16, 16)    /* 4.3125 */

// For each type, such as Q4_K: Q4_K_BITS, Q4_K_ZERO; Q4_K_HIGH and Q4_K_SCALES, where these parts begin in a
// step; Q4_K_STEP_BYTES, Q4_K_TAIL_BYTES.
#define QUANT_LAYOUT_NAMES(TYPE, BITS, ZERO, LOW, HIGH, SCALES, TAIL) \
	TYPE##_BITS = BITS, TYPE##_ZERO = ZERO, TYPE##_HIGH = LOW, TYPE##_SCALES = LOW + HIGH, \
	TYPE##_STEP_BYTES = LOW + HIGH + SCALES, TYPE##_TAIL_BYTES = TAIL,
enum { QUANT_LAYOUTS(QUANT_LAYOUT_NAMES) };
