#include "textflag.h"
#include "go_asm.h"

// Unpackers of quantized weights for AVX2 with FMA and F16C, see unpacker. Go's assembler writes the
// destination last; VFMADD213PS a, b, c is c = b·c + a, rounded once, and VFMSUB213PS is c = b·c - a.
//
// A register of 256 bits has two lanes of 128. Most loops unpack two groups of weights that have scales of
// their own, a in the lower lane and b in the upper one, 16 weights of each at a time. The results are
// words: Y4 has the weights 0 … 7 of both groups, Y5 the weights 8 … 15.
//
// Rounding: x is a float32 that is not denormal, and c = 65536·x, which is exact. The float32 nearest to c
// - x differs from c by x rounded to 8 significant bits, ties to even. (TestSplitting checks all
// significands.) So c - (c - x), by two fused multiply-subtracts, has a lower half of zero, and its upper
// half is the bfloat16. A zero keeps its sign, NaN remains NaN, and infinity becomes NaN. The lower half
// of a NaN may not be zero: it may change a neighbour, which has the same scale and is NaN too, into
// another NaN.

DATA consts<>+0(SB)/4, $65536.0
DATA consts<>+4(SB)/4, $0x33800000 // 2^-24
GLOBL consts<>(SB), RODATA|NOPTR, $8

// Shifts for the two lanes: VPSRLVD and VPSLLVD shift each of four 32-bit numbers of a lane.
#define LANES(name, at, a, b) \
	DATA name<>+(at+0)(SB)/8, $(a<<32|a)  \
	DATA name<>+(at+8)(SB)/8, $(a<<32|a)  \
	DATA name<>+(at+16)(SB)/8, $(b<<32|b) \
	DATA name<>+(at+24)(SB)/8, $(b<<32|b)

LANES(halves, 0, 0, 4) // the lower half of a byte, and the upper half
GLOBL halves<>(SB), RODATA|NOPTR, $32

// Q5_K: shifts that move bit g of a byte, for group a = 0, 2, 4, 6 and the next group b, to bit 4.
LANES(fifth, 0, 4, 3)
LANES(fifth, 32, 2, 1)
LANES(fifth, 64, 0, 1)
LANES(fifth, 96, 2, 3)
GLOBL fifth<>(SB), RODATA|NOPTR, $128

// IQ4_XS: shifts of the 16 bits with the upper bits of the scales, in the order of inPairs.
DATA upperScales<>+0(SB)/8, $(4<<32|0)
DATA upperScales<>+8(SB)/8, $(12<<32|8)
DATA upperScales<>+16(SB)/8, $(6<<32|2)
DATA upperScales<>+24(SB)/8, $(14<<32|10)
GLOBL upperScales<>(SB), RODATA|NOPTR, $32

// Q3_K: shifts of the 32 bits with the upper bits of the scales, for scales 0 …, 4 …, 8 …, 12 ….
DATA upperScales3<>+0(SB)/8, $(2<<32|0)
DATA upperScales3<>+8(SB)/8, $(6<<32|4)
GLOBL upperScales3<>(SB), RODATA|NOPTR, $16

// Orders of bytes. inPairs brings scales 0, 2, 4, 6 of eight to the front. If these become float32 in Y,
// the lower lane has the scales of the groups a, the upper lane those of the groups b.
DATA inPairs<>+0(SB)/8, $0x0705030106040200
DATA inPairs<>+8(SB)/8, $0x0f0d0b090e0c0a08
GLOBL inPairs<>(SB), RODATA|NOPTR, $16

// Q5_0, Q5_1: byte i/8 of a lane at i, for the weights 0 … 15 and 16 … 31, and bit i%8.
DATA bits<>+0(SB)/8, $0x0000000000000000
DATA bits<>+8(SB)/8, $0x0101010101010101
DATA bits<>+16(SB)/8, $0x0202020202020202
DATA bits<>+24(SB)/8, $0x0303030303030303
DATA bits<>+32(SB)/8, $0x8040201008040201
DATA bits<>+40(SB)/8, $0x8040201008040201
GLOBL bits<>(SB), RODATA|NOPTR, $48

// ARGUMENTS loads dst to DI, src to SI, n to CX and ahead to R13, and constants: 65536 to Y13, bytes 15 to
// Y15, words 255 to Y14.
#define ARGUMENTS \
	MOVQ         dst+0(FP), DI       \
	MOVQ         src+8(FP), SI       \
	MOVQ         n+16(FP), CX        \
	MOVQ         ahead+24(FP), R13   \
	VBROADCASTSS consts<>+0(SB), Y13 \
	VPCMPEQB     Y15, Y15, Y15       \
	VPSRLW       $8, Y15, Y14        \
	VPSRLW       $12, Y15, Y15       \
	VPACKUSWB    Y15, Y15, Y15

// BYTES fills y with a byte.
#define BYTES(value, r, x, y) \
	MOVL         $value, r \
	VMOVD        r, x      \
	VPBROADCASTB x, y

// ---- Tables of values

// ROUND rounds y. t is overwritten.
#define ROUND(y, t) \
	VMOVAPS     y, t      \
	VFMSUB213PS y, Y13, t \
	VFMSUB213PS t, Y13, y

// PRODUCT sets y to register i of the table at R10 times the scales in Y0, rounded. The products are exact.
#define PRODUCT(i, y) \
	VMULPS (32*i)(R10), Y0, y \
	ROUND(y, Y6)

// LINE sets y to register i of the table times the scales, plus or minus Y1, rounded.
#define LINE(FMA, i, y) \
	VMOVUPS (32*i)(R10), y \
	FMA     Y1, Y0, y      \
	ROUND(y, Y6)

#define PRODUCTS16 \
	PRODUCT(0, Y2) \
	PRODUCT(1, Y3) \
	PRODUCT(2, Y4) \
	PRODUCT(3, Y5)
#define LINES16(FMA) \
	LINE(FMA, 0, Y2) \
	LINE(FMA, 1, Y3) \
	LINE(FMA, 2, Y4) \
	LINE(FMA, 3, Y5)

// TABLES makes of Y2 … Y5 the 16 values of each lane: their lower bytes in Y2, their upper bytes in Y3. Y2
// has the values 0, 4, 8, 12; Y3 2, 6, 10, 14; Y4 1, 5, 9, 13; Y5 3, 7, 11, 15.
#define TABLES \
	VPSRLD $16, Y2, Y2 \
	VPSRLD $16, Y4, Y4 \
	VPOR   Y3, Y2, Y2  \
	VPOR   Y5, Y4, Y4  \
	VPSRLW $8, Y2, Y3  \
	VPSLLW $8, Y4, Y5  \
	VPAND  Y14, Y2, Y2 \
	VPANDN Y4, Y14, Y4 \
	VPOR   Y5, Y2, Y2  \
	VPOR   Y4, Y3, Y3

// LOOKUP sets Y4 and Y5 to the values with the numbers in index.
#define LOOKUP(index) \
	VPSHUFB    index, Y2, Y4 \
	VPSHUFB    index, Y3, Y5 \
	WORDS

// WORDS makes words of lower bytes Y4 and upper bytes Y5.
#define WORDS \
	VPUNPCKLBW Y5, Y4, Y6 \
	VPUNPCKHBW Y5, Y4, Y5 \
	VMOVDQA    Y6, Y4

// STORE writes Y4 and Y5 to d and, for the upper lane, to e.
#define STORE(d, e) \
	VINSERTI128 $1, X5, Y4, Y6    \
	VPERM2I128  $0x31, Y5, Y4, Y5 \
	VMOVDQU     Y6, d             \
	VMOVDQU     Y5, e

// NIBBLES2 sets Y8 and Y7 to the lower and upper halves of 16 bytes at p and 16 bytes at q, one half a
// byte.
#define NIBBLES2(p, q) \
	VMOVDQU     p, X7         \
	VINSERTI128 $1, q, Y7, Y7 \
	VPAND       Y15, Y7, Y8   \
	VPSRLW      $4, Y7, Y7    \
	VPAND       Y15, Y7, Y7

// ---- Blocks of 32 weights. The two lanes have two blocks, whose distance is BX bytes of src and DX bytes of
// dst. Of an odd number of blocks, the last one is unpacked in both lanes.

#define PAIRS(size) \
	MOVL $size, BX \
	MOVL $64, DX
#define NEXTPAIR(both) \
	PREFETCHT0 (SI)(R13*1) \
	SUBQ $64, CX           \
	JGE  both              \
	XORL BX, BX            \
	XORL DX, DX
#define MOREPAIRS(pair) \
	LEAQ  (SI)(BX*2), SI \
	ADDQ  $128, DI       \
	TESTQ CX, CX         \
	JG    pair

// SCALE2 sets each lane of Y0 to its block's scale.
#define SCALE2 \
	VPBROADCASTW (SI), X0        \
	VPBROADCASTW (SI)(BX*1), X1  \
	VPBLENDD     $12, X1, X0, X0 \
	VCVTPH2PS    X0, Y0

// SCALEMIN2 also sets Y1 to the blocks' minimums.
#define SCALEMIN2 \
	VMOVD     (SI), X0               \
	VPINSRD   $1, (SI)(BX*1), X0, X0 \
	VCVTPH2PS X0, X0                 \
	VPERMQ    $0x50, Y0, Y0          \
	VPERMILPS $0x55, Y0, Y1          \
	VPERMILPS $0x00, Y0, Y0

// func unpackIQ4_NLAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackIQ4_NLAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ ·tableIQ4(SB), R10
	PAIRS(18)
pair:
	NEXTPAIR(both)
both:
	SCALE2
	PRODUCTS16
	TABLES
	NIBBLES2(2(SI), 2(SI)(BX*1))
	LOOKUP(Y8)
	STORE(0(DI), 0(DI)(DX*1))
	LOOKUP(Y7)
	STORE(32(DI), 32(DI)(DX*1))
	MOREPAIRS(pair)
	VZEROUPPER
	RET

// Q4_0: the 16 values are those of eight sizes, 1 … 8 times the scale, with both signs, and zero.
// lowerBytes and upperBytes are where the bytes of the values -8 … 7 are among the words of the sizes;
// 0x80 makes a zero. mask leaves a zero its sign, signs are those of -8 … -1.
DATA lowerBytes<>+0(SB)/8, $0x00020406080a0c0e
DATA lowerBytes<>+8(SB)/8, $0x0c0a080604020080
GLOBL lowerBytes<>(SB), RODATA|NOPTR, $16
DATA upperBytes<>+0(SB)/8, $0x01030507090b0d0f
DATA upperBytes<>+8(SB)/8, $0x0d0b090705030101
GLOBL upperBytes<>(SB), RODATA|NOPTR, $16
DATA mask<>+0(SB)/8, $0xffffffffffffffff
DATA mask<>+8(SB)/8, $0xffffffffffffff80
GLOBL mask<>(SB), RODATA|NOPTR, $16
DATA signs<>+0(SB)/8, $0x8080808080808080
DATA signs<>+8(SB)/8, $0x0000000000000000
GLOBL signs<>(SB), RODATA|NOPTR, $16

// func unpackQ4_0AVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_0AVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ ·tableQ4_0(SB), R10
	PAIRS(18)
	VBROADCASTI128 lowerBytes<>(SB), Y9
	VBROADCASTI128 upperBytes<>(SB), Y10
	VBROADCASTI128 mask<>(SB), Y11
	VBROADCASTI128 signs<>(SB), Y12
	PCALIGN $32
pair:
	NEXTPAIR(both)
both:
	SCALE2
	PRODUCT(0, Y2)
	PRODUCT(1, Y3)
	VCMPPS  $3, Y2, Y2, Y5 // all bits of a lane whose scale is infinite or NaN
	VPSRLD  $16, Y2, Y2
	VPOR    Y3, Y2, Y4     // the sizes
	VPSHUFB Y9, Y4, Y2
	VPSHUFB Y10, Y4, Y3
	VPAND   Y11, Y3, Y3
	VPXOR   Y12, Y3, Y3
	VPOR    Y5, Y2, Y2
	VPOR    Y5, Y3, Y3
	NIBBLES2(2(SI), 2(SI)(BX*1))
	LOOKUP(Y8)
	STORE(0(DI), 0(DI)(DX*1))
	LOOKUP(Y7)
	STORE(32(DI), 32(DI)(DX*1))
	MOREPAIRS(pair)
	VZEROUPPER
	RET

// func unpackQ4_1AVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_1AVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ ·tableQ4(SB), R10
	PAIRS(20)
pair:
	NEXTPAIR(both)
both:
	SCALEMIN2
	LINES16(VFMADD213PS)
	TABLES
	NIBBLES2(4(SI), 4(SI)(BX*1))
	LOOKUP(Y8)
	STORE(0(DI), 0(DI)(DX*1))
	LOOKUP(Y7)
	STORE(32(DI), 32(DI)(DX*1))
	MOREPAIRS(pair)
	VZEROUPPER
	RET

// ---- Weight by weight

// INTEGERS sets Y4 … Y7 to the bytes of Y4, which are signed, times 2^24 as float32: of the weights 0 … 7
// of each lane, Y4 has the even ones and Y5 the odd ones; Y6 and Y7 have the weights 8 … 15. Y12 masks the
// upper byte of 32 bits.
#define INTEGERS \
	VPXOR      Y2, Y2, Y2  \
	VPUNPCKHBW Y4, Y2, Y6  \
	VPUNPCKLBW Y4, Y2, Y4  \
	VPAND      Y12, Y4, Y5 \
	VPAND      Y12, Y6, Y7 \
	VPSLLD     $16, Y4, Y4 \
	VPSLLD     $16, Y6, Y6 \
	VCVTDQ2PS  Y4, Y4      \
	VCVTDQ2PS  Y5, Y5      \
	VCVTDQ2PS  Y6, Y6      \
	VCVTDQ2PS  Y7, Y7

// ROUNDED rounds Y4 … Y7, and makes words of them in Y4 and Y5.
#define ROUNDED \
	ROUND(Y4, Y2)      \
	ROUND(Y5, Y3)      \
	ROUND(Y6, Y2)      \
	ROUND(Y7, Y3)      \
	VPSRLD $16, Y4, Y4 \
	VPSRLD $16, Y6, Y6 \
	VPOR   Y5, Y4, Y4  \
	VPOR   Y7, Y6, Y5

// MULTIPLY sets Y4 and Y5 to the signed bytes of Y4 times the scales in Y0, which have been multiplied by
// 2^-24.
#define MULTIPLY \
	INTEGERS          \
	VMULPS Y0, Y4, Y4 \
	VMULPS Y0, Y5, Y5 \
	VMULPS Y0, Y6, Y6 \
	VMULPS Y0, Y7, Y7 \
	ROUNDED

// MULTIPLYADD also adds or subtracts Y1.
#define MULTIPLYADD(FMA) \
	INTEGERS       \
	FMA Y1, Y0, Y4 \
	FMA Y1, Y0, Y5 \
	FMA Y1, Y0, Y6 \
	FMA Y1, Y0, Y7 \
	ROUNDED

// WEIGHTBYWEIGHT loads the constants: 2^-24 to Y11, the mask of upper bytes to Y12.
#define WEIGHTBYWEIGHT \
	VBROADCASTSS consts<>+4(SB), Y11 \
	VPCMPEQB     Y12, Y12, Y12       \
	VPSLLD       $24, Y12, Y12

// func unpackQ8_0AVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ8_0AVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	WEIGHTBYWEIGHT
	PCALIGN $32
block:
	PREFETCHT0   (SI)(R13*1)
	VPBROADCASTW (SI), X0
	VCVTPH2PS    X0, Y0
	VMULPS       Y11, Y0, Y0
	VPERMQ       $0xd8, 2(SI), Y4 // weights 0 … 7 and 16 … 23, 8 … 15 and 24 … 31
	MULTIPLY
	VMOVDQU Y4, 0(DI)
	VMOVDQU Y5, 32(DI)
	ADDQ $34, SI
	ADDQ $64, DI
	SUBQ $32, CX
	JNZ  block
	VZEROUPPER
	RET

// FIFTH sets each byte of y to 255 if its weight's fifth bit is what is asked for, where y has the 32 bits
// of a block in each 32 bits, order is an order of bytes, and mask selects the bit. If want is mask, the
// bit must be set; if want is zero, it must not be.
#define FIFTH(order, mask, want, y) \
	VPSHUFB  order, y, y \
	VPAND    mask, y, y  \
	VPCMPEQB want, y, y

// BITS2 sets each lane of Y2 and Y3 to its block's fifth bits.
#define BITS2(at) \
	VPBROADCASTD at(SI), X2       \
	VPBROADCASTD at(SI)(BX*1), X3 \
	VINSERTI128  $1, X3, Y2, Y2   \
	VMOVDQA      Y2, Y3

// func unpackQ5_0AVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_0AVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	WEIGHTBYWEIGHT
	VBROADCASTI128 bits<>+32(SB), Y10
	VPXOR  Y9, Y9, Y9
	VPSLLW $4, Y15, Y14 // bytes 0xf0: such a weight is negative
	PAIRS(22)
pair:
	NEXTPAIR(both)
both:
	SCALE2
	VMULPS         Y11, Y0, Y0
	BITS2(2)
	VBROADCASTI128 bits<>+0(SB), Y4
	VBROADCASTI128 bits<>+16(SB), Y5
	FIFTH(Y4, Y10, Y9, Y2)
	FIFTH(Y5, Y10, Y9, Y3)
	NIBBLES2(6(SI), 6(SI)(BX*1))
	VPAND Y14, Y2, Y4
	VPAND Y14, Y3, Y3
	VPOR  Y8, Y4, Y4
	VPOR  Y7, Y3, Y8
	MULTIPLY
	STORE(0(DI), 0(DI)(DX*1))
	VMOVDQA Y8, Y4
	MULTIPLY
	STORE(32(DI), 32(DI)(DX*1))
	MOREPAIRS(pair)
	VZEROUPPER
	RET

// func unpackQ5_1AVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_1AVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	WEIGHTBYWEIGHT
	VBROADCASTI128 bits<>+32(SB), Y10
	BYTES(16, AX, X14, Y14)
	PAIRS(24)
pair:
	NEXTPAIR(both)
both:
	SCALEMIN2
	VMULPS         Y11, Y0, Y0
	BITS2(4)
	VBROADCASTI128 bits<>+0(SB), Y4
	VBROADCASTI128 bits<>+16(SB), Y5
	FIFTH(Y4, Y10, Y10, Y2)
	FIFTH(Y5, Y10, Y10, Y3)
	NIBBLES2(8(SI), 8(SI)(BX*1))
	VPAND Y14, Y2, Y4
	VPAND Y14, Y3, Y3
	VPOR  Y8, Y4, Y4
	VPOR  Y7, Y3, Y8
	MULTIPLYADD(VFMADD213PS)
	STORE(0(DI), 0(DI)(DX*1))
	VMOVDQA Y8, Y4
	MULTIPLYADD(VFMADD213PS)
	STORE(32(DI), 32(DI)(DX*1))
	MOREPAIRS(pair)
	VZEROUPPER
	RET

// ---- Super-blocks of 256 weights

// HALF sets all of y to the float16 at p.
#define HALF(p, x, y) \
	VPBROADCASTW p, x \
	VCVTPH2PS    x, y

// SCALESMINS sets Y10 to the scales and Y11 to the minimums of the eight groups of a super-block of Q4_K or
// Q5_K, in the order of inPairs. Y9 has this order.
#define SCALESMINS \
	PREFETCHT0  0(SI)(R13*1)     \
	PREFETCHT0  64(SI)(R13*1)    \
	PREFETCHT0  128(SI)(R13*1)   \
	MOVL        4(SI), AX        \
	MOVL        8(SI), BX        \
	MOVL        12(SI), R8       \
	MOVL        AX, R9           \
	ANDL        $0x3f3f3f3f, R9  \
	SHRL        $2, AX           \
	ANDL        $0x30303030, AX  \
	MOVL        BX, R11          \
	ANDL        $0x3f3f3f3f, R11 \
	SHRL        $2, BX           \
	ANDL        $0x30303030, BX  \
	MOVL        R8, R12          \
	ANDL        $0x0f0f0f0f, R12 \
	SHRL        $4, R8           \
	ANDL        $0x0f0f0f0f, R8  \
	ORL         R12, AX          \
	ORL         R8, BX           \
	VMOVD       R9, X10          \
	VMOVD       R11, X11         \
	VPINSRD     $1, AX, X10, X10 \
	VPINSRD     $1, BX, X11, X11 \
	VPSHUFB     X9, X10, X10     \
	VPSHUFB     X9, X11, X11     \
	VPMOVZXBD   X10, Y10         \
	VPMOVZXBD   X11, Y11         \
	VCVTDQ2PS   Y10, Y10         \
	VCVTDQ2PS   Y11, Y11         \
	HALF(0(SI), X0, Y0)          \
	HALF(2(SI), X1, Y1)          \
	VMULPS      Y0, Y10, Y10     \
	VMULPS      Y1, Y11, Y11

// PAIRQ4_K unpacks groups 2j and 2j+1. select is 0x55·j.
#define PAIRQ4_K(j, select) \
	VPERMILPS      $select, Y10, Y0    \
	VPERMILPS      $select, Y11, Y1    \
	LINES16(VFMSUB213PS)               \
	TABLES                             \
	VBROADCASTI128 (16+32*j)(SI), Y7   \
	VPSRLVD        Y12, Y7, Y7         \
	VPAND          Y15, Y7, Y7         \
	LOOKUP(Y7)                         \
	STORE((128*j)(DI), (128*j+64)(DI)) \
	VBROADCASTI128 (32+32*j)(SI), Y7   \
	VPSRLVD        Y12, Y7, Y7         \
	VPAND          Y15, Y7, Y7         \
	LOOKUP(Y7)                         \
	STORE((128*j+32)(DI), (128*j+96)(DI))

// func unpackQ4_KAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_KAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ    ·tableQ4(SB), R10
	VMOVDQU inPairs<>(SB), X9
	VMOVDQU halves<>(SB), Y12
	PCALIGN $32
block:
	SCALESMINS
	PAIRQ4_K(0, 0x00)
	PAIRQ4_K(1, 0x55)
	PAIRQ4_K(2, 0xaa)
	PAIRQ4_K(3, 0xff)
	ADDQ $144, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET

// HALFPAIRQ5_K unpacks 16 weights of groups 2j and 2j+1, from weight i on. Y8 is halves.
#define HALFPAIRQ5_K(j, i, SHIFT) \
	VBROADCASTI128 (48+32*j+i)(SI), Y4        \
	VPSRLVD        Y8, Y4, Y4                 \
	VPAND          Y15, Y4, Y4                \
	VBROADCASTI128 (16+i)(SI), Y5             \
	SHIFT          fifth<>+(32*j)(SB), Y5, Y5 \
	VPAND          Y14, Y5, Y5                \
	VPOR           Y5, Y4, Y4                 \
	MULTIPLYADD(VFMSUB213PS)                  \
	STORE((128*j+2*i)(DI), (128*j+2*i+64)(DI))

#define PAIRQ5_K(j, select, SHIFT) \
	VPERMILPS $select, Y10, Y0 \
	VPERMILPS $select, Y11, Y1 \
	HALFPAIRQ5_K(j, 0, SHIFT)  \
	HALFPAIRQ5_K(j, 16, SHIFT)

// func unpackQ5_KAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_KAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	WEIGHTBYWEIGHT
	VMOVDQU inPairs<>(SB), X9
	VMOVDQU halves<>(SB), Y8
	BYTES(16, AX, X14, Y14)
	PCALIGN $32
block:
	SCALESMINS
	VBROADCASTSS consts<>+4(SB), Y0
	VMULPS       Y0, Y10, Y10
	PAIRQ5_K(0, 0x00, VPSLLVD)
	PAIRQ5_K(1, 0x55, VPSLLVD)
	PAIRQ5_K(2, 0xaa, VPSRLVD)
	PAIRQ5_K(3, 0xff, VPSRLVD)
	ADDQ $176, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET

// SCALES16 sets a (scales 0 … 7) and b (scales 8 … 15) to the signed bytes in x, in the order of inPairs in
// each half, times Y0.
#define SCALES16(x, xb, a, b) \
	VPSHUFB   inPairs<>(SB), x, x \
	VPSRLDQ   $8, x, xb           \
	VPMOVSXBD x, a                \
	VPMOVSXBD xb, b               \
	VCVTDQ2PS a, a                \
	VCVTDQ2PS b, b                \
	VMULPS    Y0, a, a            \
	VMULPS    Y0, b, b

// What a macro does to the bits of each byte; a mask follows.
#define NONE(y)
#define LEFT4(y) VPSLLW $4, y, y
#define LEFT2(y) VPSLLW $2, y, y
#define LEFT1(y) VPSLLW $1, y, y
#define LEFT3(y) VPSLLW $3, y, y
#define RIGHT1(y) VPSRLW $1, y, y
#define RIGHT2(y) VPSRLW $2, y, y
#define RIGHT3(y) VPSRLW $3, y, y
#define RIGHT4(y) VPSRLW $4, y, y
#define RIGHT5(y) VPSRLW $5, y, y

// GROUPSQ6_K unpacks two groups of 16 weights to offset to. Their lower four bits are at offset at, in the
// half of each byte that LOW moves down. Y14 are 32 bytes with the upper two bits, which HIGH moves to bits
// 4 and 5. Y8 are bytes 0x30, Y9 bytes 32.
#define GROUPSQ6_K(at, to, scales, select, LOW, HIGH) \
	VMOVDQU   at(SI), Y4          \
	LOW(Y4)                       \
	VPAND     Y15, Y4, Y4         \
	VMOVDQA   Y14, Y5             \
	HIGH(Y5)                      \
	VPAND     Y8, Y5, Y5          \
	VPOR      Y5, Y4, Y4          \
	VPSUBB    Y9, Y4, Y4          \
	VPERMILPS $select, scales, Y0 \
	MULTIPLY                      \
	STORE((to)(DI), (to+32)(DI))

#define HALFQ6_K(half, scales) \
	VMOVDQU (128+32*half)(SI), Y14                                       \
	GROUPSQ6_K((64*half), (256*half), scales, 0x00, NONE, LEFT4)         \
	GROUPSQ6_K((64*half+32), (256*half+64), scales, 0x55, NONE, LEFT2)   \
	GROUPSQ6_K((64*half), (256*half+128), scales, 0xaa, RIGHT4, NONE)    \
	GROUPSQ6_K((64*half+32), (256*half+192), scales, 0xff, RIGHT4, RIGHT2)

// func unpackQ6_KAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ6_KAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	WEIGHTBYWEIGHT
	BYTES(0x30, AX, X8, Y8)
	BYTES(32, AX, X9, Y9)
	PCALIGN $32
block:
	PREFETCHT0 0(SI)(R13*1)
	PREFETCHT0 64(SI)(R13*1)
	PREFETCHT0 128(SI)(R13*1)
	PREFETCHT0 192(SI)(R13*1)
	HALF(208(SI), X0, Y0)
	VBROADCASTSS consts<>+4(SB), Y1
	VMULPS  Y1, Y0, Y0
	VMOVDQU 192(SI), X10
	SCALES16(X10, X11, Y10, Y11)
	HALFQ6_K(0, Y10)
	HALFQ6_K(1, Y11)
	ADDQ $210, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET

// IQ4_XS: groups 2j and 2j+1. Y10 has the scales.
#define PAIRIQ4_XS(j, select) \
	VPERMILPS $select, Y10, Y0         \
	PRODUCTS16                         \
	TABLES                             \
	VMOVDQU   (8+32*j)(SI), Y7         \
	VPAND     Y15, Y7, Y8              \
	VPSRLW    $4, Y7, Y7               \
	VPAND     Y15, Y7, Y7              \
	LOOKUP(Y8)                         \
	STORE((128*j)(DI), (128*j+64)(DI)) \
	LOOKUP(Y7)                         \
	STORE((128*j+32)(DI), (128*j+96)(DI))

// func unpackIQ4_XSAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackIQ4_XSAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ     ·tableIQ4(SB), R10
	VPCMPEQD Y11, Y11, Y11
	VPSRLD   $31, Y11, Y12
	VPSLLD   $5, Y12, Y12  // 32
	VPSRLD   $30, Y11, Y11 // 3
block:
	PREFETCHT0   0(SI)(R13*1)
	PREFETCHT0   64(SI)(R13*1)
	PREFETCHT0   128(SI)(R13*1)
	MOVL         4(SI), AX
	MOVL         AX, BX
	ANDL         $0x0f0f0f0f, AX
	SHRL         $4, BX
	ANDL         $0x0f0f0f0f, BX
	VMOVD        AX, X10
	VPINSRD      $1, BX, X10, X10
	VPMOVZXBD    X10, Y10
	MOVWLZX      2(SI), AX
	VMOVD        AX, X2
	VPBROADCASTD X2, Y2
	VPSRLVD      upperScales<>(SB), Y2, Y2
	VPAND        Y11, Y2, Y2
	VPSLLD       $4, Y2, Y2
	VPOR         Y2, Y10, Y10
	VPSUBD       Y12, Y10, Y10
	VCVTDQ2PS    Y10, Y10
	HALF(0(SI), X0, Y0)
	VMULPS       Y0, Y10, Y10
	PAIRIQ4_XS(0, 0x00)
	PAIRIQ4_XS(1, 0x55)
	PAIRIQ4_XS(2, 0xaa)
	PAIRIQ4_XS(3, 0xff)
	ADDQ $136, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET

// Q3_K: a group has 8 values. Their words are one table a lane: Y2. Y14 are 32 bytes with the lower two
// bits, and at SI are 32 bytes with the third; Y8 are bytes 6, Y9 bytes 8, Y12 bytes 1. LOW and HIGH move
// the bits to bits 1 to 3.
#define GROUPSQ3_K(to, scales, select, LOW, HIGH) \
	VPERMILPS $select, scales, Y0 \
	PRODUCT(0, Y2)                \
	PRODUCT(1, Y3)                \
	VPSRLD    $16, Y2, Y2         \
	VPOR      Y3, Y2, Y2          \
	VMOVDQA   Y14, Y4             \
	LOW(Y4)                       \
	VPAND     Y8, Y4, Y4          \
	VMOVDQU   (SI), Y5            \
	HIGH(Y5)                      \
	VPAND     Y9, Y5, Y5          \
	VPOR      Y5, Y4, Y4          \
	VPOR      Y12, Y4, Y5         \
	VPSHUFB   Y4, Y2, Y4          \
	VPSHUFB   Y5, Y2, Y5          \
	WORDS                         \
	STORE((to)(DI), (to+32)(DI))

// func unpackQ3_KAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ3_KAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ    ·tableQ3K(SB), R10
	BYTES(0x30, AX, X7, Y7)
	BYTES(6, AX, X8, Y8)
	BYTES(8, AX, X9, Y9)
	BYTES(1, AX, X12, Y12)
block:
	PREFETCHT0   0(SI)(R13*1)
	PREFETCHT0   64(SI)(R13*1)
	VMOVQ        96(SI), X10
	VPBROADCASTD 104(SI), X11
	VPSRLW       $4, X10, X2
	VPUNPCKLQDQ  X2, X10, X10
	VPAND        X15, X10, X10
	VPSRLVD      upperScales3<>(SB), X11, X11
	VPSLLW       $4, X11, X11
	VPAND        X7, X11, X11
	VPOR         X11, X10, X10
	VPSLLW       $5, X12, X2
	VPSUBB       X2, X10, X10
	HALF(108(SI), X0, Y0)
	SCALES16(X10, X11, Y10, Y11)
	VMOVDQU      32(SI), Y14
	GROUPSQ3_K(0, Y10, 0x00, LEFT1, LEFT3)
	GROUPSQ3_K(64, Y10, 0x55, RIGHT1, LEFT2)
	GROUPSQ3_K(128, Y10, 0xaa, RIGHT3, LEFT1)
	GROUPSQ3_K(192, Y10, 0xff, RIGHT5, NONE)
	VMOVDQU      64(SI), Y14
	GROUPSQ3_K(256, Y11, 0x00, LEFT1, RIGHT1)
	GROUPSQ3_K(320, Y11, 0x55, RIGHT1, RIGHT2)
	GROUPSQ3_K(384, Y11, 0xaa, RIGHT3, RIGHT3)
	GROUPSQ3_K(448, Y11, 0xff, RIGHT5, RIGHT4)
	ADDQ $110, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET

// Q2_K: a group has 4 values. The float32 are one table a lane: Y2. Y14 are 32 bytes of weights; Y7 are
// bytes 12, Y12 bytes 2, Y15 bytes 3. MOVE moves the weight to bits 2 and 3.
#define GROUPSQ2_K(to, scales, mins, select, MOVE) \
	VPERMILPS $select, scales, Y0 \
	VPERMILPS $select, mins, Y1   \
	LINE(VFMSUB213PS, 0, Y2)      \
	VMOVDQA   Y14, Y3             \
	MOVE(Y3)                      \
	VPAND     Y7, Y3, Y3          \
	VPOR      Y12, Y3, Y4         \
	VPOR      Y15, Y3, Y5         \
	VPSHUFB   Y4, Y2, Y4          \
	VPSHUFB   Y5, Y2, Y5          \
	WORDS                         \
	STORE((to)(DI), (to+32)(DI))

// func unpackQ2_KAVX2(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ2_KAVX2(SB), NOSPLIT, $0-32
	ARGUMENTS
	LEAQ ·tableQ2K(SB), R10
	BYTES(12, AX, X7, Y7)
	BYTES(2, AX, X12, Y12)
	BYTES(3, AX, X15, Y15)
block:
	PREFETCHT0 0(SI)(R13*1)
	PREFETCHT0 64(SI)(R13*1)
	VMOVDQU 0(SI), X10
	VPSRLW  $4, X10, X8
	VPOR    X7, X15, X2 // bytes 15
	VPAND   X2, X10, X10
	VPAND   X2, X8, X8
	HALF(80(SI), X0, Y0)
	SCALES16(X10, X11, Y10, Y11)
	HALF(82(SI), X0, Y0)
	SCALES16(X8, X9, Y8, Y9)
	VMOVDQU 16(SI), Y14
	GROUPSQ2_K(0, Y10, Y8, 0x00, LEFT2)
	GROUPSQ2_K(64, Y10, Y8, 0x55, NONE)
	GROUPSQ2_K(128, Y10, Y8, 0xaa, RIGHT2)
	GROUPSQ2_K(192, Y10, Y8, 0xff, RIGHT4)
	VMOVDQU 48(SI), Y14
	GROUPSQ2_K(256, Y11, Y9, 0x00, LEFT2)
	GROUPSQ2_K(320, Y11, Y9, 0x55, NONE)
	GROUPSQ2_K(384, Y11, Y9, 0xaa, RIGHT2)
	GROUPSQ2_K(448, Y11, Y9, 0xff, RIGHT4)
	ADDQ $84, SI
	ADDQ $512, DI
	SUBQ $256, CX
	JNZ  block
	VZEROUPPER
	RET
