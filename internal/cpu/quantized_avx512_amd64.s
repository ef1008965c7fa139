#include "textflag.h"
#include "go_asm.h"
#include "encoded_amd64.h"

// Dot products of eight rows of quantized weights with one token, for AVX512-BF16. The weights of a block
// become bfloat16 in registers, and VDPBF16PS multiplies them at once, in the order of dot8x1PairsBF16. See
// laneKernels and dotArgs.
//
//	SI, R9       the blocks of rows 0 and 4; BX and R8 are once and three times the bytes from row to row
//	R12, R13     the same rows, one chunk later
//	R10, R11     rows to prefetch
//	R15          scratch: the float16 scales of 16 blocks [8, 16], then the same as float32 [8, 16]
//	DI, R14, CX  the step in its chunk, the steps of the chunk, the steps that are left
//
// A step is one block of each row, 32 weights. A chunk is up to 16 steps: its scales are converted at once.
// Meanwhile those of the next chunk are collected.

#define HALVES 0
#define FLOATS 256

#define BEGINQ \
	MOVQ   args+0(FP), R14          \
	MOVQ   dotArgs_sums(R14), DI    \
	MOVQ   dotArgs_rows(R14), SI    \
	MOVQ   dotArgs_stride(R14), BX  \
	MOVQ   dotArgs_ahead(R14), R10  \
	MOVQ   dotArgs_x(R14), DX       \
	MOVQ   dotArgs_k(R14), CX       \
	MOVQ   dotArgs_scales(R14), R15 \
	SHRQ   $5, CX                   \
	LEAQ   (BX)(BX*2), R8           \
	LEAQ   (SI)(BX*4), R9           \
	ADDQ   SI, R10                  \
	LEAQ   (R10)(BX*4), R11

// Copies a block's scale of each of eight rows, at R12 and R13.
#define COPY8 \
	MOVWLZX (R12), AX                      \
	MOVW    AX, (HALVES+0)(R15)(DI*2)      \
	MOVWLZX (R12)(BX*1), AX                \
	MOVW    AX, (HALVES+32)(R15)(DI*2)     \
	MOVWLZX (R12)(BX*2), AX                \
	MOVW    AX, (HALVES+64)(R15)(DI*2)     \
	MOVWLZX (R12)(R8*1), AX                \
	MOVW    AX, (HALVES+96)(R15)(DI*2)     \
	MOVWLZX (R13), AX                      \
	MOVW    AX, (HALVES+128)(R15)(DI*2)    \
	MOVWLZX (R13)(BX*1), AX                \
	MOVW    AX, (HALVES+160)(R15)(DI*2)    \
	MOVWLZX (R13)(BX*2), AX                \
	MOVW    AX, (HALVES+192)(R15)(DI*2)    \
	MOVWLZX (R13)(R8*1), AX                \
	MOVW    AX, (HALVES+224)(R15)(DI*2)

#define CONVERT(row) \
	VCVTPH2PS (HALVES+32*row)(R15), Z8      \
	VMOVUPS   Z8, (FLOATS+64*row)(R15)

#define PREFETCHROWS \
	PREFETCHT0 (R10)       \
	PREFETCHT0 (R10)(BX*1) \
	PREFETCHT0 (R10)(BX*2) \
	PREFETCHT0 (R10)(R8*1) \
	PREFETCHT0 (R11)       \
	PREFETCHT0 (R11)(BX*1) \
	PREFETCHT0 (R11)(BX*2) \
	PREFETCHT0 (R11)(R8*1)

// The loops over chunks and steps, for blocks of a float16 scale and size-2 other bytes.
#define DOT8X1(STEP, size) \
chunk:                                 \
	MOVQ    $16, R14               \
	CMPQ    CX, R14                \
	CMOVQLT CX, R14                \
	XORQ    DI, DI                 \
	MOVQ    SI, R12                \
	MOVQ    R9, R13                \
copy:                                  \
	COPY8                          \
	ADDQ    $size, R12             \
	ADDQ    $size, R13             \
	INCQ    DI                     \
	CMPQ    DI, R14                \
	JNE     copy                   \
convert:                               \
	CONVERT(0)                     \
	CONVERT(1)                     \
	CONVERT(2)                     \
	CONVERT(3)                     \
	CONVERT(4)                     \
	CONVERT(5)                     \
	CONVERT(6)                     \
	CONVERT(7)                     \
	XORQ    DI, DI                 \
	MOVQ    SI, R12                \
	MOVQ    R9, R13                \
	CMPQ    CX, $32                \
	JLT     step                   \
	ADDQ    $(16*size), R12        \
	ADDQ    $(16*size), R13        \
step:                                  \
	COPY8                          \
	PREFETCHROWS                   \
	STEP                           \
	ADDQ    $size, SI              \
	ADDQ    $size, R9              \
	ADDQ    $size, R10             \
	ADDQ    $size, R11             \
	ADDQ    $size, R12             \
	ADDQ    $size, R13             \
	ADDQ    $64, DX                \
	INCQ    DI                     \
	CMPQ    DI, R14                \
	JNE     step                   \
	SUBQ    R14, CX                \
	JZ      store                  \
	CMPQ    R12, SI                \
	JNE     convert                \
	JMP     chunk                  \
store:                                 \
	MOVQ    args+0(FP), R14        \
	MOVQ    dotArgs_sums(R14), DI

// ---- Formats of 16 values: two rows at a time

// A table has the 16 values of a block of one row, then those of another row. The numbers of the weights are
// words: those of the first row in the lower half of a register, with bit 4 clear, those of the second row in
// the upper half, with bit 4 set. So one permutation of the table makes 16 weights of each row. The sums are in
// the same order: the lanes 0 … 7 of both rows are in one register, their lanes 8 … 15 in another.
#define LOAD2(d, s0, y0, s1, y1) \
	VMOVUPS       (d+0)(DI), y0           \
	VMOVUPS       (d+32)(DI), y1          \
	VINSERTF64X4  $1, (d+64)(DI), s0, s0  \
	VINSERTF64X4  $1, (d+96)(DI), s1, s1
#define STORE2(d, s0, y0, s1, y1) \
	VMOVUPS       y0, (d+0)(DI)           \
	VMOVUPS       y1, (d+32)(DI)          \
	VEXTRACTF64X4 $1, s0, (d+64)(DI)      \
	VEXTRACTF64X4 $1, s1, (d+96)(DI)

// Z29 becomes the values of a weight before they are scaled, Z28 words 15, Z27 the bit 4 of the second row.
#define BEGIN16(values) \
	BEGINQ                             \
	LOAD2(0, Z0, Y0, Z1, Y1)           \
	LOAD2(128, Z2, Y2, Z3, Y3)         \
	LOAD2(256, Z4, Y4, Z5, Y5)         \
	LOAD2(384, Z6, Y6, Z7, Y7)         \
	VMOVUPS      values<>(SB), Z29     \
	VPTERNLOGD   $0xff, Z28, Z28, Z28  \
	VPSRLW       $12, Z28, Z28         \
	VPXORD       Z26, Z26, Z26         \
	VPTERNLOGD   $0xff, Y27, Y27, Y27  \
	VPSRLW       $15, Y27, Y27         \
	VPSLLW       $4, Y27, Y27          \
	VINSERTI64X4 $1, Y27, Z26, Z27
#define END16 \
	STORE2(0, Z0, Y0, Z1, Y1)   \
	STORE2(128, Z2, Y2, Z3, Y3) \
	STORE2(256, Z4, Y4, Z5, Y5) \
	STORE2(384, Z6, Y6, Z7, Y7) \
	VZEROUPPER                  \
	RET

// The next block of two rows. TABLE sets Z8 to their values, LOW and HIGH multiply Z10 and Z11.
#define ROWS2(a, b, row, TABLE, LOW, HIGH) \
	VMULPS.BCST   (FLOATS+64*row)(R15)(DI*4), Z29, Z8    \
	VMULPS.BCST   (FLOATS+64*row+64)(R15)(DI*4), Z29, Z9 \
	VMOVDQU       a, X10                                 \
	VINSERTI128   $1, b, Y10, Y10                        \
	TABLE                                                \
	VPMOVZXBW     Y10, Z10                               \
	VPSRLW        $4, Z10, Z11                           \
	VPTERNLOGD    $0xea, Z27, Z28, Z10                   \
	VPORD         Z27, Z11, Z11                          \
	VPERMW        Z8, Z10, Z10                           \
	VPERMW        Z8, Z11, Z11                           \
	LOW                                                  \
	HIGH

#define STEP16 \
	VBROADCASTI64X4 (DX), Z30   \
	VBROADCASTI64X4 32(DX), Z31 \
	ROWS2(2(SI), 2(SI)(BX*1), 0, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z10_Z0, VDPBF16PS_Z31_Z11_Z1)       \
	ROWS2(2(SI)(BX*2), 2(SI)(R8*1), 2, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z10_Z2, VDPBF16PS_Z31_Z11_Z3) \
	ROWS2(2(R9), 2(R9)(BX*1), 4, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z10_Z4, VDPBF16PS_Z31_Z11_Z5)       \
	ROWS2(2(R9)(BX*2), 2(R9)(R8*1), 6, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z10_Z6, VDPBF16PS_Z31_Z11_Z7)

DATA valuesQ4_0<>+0(SB)/4, $-8.0
DATA valuesQ4_0<>+4(SB)/4, $-7.0
DATA valuesQ4_0<>+8(SB)/4, $-6.0
DATA valuesQ4_0<>+12(SB)/4, $-5.0
DATA valuesQ4_0<>+16(SB)/4, $-4.0
DATA valuesQ4_0<>+20(SB)/4, $-3.0
DATA valuesQ4_0<>+24(SB)/4, $-2.0
DATA valuesQ4_0<>+28(SB)/4, $-1.0
DATA valuesQ4_0<>+32(SB)/4, $0.0
DATA valuesQ4_0<>+36(SB)/4, $1.0
DATA valuesQ4_0<>+40(SB)/4, $2.0
DATA valuesQ4_0<>+44(SB)/4, $3.0
DATA valuesQ4_0<>+48(SB)/4, $4.0
DATA valuesQ4_0<>+52(SB)/4, $5.0
DATA valuesQ4_0<>+56(SB)/4, $6.0
DATA valuesQ4_0<>+60(SB)/4, $7.0
GLOBL valuesQ4_0<>(SB), RODATA|NOPTR, $64

DATA valuesIQ4<>+0(SB)/4, $-127.0
DATA valuesIQ4<>+4(SB)/4, $-104.0
DATA valuesIQ4<>+8(SB)/4, $-83.0
DATA valuesIQ4<>+12(SB)/4, $-65.0
DATA valuesIQ4<>+16(SB)/4, $-49.0
DATA valuesIQ4<>+20(SB)/4, $-35.0
DATA valuesIQ4<>+24(SB)/4, $-22.0
DATA valuesIQ4<>+28(SB)/4, $-10.0
DATA valuesIQ4<>+32(SB)/4, $1.0
DATA valuesIQ4<>+36(SB)/4, $13.0
DATA valuesIQ4<>+40(SB)/4, $25.0
DATA valuesIQ4<>+44(SB)/4, $38.0
DATA valuesIQ4<>+48(SB)/4, $53.0
DATA valuesIQ4<>+52(SB)/4, $69.0
DATA valuesIQ4<>+56(SB)/4, $89.0
DATA valuesIQ4<>+60(SB)/4, $113.0
GLOBL valuesIQ4<>(SB), RODATA|NOPTR, $64

// func dot8x1PairsQ4_0(args *dotArgs)
TEXT ·dot8x1PairsQ4_0(SB), NOSPLIT, $0-8
	BEGIN16(valuesQ4_0)
	DOT8X1(STEP16, 18)
	END16

// func dot8x1PairsIQ4_NL(args *dotArgs)
TEXT ·dot8x1PairsIQ4_NL(SB), NOSPLIT, $0-8
	BEGIN16(valuesIQ4)
	DOT8X1(STEP16, 18)
	END16

// ---- Q8_0

#define BEGINNATURAL \
	BEGINQ               \
	VMOVUPS 0(DI), Z0    \
	VMOVUPS 64(DI), Z1   \
	VMOVUPS 128(DI), Z2  \
	VMOVUPS 192(DI), Z3  \
	VMOVUPS 256(DI), Z4  \
	VMOVUPS 320(DI), Z5  \
	VMOVUPS 384(DI), Z6  \
	VMOVUPS 448(DI), Z7
#define ENDNATURAL \
	VMOVUPS Z0, 0(DI)    \
	VMOVUPS Z1, 64(DI)   \
	VMOVUPS Z2, 128(DI)  \
	VMOVUPS Z3, 192(DI)  \
	VMOVUPS Z4, 256(DI)  \
	VMOVUPS Z5, 320(DI)  \
	VMOVUPS Z6, 384(DI)  \
	VMOVUPS Z7, 448(DI)  \
	VZEROUPPER           \
	RET

#define ROWQ8_0(a, b, row, ROUND, MULTIPLY) \
	VPMOVSXBD   a, Z8                                \
	VPMOVSXBD   b, Z9                                \
	VCVTDQ2PS   Z8, Z8                               \
	VCVTDQ2PS   Z9, Z9                               \
	VMULPS.BCST (FLOATS+64*row)(R15)(DI*4), Z8, Z8   \
	VMULPS.BCST (FLOATS+64*row)(R15)(DI*4), Z9, Z9   \
	ROUND                                            \
	MULTIPLY

#define STEPQ8_0 \
	VMOVDQU64 (DX), Z30 \
	ROWQ8_0(2(SI), 18(SI), 0, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z0)             \
	ROWQ8_0(2(SI)(BX*1), 18(SI)(BX*1), 1, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z1) \
	ROWQ8_0(2(SI)(BX*2), 18(SI)(BX*2), 2, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z2) \
	ROWQ8_0(2(SI)(R8*1), 18(SI)(R8*1), 3, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z3) \
	ROWQ8_0(2(R9), 18(R9), 4, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z4)             \
	ROWQ8_0(2(R9)(BX*1), 18(R9)(BX*1), 5, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z5) \
	ROWQ8_0(2(R9)(BX*2), 18(R9)(BX*2), 6, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z6) \
	ROWQ8_0(2(R9)(R8*1), 18(R9)(R8*1), 7, VCVTNE2PS2BF16_Z8_Z9_Z8, VDPBF16PS_Z30_Z8_Z7)

// func dot8x1PairsQ8_0(args *dotArgs)
TEXT ·dot8x1PairsQ8_0(SB), NOSPLIT, $0-8
	BEGINNATURAL
	DOT8X1(STEPQ8_0, 34)
	ENDNATURAL
