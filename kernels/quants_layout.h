// How weights of the quantized types lie in device memory. The upload makes this layout from the file's
// blocks (internal/cuda/layout.go), so that a lane's weights for the tensor cores are words that it loads at
// once. Both the kernels and the Go backend (cgo) read this file.
//
// A matrix [rows, k] is cut into row groups of QUANT_ROWS rows, and a row group into records of QUANT_STEP
// columns (types with 32 weights a block) or 4·QUANT_STEP columns (types with 256). Rows and columns that do
// not exist are zero bytes. The matrix is [⌈rows/8⌉][⌈k/columns of a record⌉] records. All parts of a record
// are multiples of 16 bytes:
//
//   steps  for each 64 columns: low plane, high plane, scales
//   tail   d of each row (types with 256 weights a block)
//
// Planes. In a step, lane l = 4·g + t of a warp holds the weights that the A fragments of mma_bf16 give it in
// row g of the group: of pair p = 0 … 7, the columns 8p + 2t (e = 0) and 8p + 2t + 1 (e = 1). With p = 4w + i,
// a weight belongs to set s = 2w + i%2 of the lane, where it is byte B = i/2 + 2e. So a set is four bytes, and
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
// by the q-th value of a table. A step's scales, [8 rows][groups of the step]:
//
//   scales of a step     bytes  groups  scale            minimum
//   HALF                 32     2       float16          0
//   HALF_MINIMUM         64     2       two float16: scale, minimum (Q4_1, Q5_1: the file's m, negated)
//   CODE                 16     2       d·(code - 128)   0                   code: a byte (IQ4_XS)
//   CODE                 32     4       d·(code - 128)   0                   code: a byte (Q3_K, Q6_K)
//   CODE_MINIMUM         32     2       d·code           dmin·code           two bytes: scale, minimum
//   NIBBLES              32     4       d·(byte & 15)    dmin·(byte >> 4)
//   (none: Q8_K)         0      1       d                0
//
// A record's tail is [8 rows] of float16 d, of float16 d and dmin, or of float32 d (Q8_K).
#pragma once

enum { QUANT_ROWS = 8, QUANT_STEP = 64 };

//        type    bits zero  a step's: low high scales   steps, tail
#define QUANT_LAYOUTS(LAYOUT) \
	LAYOUT(Q4_0, 4, 8, 256, 0, 32, 1, 0)       /*  288 bytes: 4.5    bits a weight */ \
	LAYOUT(Q4_1, 4, 0, 256, 0, 64, 1, 0)       /*  320        5      */ \
	LAYOUT(Q5_0, 5, 16, 256, 64, 32, 1, 0)     /*  352        5.5    */ \
	LAYOUT(Q5_1, 5, 0, 256, 64, 64, 1, 0)      /*  384        6      */ \
	LAYOUT(Q8_0, 8, 128, 512, 0, 32, 1, 0)     /*  544        8.5    */ \
	LAYOUT(Q2_K, 2, 0, 128, 0, 32, 4, 32)      /*  672        2.625  */ \
	LAYOUT(Q3_K, 3, 4, 128, 64, 32, 4, 16)     /*  912        3.5625 */ \
	LAYOUT(Q4_K, 4, 0, 256, 0, 32, 4, 32)      /* 1184        4.625  */ \
	LAYOUT(Q5_K, 5, 0, 256, 64, 32, 4, 32)     /* 1440        5.625  */ \
	LAYOUT(Q6_K, 6, 32, 256, 128, 32, 4, 16)   /* 1680        6.5625 */ \
	LAYOUT(Q8_K, 8, 128, 512, 0, 0, 4, 32)     /* 2080        8.125  */ \
	LAYOUT(IQ4_NL, 4, 0, 256, 0, 32, 1, 0)     /*  288        4.5    */ \
	LAYOUT(IQ4_XS, 4, 0, 256, 0, 16, 4, 16)    /* 1104        4.3125 */

// For each type, such as Q4_K: Q4_K_HIGH, Q4_K_SCALES (where these planes begin in a step), Q4_K_STEP_BYTES,
// Q4_K_TAIL (where the tail begins in a record), Q4_K_RECORD_BYTES; Q4_K_BITS, Q4_K_ZERO, Q4_K_STEPS.
#define QUANT_LAYOUT_NAMES(TYPE, BITS, ZERO, LOW, HIGH, SCALES, STEPS, TAIL) \
	TYPE##_BITS = BITS, TYPE##_ZERO = ZERO, TYPE##_STEPS = STEPS, TYPE##_HIGH = LOW, \
	TYPE##_SCALES = LOW + HIGH, TYPE##_STEP_BYTES = LOW + HIGH + SCALES, \
	TYPE##_TAIL = STEPS * TYPE##_STEP_BYTES, TYPE##_RECORD_BYTES = TYPE##_TAIL + TAIL,
enum { QUANT_LAYOUTS(QUANT_LAYOUT_NAMES) };
