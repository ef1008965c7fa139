#include "textflag.h"
#include "go_asm.h"

// Unpackers of quantized weights for NEON, see unpacker. Go's assembler writes the destination last; VFMLA
// a, b, c is c += a·b and VFMLS c -= a·b, rounded once. The results of a group of 16 weights go to R0,
// which advances. Rounding is explained in unpack_avx2_amd64.s: x becomes c - (c - x), where c = 65536·x.

// Instructions that Go's assembler does not know, from the Arm Architecture Reference Manual. d, n and m
// are numbers of registers: d = n op m. FCVTL widens four float16 to float32. SXTL widens the lower half
// of the signed numbers of a register, SXTL2 the upper half; B is from bytes, H from 16 bits. SCVTF
// converts int32 to float32.
#define FADD(m, n, d) WORD $(0x4e20d400 | m<<16 | n<<5 | d)
#define FSUB(m, n, d) WORD $(0x4ea0d400 | m<<16 | n<<5 | d)
#define FMUL(m, n, d) WORD $(0x6e20dc00 | m<<16 | n<<5 | d)
#define FNEG(n, d) WORD $(0x6ea0f800 | n<<5 | d)
#define FCVTL(n, d) WORD $(0x0e217800 | n<<5 | d)
#define SXTLB(n, d) WORD $(0x0f08a400 | n<<5 | d)
#define SXTL2B(n, d) WORD $(0x4f08a400 | n<<5 | d)
#define SXTLH(n, d) WORD $(0x0f10a400 | n<<5 | d)
#define SXTL2H(n, d) WORD $(0x4f10a400 | n<<5 | d)
#define SCVTF(n, d) WORD $(0x4e21d800 | n<<5 | d)

// Q5_0, Q5_1: byte i/8 at i, for the weights 0 … 15 and 16 … 31, and bit i%8.
DATA bits<>+0(SB)/8, $0x0000000000000000
DATA bits<>+8(SB)/8, $0x0101010101010101
DATA bits<>+16(SB)/8, $0x0202020202020202
DATA bits<>+24(SB)/8, $0x0303030303030303
DATA bits<>+32(SB)/8, $0x8040201008040201
DATA bits<>+40(SB)/8, $0x8040201008040201
GLOBL bits<>(SB), RODATA|NOPTR, $48

// ARGUMENTS loads dst to R0, src to R1, n to R2 and ahead to R3, and constants: 65536 to V24, bytes 15 to
// V31.
#define ARGUMENTS \
	MOVD  dst+0(FP), R0    \
	MOVD  src+8(FP), R1    \
	MOVD  n+16(FP), R2     \
	MOVD  ahead+24(FP), R3 \
	MOVD  $0x47800000, R4  \
	VDUP  R4, V24.S4       \
	VMOVI $15, V31.B16

// TABLE loads the 16 values of a table to V16 … V19.
#define TABLE(table) \
	MOVD $table(SB), R4 \
	VLD1 (R4), [V16.S4, V17.S4, V18.S4, V19.S4]

// AHEAD prefetches the cache line of the byte at offset d, ahead bytes later.
#define AHEAD(d) \
	ADD  $d, R3, R4 \
	ADD  R1, R4, R4 \
	PRFM (R4), PLDL1KEEP

// HALF sets all four of v, register d, to the float16 at offset at.
#define HALF(at, v, d) \
	ADD   $at, R1, R4  \
	VLD1R (R4), [v.H8] \
	FCVTL(d, d)

// ---- Tables of values

// ROUND rounds register y. Register t is overwritten.
#define ROUND(y, t) \
	FMUL(24, y, t) \
	FSUB(y, t, y)  \
	FSUB(y, t, y)

// PRODUCT sets register y to register q, a quarter of the table, times V0, rounded. The products are exact.
#define PRODUCT(q, y) \
	FMUL(0, q, y) \
	ROUND(y, 8)

// LINE sets y to a quarter of the table times V0, plus V1, rounded.
#define LINE(q, y, yNumber) \
	VMOV  V1.B16, y.B16     \
	VFMLA V0.S4, q.S4, y.S4 \
	ROUND(yNumber, 8)

#define PRODUCTS16 \
	PRODUCT(16, 4) \
	PRODUCT(17, 5) \
	PRODUCT(18, 6) \
	PRODUCT(19, 7) \
	TABLES
#define LINES16 \
	LINE(V16, V4, 4) \
	LINE(V17, V5, 5) \
	LINE(V18, V6, 6) \
	LINE(V19, V7, 7) \
	TABLES

// UPPERHALVES makes words of V4 … V7: V4 and V5.
#define UPPERHALVES \
	VUZP2 V5.H8, V4.H8, V4.H8 \
	VUZP2 V7.H8, V6.H8, V5.H8

// TABLES makes of V4 … V7 the 16 values: their lower bytes in V8, their upper bytes in V9.
#define TABLES \
	UPPERHALVES                  \
	VUZP1 V5.B16, V4.B16, V8.B16 \
	VUZP2 V5.B16, V4.B16, V9.B16

// LOOKUP writes the values with the numbers in index.
#define LOOKUP(index) \
	VTBL index.B16, [V8.B16], V4.B16 \
	VTBL index.B16, [V9.B16], V5.B16 \
	WORDS

// WORDS writes the words of lower bytes V4 and upper bytes V5.
#define WORDS \
	VZIP1  V5.B16, V4.B16, V6.B16 \
	VZIP2  V5.B16, V4.B16, V7.B16 \
	VST1.P [V6.B16, V7.B16], 32(R0)

// NIBBLES sets V11 and V12 to the lower and upper halves of the 16 bytes at offset at.
#define NIBBLES(at) \
	ADD   $at, R1, R4          \
	VLD1  (R4), [V11.B16]      \
	VUSHR $4, V11.B16, V12.B16 \
	VAND  V31.B16, V11.B16, V11.B16

#define LOOKUP32(table) \
	ARGUMENTS      \
	TABLE(table)   \
block:                 \
	AHEAD(0)       \
	HALF(0, V0, 0) \
	PRODUCTS16     \
	NIBBLES(2)     \
	LOOKUP(V11)    \
	LOOKUP(V12)    \
	ADD  $18, R1   \
	SUBS $32, R2   \
	BNE  block     \
	RET

// func unpackQ4_0NEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_0NEON(SB), NOSPLIT, $0-32
	LOOKUP32(·tableQ4_0)

// func unpackIQ4_NLNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackIQ4_NLNEON(SB), NOSPLIT, $0-32
	LOOKUP32(·tableIQ4)

// func unpackQ4_1NEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_1NEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	TABLE(·tableQ4)
block:
	AHEAD(0)
	HALF(0, V0, 0)
	HALF(2, V1, 1)
	LINES16
	NIBBLES(4)
	LOOKUP(V11)
	LOOKUP(V12)
	ADD  $20, R1
	SUBS $32, R2
	BNE  block
	RET

// ---- Weight by weight

// INTEGERS sets V4 … V7 to the signed bytes of register n as float32.
#define INTEGERS(n) \
	SXTLB(n, 8)  \
	SXTL2B(n, 9) \
	SXTLH(8, 4)  \
	SXTL2H(8, 5) \
	SXTLH(9, 6)  \
	SXTL2H(9, 7) \
	SCVTF(4, 4)  \
	SCVTF(5, 5)  \
	SCVTF(6, 6)  \
	SCVTF(7, 7)

// ROUNDED writes V4 … V7, rounded.
#define ROUNDED \
	ROUND(4, 8) \
	ROUND(5, 9) \
	ROUND(6, 8) \
	ROUND(7, 9) \
	UPPERHALVES \
	VST1.P [V4.B16, V5.B16], 32(R0)

// MULTIPLY writes the signed bytes of register n times V0.
#define MULTIPLY(n) \
	INTEGERS(n)   \
	FMUL(0, 4, 4) \
	FMUL(0, 5, 5) \
	FMUL(0, 6, 6) \
	FMUL(0, 7, 7) \
	ROUNDED

// MULTIPLYADD writes the signed bytes of register n times V0, plus V1.
#define ADDMINIMUM(d) \
	FMUL(0, d, d) \
	FADD(1, d, d)
#define MULTIPLYADD(n) \
	INTEGERS(n)   \
	ADDMINIMUM(4) \
	ADDMINIMUM(5) \
	ADDMINIMUM(6) \
	ADDMINIMUM(7) \
	ROUNDED

// func unpackQ8_0NEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ8_0NEON(SB), NOSPLIT, $0-32
	ARGUMENTS
block:
	AHEAD(0)
	HALF(0, V0, 0)
	ADD  $2, R1, R4
	VLD1 (R4), [V11.B16, V12.B16]
	MULTIPLY(11)
	MULTIPLY(12)
	ADD  $34, R1
	SUBS $32, R2
	BNE  block
	RET

// FIFTHBITS sets the bits 4 of V11 and V12 to the fifth bits of a block's weights, which are 32 bits at
// offset at. V25 and V26 are orders of bytes, V27 selects bits, V28 are bytes 16.
#define FIFTHBITS(at) \
	MOVWU  at(R1), R4                  \
	VDUP   R4, V13.S4                  \
	VTBL   V25.B16, [V13.B16], V14.B16 \
	VTBL   V26.B16, [V13.B16], V15.B16 \
	VCMTST V27.B16, V14.B16, V14.B16   \
	VCMTST V27.B16, V15.B16, V15.B16   \
	VAND   V28.B16, V14.B16, V14.B16   \
	VAND   V28.B16, V15.B16, V15.B16   \
	VORR   V14.B16, V11.B16, V11.B16   \
	VORR   V15.B16, V12.B16, V12.B16
#define FIFTHCONSTANTS \
	MOVD  $bits<>(SB), R4                   \
	VLD1  (R4), [V25.B16, V26.B16, V27.B16] \
	VMOVI $16, V28.B16

// func unpackQ5_0NEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_0NEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	FIFTHCONSTANTS
block:
	AHEAD(0)
	HALF(0, V0, 0)
	NIBBLES(6)
	FIFTHBITS(2)
	VSUB V28.B16, V11.B16, V11.B16
	VSUB V28.B16, V12.B16, V12.B16
	MULTIPLY(11)
	MULTIPLY(12)
	ADD  $22, R1
	SUBS $32, R2
	BNE  block
	RET

// func unpackQ5_1NEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_1NEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	FIFTHCONSTANTS
block:
	AHEAD(0)
	HALF(0, V0, 0)
	HALF(2, V1, 1)
	NIBBLES(8)
	FIFTHBITS(4)
	MULTIPLYADD(11)
	MULTIPLYADD(12)
	ADD  $24, R1
	SUBS $32, R2
	BNE  block
	RET

// ---- Super-blocks of 256 weights

// FLOATS16 sets V25 … V28 to the signed bytes of register n times V0.
#define FLOATS16(n) \
	INTEGERS(n)    \
	FMUL(0, 4, 25) \
	FMUL(0, 5, 26) \
	FMUL(0, 6, 27) \
	FMUL(0, 7, 28)

// SCALESMINS sets V25 and V26 to the scales of the eight groups of Q4_K or Q5_K, V27 and V28 to their
// minimums, negative.
#define SCALESMINS \
	MOVWU 4(R1), R4           \
	MOVWU 8(R1), R5           \
	MOVWU 12(R1), R6          \
	AND   $0x3f3f3f3f, R4, R7 \
	AND   $0x3f3f3f3f, R5, R8 \
	LSR   $2, R4, R4          \
	LSR   $2, R5, R5          \
	AND   $0x30303030, R4, R4 \
	AND   $0x30303030, R5, R5 \
	AND   $0x0f0f0f0f, R6, R9 \
	LSR   $4, R6, R6          \
	AND   $0x0f0f0f0f, R6, R6 \
	ORR   R9, R4, R4          \
	ORR   R6, R5, R5          \
	VMOV  R7, V11.S[0]        \
	VMOV  R4, V11.S[1]        \
	VMOV  R8, V11.S[2]        \
	VMOV  R5, V11.S[3]        \
	HALF(0, V0, 0)            \
	HALF(2, V1, 1)            \
	FNEG(1, 1)                \
	INTEGERS(11)              \
	FMUL(0, 4, 25)            \
	FMUL(0, 5, 26)            \
	FMUL(1, 6, 27)            \
	FMUL(1, 7, 28)

// PAIRQ4_K unpacks groups 2j and 2j+1, whose scales and minimums are elements i and i+1. R5 is where their
// weights are.
#define PAIRQ4_K(scales, mins, i, j) \
	VLD1.P 32(R5), [V13.B16, V14.B16] \
	VDUP   scales.S[i], V0.S4         \
	VDUP   mins.S[i], V1.S4           \
	LINES16                           \
	VAND   V31.B16, V13.B16, V11.B16  \
	VAND   V31.B16, V14.B16, V12.B16  \
	LOOKUP(V11)                       \
	LOOKUP(V12)                       \
	VDUP   scales.S[j], V0.S4         \
	VDUP   mins.S[j], V1.S4           \
	LINES16                           \
	VUSHR  $4, V13.B16, V11.B16       \
	VUSHR  $4, V14.B16, V12.B16       \
	LOOKUP(V11)                       \
	LOOKUP(V12)

// func unpackQ4_KNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_KNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	TABLE(·tableQ4)
block:
	AHEAD(0)
	AHEAD(64)
	AHEAD(128)
	SCALESMINS
	ADD $16, R1, R5
	PAIRQ4_K(V25, V27, 0, 1)
	PAIRQ4_K(V25, V27, 2, 3)
	PAIRQ4_K(V26, V28, 0, 1)
	PAIRQ4_K(V26, V28, 2, 3)
	ADD  $144, R1
	SUBS $256, R2
	BNE  block
	RET

// What a macro does to the bits of each byte, of V11, V12 and others.
#define NONE(from, to) VMOV from.B16, to.B16
#define LOWER(from, to) VAND V31.B16, from.B16, to.B16
#define LEFT1(from, to) VSHL $1, from.B16, to.B16
#define LEFT2(from, to) VSHL $2, from.B16, to.B16
#define LEFT3(from, to) VSHL $3, from.B16, to.B16
#define LEFT4(from, to) VSHL $4, from.B16, to.B16
#define RIGHT1(from, to) VUSHR $1, from.B16, to.B16
#define RIGHT2(from, to) VUSHR $2, from.B16, to.B16
#define RIGHT3(from, to) VUSHR $3, from.B16, to.B16
#define RIGHT4(from, to) VUSHR $4, from.B16, to.B16
#define RIGHT5(from, to) VUSHR $5, from.B16, to.B16

// GROUPQ5_K unpacks a group. V13 and V14 have the lower bits, V16 and V17 the fifth bits, which FIFTH
// moves to bit 4. V18 are bytes 16.
#define GROUPQ5_K(scales, mins, i, LOW, FIFTH) \
	VDUP scales.S[i], V0.S4        \
	VDUP mins.S[i], V1.S4          \
	LOW(V13, V11)                  \
	LOW(V14, V12)                  \
	FIFTH(V16, V19)                \
	FIFTH(V17, V20)                \
	VAND V18.B16, V19.B16, V19.B16 \
	VAND V18.B16, V20.B16, V20.B16 \
	VORR V19.B16, V11.B16, V11.B16 \
	VORR V20.B16, V12.B16, V12.B16 \
	MULTIPLYADD(11)                \
	MULTIPLYADD(12)
#define PAIRQ5_K(scales, mins, i, j, FIFTH, FIFTH2) \
	VLD1.P 32(R5), [V13.B16, V14.B16]        \
	GROUPQ5_K(scales, mins, i, LOWER, FIFTH) \
	GROUPQ5_K(scales, mins, j, RIGHT4, FIFTH2)

// func unpackQ5_KNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_KNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVI $16, V18.B16
block:
	AHEAD(0)
	AHEAD(64)
	AHEAD(128)
	SCALESMINS
	ADD    $16, R1, R5
	VLD1.P 32(R5), [V16.B16, V17.B16]
	PAIRQ5_K(V25, V27, 0, 1, LEFT4, LEFT3)
	PAIRQ5_K(V25, V27, 2, 3, LEFT2, LEFT1)
	PAIRQ5_K(V26, V28, 0, 1, NONE, RIGHT1)
	PAIRQ5_K(V26, V28, 2, 3, RIGHT2, RIGHT3)
	ADD  $176, R1
	SUBS $256, R2
	BNE  block
	RET

// GROUPQ6_K unpacks 16 weights, whose lower bits are in low and whose upper two bits are in high. V18 are
// bytes 0x30, V19 bytes 32.
#define GROUPQ6_K(scales, i, low, LOW, high, HIGH) \
	VDUP scales.S[i], V0.S4        \
	LOW(low, V11)                  \
	HIGH(high, V12)                \
	VAND V18.B16, V12.B16, V12.B16 \
	VORR V12.B16, V11.B16, V11.B16 \
	VSUB V19.B16, V11.B16, V11.B16 \
	MULTIPLY(11)

// HALFQ6_K unpacks 128 weights. R5 is where their lower bits are, R6 the upper ones.
#define HALFQ6_K(s0, s1) \
	VLD1.P 64(R5), [V20.B16, V21.B16, V22.B16, V23.B16] \
	VLD1.P 32(R6), [V29.B16, V30.B16]                   \
	GROUPQ6_K(s0, 0, V20, LOWER, V29, LEFT4)            \
	GROUPQ6_K(s0, 1, V21, LOWER, V30, LEFT4)            \
	GROUPQ6_K(s0, 2, V22, LOWER, V29, LEFT2)            \
	GROUPQ6_K(s0, 3, V23, LOWER, V30, LEFT2)            \
	GROUPQ6_K(s1, 0, V20, RIGHT4, V29, NONE)            \
	GROUPQ6_K(s1, 1, V21, RIGHT4, V30, NONE)            \
	GROUPQ6_K(s1, 2, V22, RIGHT4, V29, RIGHT2)          \
	GROUPQ6_K(s1, 3, V23, RIGHT4, V30, RIGHT2)

// func unpackQ6_KNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ6_KNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVI $0x30, V18.B16
	VMOVI $32, V19.B16
block:
	AHEAD(0)
	AHEAD(64)
	AHEAD(128)
	AHEAD(192)
	HALF(208, V0, 0)
	ADD  $192, R1, R4
	VLD1 (R4), [V11.B16]
	FLOATS16(11)
	MOVD R1, R5
	ADD  $128, R1, R6
	HALFQ6_K(V25, V26)
	HALFQ6_K(V27, V28)
	ADD  $210, R1
	SUBS $256, R2
	BNE  block
	RET

// func unpackIQ4_XSNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackIQ4_XSNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	TABLE(·tableIQ4)
block:
	AHEAD(0)
	AHEAD(64)
	AHEAD(128)
	HALF(0, V25, 25)
	MOVHU 2(R1), R6 // the upper bits of the scales
	MOVWU 4(R1), R5 // the lower four
	ADD   $8, R1
	MOVD  $8, R7
group:
	AND     $15, R5, R8
	AND     $3, R6, R9
	LSL     $4, R9, R9
	ORR     R9, R8, R8
	SUB     $32, R8, R8
	SCVTFWS R8, F0
	FMULS   F25, F0, F0
	VDUP    V0.S[0], V0.S4
	PRODUCTS16
	NIBBLES(0)
	LOOKUP(V11)
	LOOKUP(V12)
	ADD  $16, R1
	LSR  $4, R5, R5
	LSR  $2, R6, R6
	SUBS $1, R7
	BNE  group
	SUBS $256, R2
	BNE  block
	RET

// GROUPQ3_K unpacks 16 weights of a group, which has 8 values. Their words are the table V8. low has the
// lower two bits, high the third: LOW and HIGH move them to the bits 1 to 3. V18 are bytes 6, V19 bytes 8,
// V22 bytes 1.
#define GROUPQ3_K(scales, i, low, LOW, high, HIGH) \
	VDUP  scales.S[i], V0.S4        \
	PRODUCT(16, 4)                  \
	PRODUCT(17, 5)                  \
	VUZP2 V5.H8, V4.H8, V8.H8       \
	LOW(low, V11)                   \
	HIGH(high, V12)                 \
	VAND  V18.B16, V11.B16, V11.B16 \
	VAND  V19.B16, V12.B16, V12.B16 \
	VORR  V12.B16, V11.B16, V11.B16 \
	VORR  V22.B16, V11.B16, V12.B16 \
	VTBL  V11.B16, [V8.B16], V4.B16 \
	VTBL  V12.B16, [V8.B16], V5.B16 \
	WORDS

// func unpackQ3_KNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ3_KNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	TABLE(·tableQ3K)
	VMOVI $6, V18.B16
	VMOVI $8, V19.B16
	VMOVI $1, V22.B16
block:
	AHEAD(0)
	AHEAD(64)
	MOVD  96(R1), R4
	MOVWU 104(R1), R5
	VMOV  R4, V11.D[0]
	LSR   $4, R4, R4
	VMOV  R4, V11.D[1]
	VAND  V31.B16, V11.B16, V11.B16
	VMOV  R5, V12.S[0]
	LSR   $2, R5, R5
	VMOV  R5, V12.S[1]
	LSR   $2, R5, R5
	VMOV  R5, V12.S[2]
	LSR   $2, R5, R5
	VMOV  R5, V12.S[3]
	VSHL  $4, V12.B16, V12.B16
	VMOVI $0x30, V13.B16
	VAND  V13.B16, V12.B16, V12.B16
	VORR  V12.B16, V11.B16, V11.B16
	VMOVI $32, V13.B16
	VSUB  V13.B16, V11.B16, V11.B16
	HALF(108, V0, 0)
	FLOATS16(11)
	MOVD   R1, R5
	VLD1.P 32(R5), [V13.B16, V14.B16]
	VLD1.P 32(R5), [V29.B16, V30.B16]
	GROUPQ3_K(V25, 0, V29, LEFT1, V13, LEFT3)
	GROUPQ3_K(V25, 1, V30, LEFT1, V14, LEFT3)
	GROUPQ3_K(V25, 2, V29, RIGHT1, V13, LEFT2)
	GROUPQ3_K(V25, 3, V30, RIGHT1, V14, LEFT2)
	GROUPQ3_K(V26, 0, V29, RIGHT3, V13, LEFT1)
	GROUPQ3_K(V26, 1, V30, RIGHT3, V14, LEFT1)
	GROUPQ3_K(V26, 2, V29, RIGHT5, V13, NONE)
	GROUPQ3_K(V26, 3, V30, RIGHT5, V14, NONE)
	VLD1   (R5), [V29.B16, V30.B16]
	GROUPQ3_K(V27, 0, V29, LEFT1, V13, RIGHT1)
	GROUPQ3_K(V27, 1, V30, LEFT1, V14, RIGHT1)
	GROUPQ3_K(V27, 2, V29, RIGHT1, V13, RIGHT2)
	GROUPQ3_K(V27, 3, V30, RIGHT1, V14, RIGHT2)
	GROUPQ3_K(V28, 0, V29, RIGHT3, V13, RIGHT3)
	GROUPQ3_K(V28, 1, V30, RIGHT3, V14, RIGHT3)
	GROUPQ3_K(V28, 2, V29, RIGHT5, V13, RIGHT4)
	GROUPQ3_K(V28, 3, V30, RIGHT5, V14, RIGHT4)
	ADD  $110, R1
	SUBS $256, R2
	BNE  block
	RET

// GROUPQ2_K unpacks 16 weights of a group, which has 4 values. The float32 are the table V4. MOVE moves the
// weights to the bits 2 and 3. V17 are bytes 12, V18 bytes 2, V19 bytes 3.
#define GROUPQ2_K(scales, mins, i, q, MOVE) \
	VDUP scales.S[i], V0.S4        \
	VDUP mins.S[i], V1.S4          \
	LINE(V16, V4, 4)               \
	MOVE(q, V11)                   \
	VAND V17.B16, V11.B16, V11.B16 \
	VORR V18.B16, V11.B16, V12.B16 \
	VORR V19.B16, V11.B16, V11.B16 \
	VTBL V11.B16, [V4.B16], V5.B16 \
	VTBL V12.B16, [V4.B16], V4.B16 \
	WORDS

#define HALFQ2_K(s0, s1, m0, m1) \
	VLD1.P 32(R5), [V29.B16, V30.B16] \
	GROUPQ2_K(s0, m0, 0, V29, LEFT2)  \
	GROUPQ2_K(s0, m0, 1, V30, LEFT2)  \
	GROUPQ2_K(s0, m0, 2, V29, NONE)   \
	GROUPQ2_K(s0, m0, 3, V30, NONE)   \
	GROUPQ2_K(s1, m1, 0, V29, RIGHT2) \
	GROUPQ2_K(s1, m1, 1, V30, RIGHT2) \
	GROUPQ2_K(s1, m1, 2, V29, RIGHT4) \
	GROUPQ2_K(s1, m1, 3, V30, RIGHT4)

// func unpackQ2_KNEON(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ2_KNEON(SB), NOSPLIT, $0-32
	ARGUMENTS
	TABLE(·tableQ2K)
	VMOVI $12, V17.B16
	VMOVI $2, V18.B16
	VMOVI $3, V19.B16
block:
	AHEAD(0)
	AHEAD(64)
	VLD1  (R1), [V11.B16]
	VUSHR $4, V11.B16, V12.B16
	VAND  V31.B16, V11.B16, V11.B16
	HALF(82, V0, 0)
	FNEG(0, 0)
	INTEGERS(12)
	FMUL(0, 4, 20)
	FMUL(0, 5, 21)
	FMUL(0, 6, 22)
	FMUL(0, 7, 23)
	HALF(80, V0, 0)
	FLOATS16(11)
	ADD $16, R1, R5
	HALFQ2_K(V25, V26, V20, V21)
	HALFQ2_K(V27, V28, V22, V23)
	ADD  $84, R1
	SUBS $256, R2
	BNE  block
	RET
