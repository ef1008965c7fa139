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

// The arguments of an unpacker: DX is the destination, SI the block, R9 the bytes to prefetch.
#define BEGINUNPACK \
	MOVQ dst+0(FP), DX    \
	MOVQ src+8(FP), SI    \
	MOVQ n+16(FP), CX     \
	MOVQ ahead+24(FP), R9 \
	ADDQ SI, R9

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
	MOVWLZX (R12), AX                   \
	MOVW    AX, (HALVES+0)(R15)(DI*2)   \
	MOVWLZX (R12)(BX*1), AX             \
	MOVW    AX, (HALVES+32)(R15)(DI*2)  \
	MOVWLZX (R12)(BX*2), AX             \
	MOVW    AX, (HALVES+64)(R15)(DI*2)  \
	MOVWLZX (R12)(R8*1), AX             \
	MOVW    AX, (HALVES+96)(R15)(DI*2)  \
	MOVWLZX (R13), AX                   \
	MOVW    AX, (HALVES+128)(R15)(DI*2) \
	MOVWLZX (R13)(BX*1), AX             \
	MOVW    AX, (HALVES+160)(R15)(DI*2) \
	MOVWLZX (R13)(BX*2), AX             \
	MOVW    AX, (HALVES+192)(R15)(DI*2) \
	MOVWLZX (R13)(R8*1), AX             \
	MOVW    AX, (HALVES+224)(R15)(DI*2)

#define CONVERT(row) \
	VCVTPH2PS (HALVES+32*row)(R15), Z8 \
	VMOVUPS   Z8, (FLOATS+64*row)(R15)

#define PREFETCHROWS \
	PREFETCHT1 (R10)       \
	PREFETCHT1 (R10)(BX*1) \
	PREFETCHT1 (R10)(BX*2) \
	PREFETCHT1 (R10)(R8*1) \
	PREFETCHT1 (R11)       \
	PREFETCHT1 (R11)(BX*1) \
	PREFETCHT1 (R11)(BX*2) \
	PREFETCHT1 (R11)(R8*1)

// The loops over chunks and steps, for blocks of a float16 scale and size-2 other bytes.
#define DOT8X1(STEP, size) \
chunk:                          \
	MOVQ    $16, R14        \
	CMPQ    CX, R14         \
	CMOVQLT CX, R14         \
	XORQ    DI, DI          \
	MOVQ    SI, R12         \
	MOVQ    R9, R13         \
copy:                           \
	COPY8                   \
	ADDQ    $size, R12      \
	ADDQ    $size, R13      \
	INCQ    DI              \
	CMPQ    DI, R14         \
	JNE     copy            \
convert:                        \
	CONVERT(0)              \
	CONVERT(1)              \
	CONVERT(2)              \
	CONVERT(3)              \
	CONVERT(4)              \
	CONVERT(5)              \
	CONVERT(6)              \
	CONVERT(7)              \
	XORQ    DI, DI          \
	MOVQ    SI, R12         \
	MOVQ    R9, R13         \
	CMPQ    CX, $32         \
	JLT     step            \
	ADDQ    $(16*size), R12 \
	ADDQ    $(16*size), R13 \
step:                           \
	COPY8                   \
	PREFETCHROWS            \
	STEP                    \
	ADDQ    $size, SI       \
	ADDQ    $size, R9       \
	ADDQ    $size, R10      \
	ADDQ    $size, R11      \
	ADDQ    $size, R12      \
	ADDQ    $size, R13      \
	ADDQ    $64, DX         \
	INCQ    DI              \
	CMPQ    DI, R14         \
	JNE     step            \
	SUBQ    R14, CX         \
	JZ      store           \
	CMPQ    R12, SI         \
	JNE     convert         \
	JMP     chunk           \
store:                          \
	MOVQ    args+0(FP), R14 \
	MOVQ    dotArgs_sums(R14), DI

// ---- Formats of 16 values: two rows at a time

// A table has the 16 values of a block of one row, then those of another row. The numbers of the weights are
// words: those of the first row in the lower half of a register, with bit 4 clear, those of the second row in
// the upper half, with bit 4 set. So one permutation of the table makes 16 weights of each row. The sums are
// in the same order: the lanes 0 … 7 of both rows are in one register, their lanes 8 … 15 in another.
#define LOAD2(d, s0, y0, s1, y1) \
	VMOVUPS       (d+0)(DI), y0          \
	VMOVUPS       (d+32)(DI), y1         \
	VINSERTF64X4  $1, (d+64)(DI), s0, s0 \
	VINSERTF64X4  $1, (d+96)(DI), s1, s1
#define STORE2(d, s0, y0, s1, y1) \
	VMOVUPS       y0, (d+0)(DI)      \
	VMOVUPS       y1, (d+32)(DI)     \
	VEXTRACTF64X4 $1, s0, (d+64)(DI) \
	VEXTRACTF64X4 $1, s1, (d+96)(DI)

// Z29 becomes the values of a weight before they are scaled, Z28 words 15, Z27 the bit 4 of the second row.
#define BEGIN16(values) \
	BEGINQ                            \
	LOAD2(0, Z0, Y0, Z1, Y1)          \
	LOAD2(128, Z2, Y2, Z3, Y3)        \
	LOAD2(256, Z4, Y4, Z5, Y5)        \
	LOAD2(384, Z6, Y6, Z7, Y7)        \
	VMOVUPS      values<>(SB), Z29    \
	VPTERNLOGD   $0xff, Z28, Z28, Z28 \
	VPSRLW       $12, Z28, Z28        \
	VPXORD       Z26, Z26, Z26        \
	VPTERNLOGD   $0xff, Y27, Y27, Y27 \
	VPSRLW       $15, Y27, Y27        \
	VPSLLW       $4, Y27, Y27         \
	VINSERTI64X4 $1, Y27, Z26, Z27
#define END16 \
	STORE2(0, Z0, Y0, Z1, Y1)   \
	STORE2(128, Z2, Y2, Z3, Y3) \
	STORE2(256, Z4, Y4, Z5, Y5) \
	STORE2(384, Z6, Y6, Z7, Y7) \
	VZEROUPPER                  \
	RET

// The next block of two rows. LOW and HIGH multiply Z10 and Z11.
#define ROWS2(a, b, row, LOW, HIGH) \
	VMULPS.BCST   (FLOATS+64*row)(R15)(DI*4), Z29, Z8    \
	VMULPS.BCST   (FLOATS+64*row+64)(R15)(DI*4), Z29, Z9 \
	VMOVDQU       a, X10                                 \
	VINSERTI128   $1, b, Y10, Y10                        \
	VCVTNE2PS2BF16_Z8_Z9_Z8                              \
	VPMOVZXBW     Y10, Z10                               \
	VPSRLW        $4, Z10, Z11                           \
	VPTERNLOGD    $0xea, Z27, Z28, Z10                   \
	VPORD         Z27, Z11, Z11                          \
	VPERMW        Z8, Z10, Z10                           \
	VPERMW        Z8, Z11, Z11                           \
	LOW                                                  \
	HIGH

#define STEP16 \
	VBROADCASTI64X4 (DX), Z30                                                      \
	VBROADCASTI64X4 32(DX), Z31                                                    \
	ROWS2(2(SI), 2(SI)(BX*1), 0, VDPBF16PS_Z30_Z10_Z0, VDPBF16PS_Z31_Z11_Z1)       \
	ROWS2(2(SI)(BX*2), 2(SI)(R8*1), 2, VDPBF16PS_Z30_Z10_Z2, VDPBF16PS_Z31_Z11_Z3) \
	ROWS2(2(R9), 2(R9)(BX*1), 4, VDPBF16PS_Z30_Z10_Z4, VDPBF16PS_Z31_Z11_Z5)       \
	ROWS2(2(R9)(BX*2), 2(R9)(R8*1), 6, VDPBF16PS_Z30_Z10_Z6, VDPBF16PS_Z31_Z11_Z7)

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
	BEGINQ              \
	VMOVUPS 0(DI), Z0   \
	VMOVUPS 64(DI), Z1  \
	VMOVUPS 128(DI), Z2 \
	VMOVUPS 192(DI), Z3 \
	VMOVUPS 256(DI), Z4 \
	VMOVUPS 320(DI), Z5 \
	VMOVUPS 384(DI), Z6 \
	VMOVUPS 448(DI), Z7
#define ENDNATURAL \
	VMOVUPS Z0, 0(DI)   \
	VMOVUPS Z1, 64(DI)  \
	VMOVUPS Z2, 128(DI) \
	VMOVUPS Z3, 192(DI) \
	VMOVUPS Z4, 256(DI) \
	VMOVUPS Z5, 320(DI) \
	VMOVUPS Z6, 384(DI) \
	VMOVUPS Z7, 448(DI) \
	VZEROUPPER          \
	RET

#define ROWQ8_0(a, b, row, MULTIPLY) \
	VPMOVSXBD   a, Z8                              \
	VPMOVSXBD   b, Z9                              \
	VCVTDQ2PS   Z8, Z8                             \
	VCVTDQ2PS   Z9, Z9                             \
	VMULPS.BCST (FLOATS+64*row)(R15)(DI*4), Z8, Z8 \
	VMULPS.BCST (FLOATS+64*row)(R15)(DI*4), Z9, Z9 \
	VCVTNE2PS2BF16_Z8_Z9_Z8                        \
	MULTIPLY

#define STEPQ8_0 \
	VMOVDQU64 (DX), Z30                                        \
	ROWQ8_0(2(SI), 18(SI), 0, VDPBF16PS_Z30_Z8_Z0)             \
	ROWQ8_0(2(SI)(BX*1), 18(SI)(BX*1), 1, VDPBF16PS_Z30_Z8_Z1) \
	ROWQ8_0(2(SI)(BX*2), 18(SI)(BX*2), 2, VDPBF16PS_Z30_Z8_Z2) \
	ROWQ8_0(2(SI)(R8*1), 18(SI)(R8*1), 3, VDPBF16PS_Z30_Z8_Z3) \
	ROWQ8_0(2(R9), 18(R9), 4, VDPBF16PS_Z30_Z8_Z4)             \
	ROWQ8_0(2(R9)(BX*1), 18(R9)(BX*1), 5, VDPBF16PS_Z30_Z8_Z5) \
	ROWQ8_0(2(R9)(BX*2), 18(R9)(BX*2), 6, VDPBF16PS_Z30_Z8_Z6) \
	ROWQ8_0(2(R9)(R8*1), 18(R9)(R8*1), 7, VDPBF16PS_Z30_Z8_Z7)

// func dot8x1PairsQ8_0(args *dotArgs)
TEXT ·dot8x1PairsQ8_0(SB), NOSPLIT, $0-8
	BEGINNATURAL
	DOT8X1(STEPQ8_0, 34)
	ENDNATURAL

// ---- Formats of 256 weights a block

// The loop over blocks of size bytes. Before each, SCALES converts the scales of eight rows. DI is 0 then.
#define BLOCKS(SCALES, BLOCK, size) \
	SHRQ $3, CX          \
block:                       \
	SCALES               \
	XORQ DI, DI          \
	BLOCK                \
	ADDQ $size, SI       \
	ADDQ $size, R9       \
	ADDQ $size, R10      \
	ADDQ $size, R11      \
	DECQ CX              \
	JNZ  block           \
	MOVQ args+0(FP), R14 \
	MOVQ dotArgs_sums(R14), DI

DATA masks<>+0(SB)/8, $0x3f3f3f3f3f3f3f3f
DATA masks<>+8(SB)/8, $0x3030303030303030
DATA masks<>+16(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL masks<>(SB), RODATA|NOPTR, $24

// The places of d and dmin for the scales and minimums of eight groups, in the order of SCALESROW.
DATA scaleOrder<>+0(SB)/8, $0
DATA scaleOrder<>+8(SB)/8, $0
DATA scaleOrder<>+16(SB)/8, $0x0000000100000001
DATA scaleOrder<>+24(SB)/8, $0x0000000100000001
DATA scaleOrder<>+32(SB)/8, $0
DATA scaleOrder<>+40(SB)/8, $0
DATA scaleOrder<>+48(SB)/8, $0x0000000100000001
DATA scaleOrder<>+56(SB)/8, $0x0000000100000001
GLOBL scaleOrder<>(SB), RODATA|NOPTR, $64

DATA values0to15<>+0(SB)/4, $0.0
DATA values0to15<>+4(SB)/4, $1.0
DATA values0to15<>+8(SB)/4, $2.0
DATA values0to15<>+12(SB)/4, $3.0
DATA values0to15<>+16(SB)/4, $4.0
DATA values0to15<>+20(SB)/4, $5.0
DATA values0to15<>+24(SB)/4, $6.0
DATA values0to15<>+28(SB)/4, $7.0
DATA values0to15<>+32(SB)/4, $8.0
DATA values0to15<>+36(SB)/4, $9.0
DATA values0to15<>+40(SB)/4, $10.0
DATA values0to15<>+44(SB)/4, $11.0
DATA values0to15<>+48(SB)/4, $12.0
DATA values0to15<>+52(SB)/4, $13.0
DATA values0to15<>+56(SB)/4, $14.0
DATA values0to15<>+60(SB)/4, $15.0
GLOBL values0to15<>(SB), RODATA|NOPTR, $64

// Writes the scales and minimums of the eight groups of a row's block to the scratch: scales 0 … 3, minimums
// 0 … 3, scales 4 … 7, minimums 4 … 7. d0, d4 and d12 are the places of the two float16, and of the first
// eight and the last four of the 12 bytes.
#define SCALESROW(d0, d4, d12, row) \
	MOVQ      d4, AX              \
	MOVL      d12, R12            \
	MOVQ      AX, R13             \
	MOVQ      R12, R14            \
	SHRQ      $2, R13             \
	SHLQ      $28, R14            \
	ORQ       R14, R12            \
	ANDQ      masks<>+0(SB), AX   \
	ANDQ      masks<>+8(SB), R13  \
	ANDQ      masks<>+16(SB), R12 \
	ORQ       R13, R12            \
	VMOVQ     AX, X8              \
	VPINSRQ   $1, R12, X8, X8     \
	VMOVD     d0, X9              \
	VPMOVZXBD X8, Z8              \
	VCVTPH2PS X9, X9              \
	VCVTDQ2PS Z8, Z8              \
	VPERMPS   Z9, Z26, Z9         \
	VMULPS    Z9, Z8, Z8          \
	VMOVUPS   Z8, (64*row)(R15)

#define SCALESQ4_K \
	SCALESROW((SI), 4(SI), 12(SI), 0)                   \
	SCALESROW((SI)(BX*1), 4(SI)(BX*1), 12(SI)(BX*1), 1) \
	SCALESROW((SI)(BX*2), 4(SI)(BX*2), 12(SI)(BX*2), 2) \
	SCALESROW((SI)(R8*1), 4(SI)(R8*1), 12(SI)(R8*1), 3) \
	SCALESROW((R9), 4(R9), 12(R9), 4)                   \
	SCALESROW((R9)(BX*1), 4(R9)(BX*1), 12(R9)(BX*1), 5) \
	SCALESROW((R9)(BX*2), 4(R9)(BX*2), 12(R9)(BX*2), 6) \
	SCALESROW((R9)(R8*1), 4(R9)(R8*1), 12(R9)(R8*1), 7)

// Two groups of a row: one table has the values of both, those of the second group first. s is the place of
// the first group's scale in the scratch. FIRST and SECOND multiply Z10 and Z11.
#define ROWQ4_K(q, s, FIRST, SECOND) \
	VBROADCASTSS     (s+4)(R15)(DI*4), Z8       \
	VBROADCASTSS     (s)(R15)(DI*4), Z9         \
	VPMOVZXBW        q, Z10                     \
	VFMSUB213PS.BCST (s+20)(R15)(DI*4), Z29, Z8 \
	VFMSUB213PS.BCST (s+16)(R15)(DI*4), Z29, Z9 \
	VPSRLW           $4, Z10, Z11               \
	VCVTNE2PS2BF16_Z8_Z9_Z8                     \
	VPTERNLOGD       $0xea, Z27, Z28, Z10       \
	VPERMW           Z8, Z10, Z10               \
	VPERMW           Z8, Z11, Z11               \
	FIRST                                       \
	SECOND

// q is the place of the weights in a block, s that of the scale of row 0.
#define GROUPSQ4_K(q, s) \
	VMOVDQU64 (DX), Z30                                                     \
	VMOVDQU64 64(DX), Z31                                                   \
	ADDQ      $128, DX                                                      \
	ROWQ4_K(q(SI), s, VDPBF16PS_Z30_Z10_Z0, VDPBF16PS_Z31_Z11_Z0)           \
	ROWQ4_K(q(SI)(BX*1), s+64, VDPBF16PS_Z30_Z10_Z1, VDPBF16PS_Z31_Z11_Z1)  \
	ROWQ4_K(q(SI)(BX*2), s+128, VDPBF16PS_Z30_Z10_Z2, VDPBF16PS_Z31_Z11_Z2) \
	ROWQ4_K(q(SI)(R8*1), s+192, VDPBF16PS_Z30_Z10_Z3, VDPBF16PS_Z31_Z11_Z3) \
	ROWQ4_K(q(R9), s+256, VDPBF16PS_Z30_Z10_Z4, VDPBF16PS_Z31_Z11_Z4)       \
	ROWQ4_K(q(R9)(BX*1), s+320, VDPBF16PS_Z30_Z10_Z5, VDPBF16PS_Z31_Z11_Z5) \
	ROWQ4_K(q(R9)(BX*2), s+384, VDPBF16PS_Z30_Z10_Z6, VDPBF16PS_Z31_Z11_Z6) \
	ROWQ4_K(q(R9)(R8*1), s+448, VDPBF16PS_Z30_Z10_Z7, VDPBF16PS_Z31_Z11_Z7)

#define PREFETCHAT(d) \
	PREFETCHT1 (d)(R10)       \
	PREFETCHT1 (d)(R10)(BX*1) \
	PREFETCHT1 (d)(R10)(BX*2) \
	PREFETCHT1 (d)(R10)(R8*1) \
	PREFETCHT1 (d)(R11)       \
	PREFETCHT1 (d)(R11)(BX*1) \
	PREFETCHT1 (d)(R11)(BX*2) \
	PREFETCHT1 (d)(R11)(R8*1)

#define BLOCKQ4_K \
	PREFETCHAT(0)      \
	GROUPSQ4_K(16, 0)  \
	PREFETCHAT(48)     \
	GROUPSQ4_K(48, 8)  \
	PREFETCHAT(96)     \
	GROUPSQ4_K(80, 32) \
	GROUPSQ4_K(112, 40)

// Z29 are the values before they are scaled, Z28 words 15, Z27 words 16.
#define CONSTANTSQ4_K \
	VMOVUPS    values0to15<>(SB), Z29 \
	VMOVDQU64  scaleOrder<>(SB), Z26  \
	VPTERNLOGD $0xff, Z28, Z28, Z28   \
	VPSRLW     $15, Z28, Z27          \
	VPSLLW     $4, Z27, Z27           \
	VPSRLW     $12, Z28, Z28

// Z25 are the values 16 … 31.
#define CONSTANTSQ5_K \
	MOVL         $0x41800000, AX \
	VMOVD        AX, X25         \
	VBROADCASTSS X25, Z25        \
	VADDPS       Z29, Z25, Z25

// func dot8x1PairsQ4_K(args *dotArgs)
TEXT ·dot8x1PairsQ4_K(SB), NOSPLIT, $0-8
	BEGINNATURAL
	CONSTANTSQ4_K
	BLOCKS(SCALESQ4_K, BLOCKQ4_K, 144)
	ENDNATURAL

// Writes the 16 scales of a row's block, times d, to the scratch.
#define SCALESROWQ6_K(scales, d, row) \
	VPBROADCASTW d, Y9      \
	VPMOVSXBD    scales, Z8 \
	VCVTPH2PS    Y9, Z9     \
	VCVTDQ2PS    Z8, Z8     \
	VMULPS       Z9, Z8, Z8 \
	VMOVUPS      Z8, (64*row)(R15)
#define SCALESQ6_K \
	SCALESROWQ6_K(192(SI), 208(SI), 0)             \
	SCALESROWQ6_K(192(SI)(BX*1), 208(SI)(BX*1), 1) \
	SCALESROWQ6_K(192(SI)(BX*2), 208(SI)(BX*2), 2) \
	SCALESROWQ6_K(192(SI)(R8*1), 208(SI)(R8*1), 3) \
	SCALESROWQ6_K(192(R9), 208(R9), 4)             \
	SCALESROWQ6_K(192(R9)(BX*1), 208(R9)(BX*1), 5) \
	SCALESROWQ6_K(192(R9)(BX*2), 208(R9)(BX*2), 6) \
	SCALESROWQ6_K(192(R9)(R8*1), 208(R9)(R8*1), 7)

// Makes signed bytes of 128 weights of a row, from 64 bytes with their lower four bits and 32 bytes with
// their upper two bits, and writes them to the scratch.
#define ROWQ6_K(low, high) \
	VMOVDQU64       low, Z8             \
	VBROADCASTI64X4 high, Z9            \
	VPSLLVW         Z27, Z9, Z10        \
	VPSRLVW         Z26, Z9, Z9         \
	VPSRLW          $4, Z8, Z11         \
	VPTERNLOGD      $0xd8, Z25, Z8, Z10 \
	VPTERNLOGD      $0xd8, Z25, Z11, Z9 \
	VPANDD          Z24, Z10, Z10       \
	VPANDD          Z24, Z9, Z9         \
	VPSUBB          Z23, Z10, Z10       \
	VPSUBB          Z23, Z9, Z9         \
	VMOVDQU64       Z10, 512(R15)       \
	VMOVDQU64       Z9, 576(R15)

// 32 of these weights, at q, with two scales, at s.
#define STEPQ6_K(q, s, MULTIPLY) \
	VPMOVSXBD   (q)(R15), Z12              \
	VPMOVSXBD   (q+16)(R15), Z13           \
	VCVTDQ2PS   Z12, Z12                   \
	VCVTDQ2PS   Z13, Z13                   \
	VMULPS.BCST (s)(R15)(DI*4), Z12, Z12   \
	VMULPS.BCST (s+4)(R15)(DI*4), Z13, Z13 \
	VCVTNE2PS2BF16_Z12_Z13_Z12             \
	MULTIPLY

// Half a block: l and h are the places of the lower and upper bits, s that of the scales of row 0.
#define HALFQ6_K(l, h, s) \
	VMOVDQU64 (DX), Z28                        \
	VMOVDQU64 64(DX), Z29                      \
	VMOVDQU64 128(DX), Z30                     \
	VMOVDQU64 192(DX), Z31                     \
	ADDQ      $256, DX                         \
	ROWQ6_K(l(SI), h(SI))                      \
	STEPQ6_K(512, s+0, VDPBF16PS_Z28_Z12_Z0)   \
	STEPQ6_K(544, s+8, VDPBF16PS_Z29_Z12_Z0)   \
	STEPQ6_K(576, s+16, VDPBF16PS_Z30_Z12_Z0)  \
	STEPQ6_K(608, s+24, VDPBF16PS_Z31_Z12_Z0)  \
	ROWQ6_K(l(SI)(BX*1), h(SI)(BX*1))          \
	STEPQ6_K(512, s+64, VDPBF16PS_Z28_Z12_Z1)  \
	STEPQ6_K(544, s+72, VDPBF16PS_Z29_Z12_Z1)  \
	STEPQ6_K(576, s+80, VDPBF16PS_Z30_Z12_Z1)  \
	STEPQ6_K(608, s+88, VDPBF16PS_Z31_Z12_Z1)  \
	ROWQ6_K(l(SI)(BX*2), h(SI)(BX*2))          \
	STEPQ6_K(512, s+128, VDPBF16PS_Z28_Z12_Z2) \
	STEPQ6_K(544, s+136, VDPBF16PS_Z29_Z12_Z2) \
	STEPQ6_K(576, s+144, VDPBF16PS_Z30_Z12_Z2) \
	STEPQ6_K(608, s+152, VDPBF16PS_Z31_Z12_Z2) \
	ROWQ6_K(l(SI)(R8*1), h(SI)(R8*1))          \
	STEPQ6_K(512, s+192, VDPBF16PS_Z28_Z12_Z3) \
	STEPQ6_K(544, s+200, VDPBF16PS_Z29_Z12_Z3) \
	STEPQ6_K(576, s+208, VDPBF16PS_Z30_Z12_Z3) \
	STEPQ6_K(608, s+216, VDPBF16PS_Z31_Z12_Z3) \
	ROWQ6_K(l(R9), h(R9))                      \
	STEPQ6_K(512, s+256, VDPBF16PS_Z28_Z12_Z4) \
	STEPQ6_K(544, s+264, VDPBF16PS_Z29_Z12_Z4) \
	STEPQ6_K(576, s+272, VDPBF16PS_Z30_Z12_Z4) \
	STEPQ6_K(608, s+280, VDPBF16PS_Z31_Z12_Z4) \
	ROWQ6_K(l(R9)(BX*1), h(R9)(BX*1))          \
	STEPQ6_K(512, s+320, VDPBF16PS_Z28_Z12_Z5) \
	STEPQ6_K(544, s+328, VDPBF16PS_Z29_Z12_Z5) \
	STEPQ6_K(576, s+336, VDPBF16PS_Z30_Z12_Z5) \
	STEPQ6_K(608, s+344, VDPBF16PS_Z31_Z12_Z5) \
	ROWQ6_K(l(R9)(BX*2), h(R9)(BX*2))          \
	STEPQ6_K(512, s+384, VDPBF16PS_Z28_Z12_Z6) \
	STEPQ6_K(544, s+392, VDPBF16PS_Z29_Z12_Z6) \
	STEPQ6_K(576, s+400, VDPBF16PS_Z30_Z12_Z6) \
	STEPQ6_K(608, s+408, VDPBF16PS_Z31_Z12_Z6) \
	ROWQ6_K(l(R9)(R8*1), h(R9)(R8*1))          \
	STEPQ6_K(512, s+448, VDPBF16PS_Z28_Z12_Z7) \
	STEPQ6_K(544, s+456, VDPBF16PS_Z29_Z12_Z7) \
	STEPQ6_K(576, s+464, VDPBF16PS_Z30_Z12_Z7) \
	STEPQ6_K(608, s+472, VDPBF16PS_Z31_Z12_Z7)

#define BLOCKQ6_K \
	PREFETCHAT(0)       \
	PREFETCHAT(64)      \
	HALFQ6_K(0, 128, 0) \
	PREFETCHAT(128)     \
	PREFETCHAT(192)     \
	HALFQ6_K(64, 160, 32)

// Z27 and Z26 are the shifts of the upper bits for the two halves of 64 weights; Z25, Z24 and Z23 are bytes
// 15, 63 and 32.
#define CONSTANTSQ6_K \
	VPXORD       Z9, Z9, Z9          \
	VPTERNLOGD   $0xff, Z8, Z8, Z8   \
	VPSRLW       $15, Z8, Z10        \
	VPSLLW       $1, Z10, Z11        \
	VPSLLW       $2, Z10, Z12        \
	VINSERTI64X4 $1, Y11, Z12, Z27   \
	VINSERTI64X4 $1, Y11, Z9, Z26    \
	VPBROADCASTB masks<>+16(SB), Z25 \
	VPBROADCASTB masks<>+0(SB), Z24  \
	VPSUBB       Z8, Z9, Z23         \
	VPSLLW       $5, Z23, Z23

// func dot8x1PairsQ6_K(args *dotArgs)
TEXT ·dot8x1PairsQ6_K(SB), NOSPLIT, $0-8
	BEGINNATURAL
	CONSTANTSQ6_K
	BLOCKS(SCALESQ6_K, BLOCKQ6_K, 210)
	ENDNATURAL

// ---- Unpackers, see unpacker: the same weights, to memory.

// The loop over blocks of 32 weights.
#define UNPACK32(BLOCK, size) \
block:                        \
	PREFETCHT0 (R9)       \
	VPBROADCASTW (SI), Y8 \
	VCVTPH2PS Y8, Z8      \
	BLOCK                 \
	VMOVDQU64 Z10, (DX)   \
	ADDQ $64, DX          \
	ADDQ $size, SI        \
	ADDQ $size, R9        \
	SUBQ $32, CX          \
	JNZ  block            \
	VZEROUPPER            \
	RET

#define UNPACKTABLE16 \
	VPMOVZXBW    2(SI), Y10        \
	VMULPS       Z29, Z8, Z8       \
	VPSRLW       $4, Y10, Y11      \
	VCVTNE2PS2BF16_Z8_Z8_Z8        \
	VINSERTI64X4 $1, Y11, Z10, Z10 \
	VPERMW       Z8, Z10, Z10

// func unpackQ4_0AVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_0AVX512(SB), NOSPLIT, $0-32
	BEGINUNPACK
	VMOVUPS valuesQ4_0<>(SB), Z29
	UNPACK32(UNPACKTABLE16, 18)

// func unpackIQ4_NLAVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackIQ4_NLAVX512(SB), NOSPLIT, $0-32
	BEGINUNPACK
	VMOVUPS valuesIQ4<>(SB), Z29
	UNPACK32(UNPACKTABLE16, 18)

#define UNPACKQ8_0 \
	VPMOVSXBD 2(SI), Z10   \
	VPMOVSXBD 18(SI), Z11  \
	VCVTDQ2PS Z10, Z10     \
	VCVTDQ2PS Z11, Z11     \
	VMULPS    Z8, Z10, Z10 \
	VMULPS    Z8, Z11, Z11 \
	VCVTNE2PS2BF16_Z10_Z11_Z10

// func unpackQ8_0AVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ8_0AVX512(SB), NOSPLIT, $0-32
	BEGINUNPACK
	UNPACK32(UNPACKQ8_0, 34)

// The loop over blocks of 256 weights. R15 is scratch on the stack. (The memory of a worker is not at hand.)
#define UNPACK256(BLOCK, size) \
	LEAQ scratch-704(SP), R15 \
	XORQ DI, DI               \
block:                            \
	PREFETCHT0 (R9)           \
	PREFETCHT0 64(R9)         \
	PREFETCHT0 128(R9)        \
	BLOCK                     \
	ADDQ $512, DX             \
	ADDQ $size, SI            \
	ADDQ $size, R9            \
	SUBQ $256, CX             \
	JNZ  block                \
	VZEROUPPER                \
	RET

// Stores, as arguments of macros.
#define PUT0 VMOVDQU64 Z10, 0(DX)
#define PUT1 VMOVDQU64 Z11, 64(DX)
#define PUT2 VMOVDQU64 Z10, 128(DX)
#define PUT3 VMOVDQU64 Z11, 192(DX)
#define PUT4 VMOVDQU64 Z10, 256(DX)
#define PUT5 VMOVDQU64 Z11, 320(DX)
#define PUT6 VMOVDQU64 Z10, 384(DX)
#define PUT7 VMOVDQU64 Z11, 448(DX)
#define PUT12_0 VMOVDQU64 Z12, 0(DX)
#define PUT12_1 VMOVDQU64 Z12, 64(DX)
#define PUT12_2 VMOVDQU64 Z12, 128(DX)
#define PUT12_3 VMOVDQU64 Z12, 192(DX)
#define PUT12_4 VMOVDQU64 Z12, 256(DX)
#define PUT12_5 VMOVDQU64 Z12, 320(DX)
#define PUT12_6 VMOVDQU64 Z12, 384(DX)
#define PUT12_7 VMOVDQU64 Z12, 448(DX)

#define UNPACKQ4_K \
	SCALESROW((SI), 4(SI), 12(SI), 0) \
	ROWQ4_K(16(SI), 0, PUT0, PUT1)    \
	ROWQ4_K(48(SI), 8, PUT2, PUT3)    \
	ROWQ4_K(80(SI), 32, PUT4, PUT5)   \
	ROWQ4_K(112(SI), 40, PUT6, PUT7)

// func unpackQ4_KAVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ4_KAVX512(SB), 0, $704-32
	BEGINUNPACK
	CONSTANTSQ4_K
	UNPACK256(UNPACKQ4_K, 144)

// Two groups of Q5_K: a table for each, and the fifth bits in Z12, of which A and B move those of the groups
// to bit 4.
#define ROWQ5_K(q, s, A, B, FIRST, SECOND) \
	VBROADCASTSS     (s)(R15)(DI*4), Z8         \
	VMOVAPS          Z8, Z9                     \
	VPMOVZXBW        q, Z10                     \
	VFMSUB213PS.BCST (s+16)(R15)(DI*4), Z29, Z8 \
	VFMSUB213PS.BCST (s+16)(R15)(DI*4), Z25, Z9 \
	VPSRLW           $4, Z10, Z11               \
	A                                           \
	VCVTNE2PS2BF16_Z8_Z9_Z8                     \
	VPTERNLOGD       $0xd8, Z28, Z10, Z13       \
	VPERMW           Z8, Z13, Z10               \
	VBROADCASTSS     (s+4)(R15)(DI*4), Z8       \
	VMOVAPS          Z8, Z9                     \
	VFMSUB213PS.BCST (s+20)(R15)(DI*4), Z29, Z8 \
	VFMSUB213PS.BCST (s+20)(R15)(DI*4), Z25, Z9 \
	B                                           \
	VCVTNE2PS2BF16_Z8_Z9_Z8                     \
	VPTERNLOGD       $0xd8, Z28, Z11, Z14       \
	VPERMW           Z8, Z14, Z11               \
	FIRST                                       \
	SECOND
#define FIFTH0 VPSLLW $4, Z12, Z13
#define FIFTH1 VPSLLW $3, Z12, Z14
#define FIFTH2 VPSLLW $2, Z12, Z13
#define FIFTH3 VPSLLW $1, Z12, Z14
#define FIFTH4 VMOVDQA64 Z12, Z13
#define FIFTH5 VPSRLW $1, Z12, Z14
#define FIFTH6 VPSRLW $2, Z12, Z13
#define FIFTH7 VPSRLW $3, Z12, Z14

#define UNPACKQ5_K \
	SCALESROW((SI), 4(SI), 12(SI), 0)                \
	VPMOVZXBW 16(SI), Z12                            \
	ROWQ5_K(48(SI), 0, FIFTH0, FIFTH1, PUT0, PUT1)   \
	ROWQ5_K(80(SI), 8, FIFTH2, FIFTH3, PUT2, PUT3)   \
	ROWQ5_K(112(SI), 32, FIFTH4, FIFTH5, PUT4, PUT5) \
	ROWQ5_K(144(SI), 40, FIFTH6, FIFTH7, PUT6, PUT7)

// func unpackQ5_KAVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ5_KAVX512(SB), 0, $704-32
	BEGINUNPACK
	CONSTANTSQ4_K
	CONSTANTSQ5_K
	UNPACK256(UNPACKQ5_K, 176)

#define UNPACKQ6_K \
	PREFETCHT0 192(R9)                 \
	SCALESROWQ6_K(192(SI), 208(SI), 0) \
	ROWQ6_K((SI), 128(SI))             \
	STEPQ6_K(512, 0, PUT12_0)          \
	STEPQ6_K(544, 8, PUT12_1)          \
	STEPQ6_K(576, 16, PUT12_2)         \
	STEPQ6_K(608, 24, PUT12_3)         \
	ROWQ6_K(64(SI), 160(SI))           \
	STEPQ6_K(512, 32, PUT12_4)         \
	STEPQ6_K(544, 40, PUT12_5)         \
	STEPQ6_K(576, 48, PUT12_6)         \
	STEPQ6_K(608, 56, PUT12_7)

// func unpackQ6_KAVX512(dst *uint16, src *byte, n, ahead int)
TEXT ·unpackQ6_KAVX512(SB), 0, $704-32
	BEGINUNPACK
	CONSTANTSQ6_K
	UNPACK256(UNPACKQ6_K, 210)

// ---- Q5_K by one token

#define GROUPSQ5_K(q, s, A, B) \
	VMOVDQU64 (DX), Z30                                                           \
	VMOVDQU64 64(DX), Z31                                                         \
	ADDQ      $128, DX                                                            \
	VPMOVZXBW 16(SI), Z12                                                         \
	ROWQ5_K(q(SI), s+0, A, B, VDPBF16PS_Z30_Z10_Z0, VDPBF16PS_Z31_Z11_Z0)         \
	VPMOVZXBW 16(SI)(BX*1), Z12                                                   \
	ROWQ5_K(q(SI)(BX*1), s+64, A, B, VDPBF16PS_Z30_Z10_Z1, VDPBF16PS_Z31_Z11_Z1)  \
	VPMOVZXBW 16(SI)(BX*2), Z12                                                   \
	ROWQ5_K(q(SI)(BX*2), s+128, A, B, VDPBF16PS_Z30_Z10_Z2, VDPBF16PS_Z31_Z11_Z2) \
	VPMOVZXBW 16(SI)(R8*1), Z12                                                   \
	ROWQ5_K(q(SI)(R8*1), s+192, A, B, VDPBF16PS_Z30_Z10_Z3, VDPBF16PS_Z31_Z11_Z3) \
	VPMOVZXBW 16(R9), Z12                                                         \
	ROWQ5_K(q(R9), s+256, A, B, VDPBF16PS_Z30_Z10_Z4, VDPBF16PS_Z31_Z11_Z4)       \
	VPMOVZXBW 16(R9)(BX*1), Z12                                                   \
	ROWQ5_K(q(R9)(BX*1), s+320, A, B, VDPBF16PS_Z30_Z10_Z5, VDPBF16PS_Z31_Z11_Z5) \
	VPMOVZXBW 16(R9)(BX*2), Z12                                                   \
	ROWQ5_K(q(R9)(BX*2), s+384, A, B, VDPBF16PS_Z30_Z10_Z6, VDPBF16PS_Z31_Z11_Z6) \
	VPMOVZXBW 16(R9)(R8*1), Z12                                                   \
	ROWQ5_K(q(R9)(R8*1), s+448, A, B, VDPBF16PS_Z30_Z10_Z7, VDPBF16PS_Z31_Z11_Z7)

#define BLOCKQ5_K \
	PREFETCHAT(0)                      \
	GROUPSQ5_K(48, 0, FIFTH0, FIFTH1)  \
	PREFETCHAT(64)                     \
	GROUPSQ5_K(80, 8, FIFTH2, FIFTH3)  \
	PREFETCHAT(128)                    \
	GROUPSQ5_K(112, 32, FIFTH4, FIFTH5) \
	GROUPSQ5_K(144, 40, FIFTH6, FIFTH7)

// func dot8x1PairsQ5_K(args *dotArgs)
TEXT ·dot8x1PairsQ5_K(SB), NOSPLIT, $0-8
	BEGINNATURAL
	CONSTANTSQ4_K
	CONSTANTSQ5_K
	BLOCKS(SCALESQ4_K, BLOCKQ5_K, 176)
	ENDNATURAL

// ---- Q6_K by one token with AVX512-VBMI
//
// A permutation of bytes (VPERMB) makes 16 integers (q-32)·2²⁶ of 16 bytes 4·(q-32), where q has 6 bits. The
// scales are divided by 2²⁶, which is exact. The steps of four rows alternate, because a row's sum is the
// input of the next multiplication of this row.

// Writes the 16 scales of a row's block, times d·2⁻²⁶, to the scratch.
#define SCALESROWQ6_KVBMI(scales, d, row) \
	VPBROADCASTW d, X9                       \
	VPMOVSXBD    scales, Z8                  \
	VCVTPH2PS    X9, X9                      \
	VCVTDQ2PS    Z8, Z8                      \
	VMULPS       tiny<>(SB), X9, X9          \
	VBROADCASTSS X9, Z9                      \
	VMULPS       Z9, Z8, Z8                  \
	VMOVUPS      Z8, (64*row)(R15)
#define SCALESQ6_KVBMI                              \
	SCALESROWQ6_KVBMI(192(SI), 208(SI), 0)             \
	SCALESROWQ6_KVBMI(192(SI)(BX*1), 208(SI)(BX*1), 1) \
	SCALESROWQ6_KVBMI(192(SI)(BX*2), 208(SI)(BX*2), 2) \
	SCALESROWQ6_KVBMI(192(SI)(R8*1), 208(SI)(R8*1), 3) \
	SCALESROWQ6_KVBMI(192(R9), 208(R9), 4)             \
	SCALESROWQ6_KVBMI(192(R9)(BX*1), 208(R9)(BX*1), 5) \
	SCALESROWQ6_KVBMI(192(R9)(BX*2), 208(R9)(BX*2), 6) \
	SCALESROWQ6_KVBMI(192(R9)(R8*1), 208(R9)(R8*1), 7)

// Makes bytes 4·(q-32) of 128 weights of a row: the first 64 in a, the others in b.
#define ROWQ6_KVBMI(low, high, a, b)  \
	VMOVDQU64       low, Z16             \
	VBROADCASTI64X4 high, Z17            \
	VPSLLW          $2, Z16, a           \
	VPSRLW          $2, Z16, b           \
	VPSLLVW         Z27, Z17, Z18        \
	VPSLLVW         Z26, Z17, Z19        \
	VPTERNLOGD      $0x6a, Z28, Z29, Z18 \
	VPTERNLOGD      $0x6a, Z28, Z29, Z19 \
	VPTERNLOGD      $0xea, Z18, Z25, a   \
	VPTERNLOGD      $0xea, Z19, Z25, b

// 32 of these weights: i and j are the places of their bytes, s is that of the two scales in the scratch.
#define STEPQ6_KVBMI(bytes, i, j, s, MULTIPLY) \
	VPERMB.Z    bytes, i, K1, Z16                 \
	VPERMB.Z    bytes, j, K1, Z17                 \
	VCVTDQ2PS   Z16, Z16                          \
	VCVTDQ2PS   Z17, Z17                          \
	VMULPS.BCST (s)(R15), Z16, Z16                \
	VMULPS.BCST (s+4)(R15), Z17, Z17              \
	VCVTNE2PS2BF16_Z16_Z17_Z16                    \
	MULTIPLY

// 128 weights of four rows; l and h are the places of the lower and upper bits, s that of the scales of
// row 0.
#define FIRST4Q6_KVBMI(l, h, s)                           \
	ROWQ6_KVBMI(l(SI), h(SI), Z8, Z9)                        \
	ROWQ6_KVBMI(l(SI)(BX*1), h(SI)(BX*1), Z10, Z11)          \
	ROWQ6_KVBMI(l(SI)(BX*2), h(SI)(BX*2), Z12, Z13)          \
	ROWQ6_KVBMI(l(SI)(R8*1), h(SI)(R8*1), Z14, Z15)          \
	VMOVDQU64 0(DX), Z24                                     \
	STEPQ6_KVBMI(Z8, Z20, Z21, s+0, VDPBF16PS_Z24_Z16_Z0)    \
	STEPQ6_KVBMI(Z10, Z20, Z21, s+64, VDPBF16PS_Z24_Z16_Z1)  \
	STEPQ6_KVBMI(Z12, Z20, Z21, s+128, VDPBF16PS_Z24_Z16_Z2) \
	STEPQ6_KVBMI(Z14, Z20, Z21, s+192, VDPBF16PS_Z24_Z16_Z3) \
	VMOVDQU64 64(DX), Z24                                    \
	STEPQ6_KVBMI(Z8, Z22, Z23, s+8, VDPBF16PS_Z24_Z16_Z0)    \
	STEPQ6_KVBMI(Z10, Z22, Z23, s+72, VDPBF16PS_Z24_Z16_Z1)  \
	STEPQ6_KVBMI(Z12, Z22, Z23, s+136, VDPBF16PS_Z24_Z16_Z2) \
	STEPQ6_KVBMI(Z14, Z22, Z23, s+200, VDPBF16PS_Z24_Z16_Z3) \
	VMOVDQU64 128(DX), Z24                                   \
	STEPQ6_KVBMI(Z9, Z20, Z21, s+16, VDPBF16PS_Z24_Z16_Z0)   \
	STEPQ6_KVBMI(Z11, Z20, Z21, s+80, VDPBF16PS_Z24_Z16_Z1)  \
	STEPQ6_KVBMI(Z13, Z20, Z21, s+144, VDPBF16PS_Z24_Z16_Z2) \
	STEPQ6_KVBMI(Z15, Z20, Z21, s+208, VDPBF16PS_Z24_Z16_Z3) \
	VMOVDQU64 192(DX), Z24                                   \
	STEPQ6_KVBMI(Z9, Z22, Z23, s+24, VDPBF16PS_Z24_Z16_Z0)   \
	STEPQ6_KVBMI(Z11, Z22, Z23, s+88, VDPBF16PS_Z24_Z16_Z1)  \
	STEPQ6_KVBMI(Z13, Z22, Z23, s+152, VDPBF16PS_Z24_Z16_Z2) \
	STEPQ6_KVBMI(Z15, Z22, Z23, s+216, VDPBF16PS_Z24_Z16_Z3)
#define SECOND4Q6_KVBMI(l, h, s)                          \
	ROWQ6_KVBMI(l(R9), h(R9), Z8, Z9)                        \
	ROWQ6_KVBMI(l(R9)(BX*1), h(R9)(BX*1), Z10, Z11)          \
	ROWQ6_KVBMI(l(R9)(BX*2), h(R9)(BX*2), Z12, Z13)          \
	ROWQ6_KVBMI(l(R9)(R8*1), h(R9)(R8*1), Z14, Z15)          \
	VMOVDQU64 0(DX), Z24                                     \
	STEPQ6_KVBMI(Z8, Z20, Z21, s+256, VDPBF16PS_Z24_Z16_Z4)  \
	STEPQ6_KVBMI(Z10, Z20, Z21, s+320, VDPBF16PS_Z24_Z16_Z5) \
	STEPQ6_KVBMI(Z12, Z20, Z21, s+384, VDPBF16PS_Z24_Z16_Z6) \
	STEPQ6_KVBMI(Z14, Z20, Z21, s+448, VDPBF16PS_Z24_Z16_Z7) \
	VMOVDQU64 64(DX), Z24                                    \
	STEPQ6_KVBMI(Z8, Z22, Z23, s+264, VDPBF16PS_Z24_Z16_Z4)  \
	STEPQ6_KVBMI(Z10, Z22, Z23, s+328, VDPBF16PS_Z24_Z16_Z5) \
	STEPQ6_KVBMI(Z12, Z22, Z23, s+392, VDPBF16PS_Z24_Z16_Z6) \
	STEPQ6_KVBMI(Z14, Z22, Z23, s+456, VDPBF16PS_Z24_Z16_Z7) \
	VMOVDQU64 128(DX), Z24                                   \
	STEPQ6_KVBMI(Z9, Z20, Z21, s+272, VDPBF16PS_Z24_Z16_Z4)  \
	STEPQ6_KVBMI(Z11, Z20, Z21, s+336, VDPBF16PS_Z24_Z16_Z5) \
	STEPQ6_KVBMI(Z13, Z20, Z21, s+400, VDPBF16PS_Z24_Z16_Z6) \
	STEPQ6_KVBMI(Z15, Z20, Z21, s+464, VDPBF16PS_Z24_Z16_Z7) \
	VMOVDQU64 192(DX), Z24                                   \
	STEPQ6_KVBMI(Z9, Z22, Z23, s+280, VDPBF16PS_Z24_Z16_Z4)  \
	STEPQ6_KVBMI(Z11, Z22, Z23, s+344, VDPBF16PS_Z24_Z16_Z5) \
	STEPQ6_KVBMI(Z13, Z22, Z23, s+408, VDPBF16PS_Z24_Z16_Z6) \
	STEPQ6_KVBMI(Z15, Z22, Z23, s+472, VDPBF16PS_Z24_Z16_Z7)

#define BLOCKQ6_KVBMI         \
	PREFETCHAT(0)                \
	PREFETCHAT(64)               \
	FIRST4Q6_KVBMI(0, 128, 0)    \
	SECOND4Q6_KVBMI(0, 128, 0)   \
	ADDQ $256, DX                \
	PREFETCHAT(128)              \
	PREFETCHAT(192)              \
	FIRST4Q6_KVBMI(64, 160, 32)  \
	SECOND4Q6_KVBMI(64, 160, 32) \
	ADDQ $256, DX

// The numbers of 16 bytes, each as the upper byte of a double word.
DATA upperBytes<>+0(SB)/8, $0x0100000000000000
DATA upperBytes<>+8(SB)/8, $0x0300000002000000
DATA upperBytes<>+16(SB)/8, $0x0500000004000000
DATA upperBytes<>+24(SB)/8, $0x0700000006000000
DATA upperBytes<>+32(SB)/8, $0x0900000008000000
DATA upperBytes<>+40(SB)/8, $0x0b0000000a000000
DATA upperBytes<>+48(SB)/8, $0x0d0000000c000000
DATA upperBytes<>+56(SB)/8, $0x0f0000000e000000
GLOBL upperBytes<>(SB), RODATA|NOPTR, $64

// 2⁻²⁶, four times.
DATA tiny<>+0(SB)/8, $0x3280000032800000
DATA tiny<>+8(SB)/8, $0x3280000032800000
GLOBL tiny<>(SB), RODATA|NOPTR, $16

// How far the upper bits of weights 0, 32, 64 and 96 move to the left to be bits 6 and 7 of a byte.
DATA upperBits<>+0(SB)/8, $0x0006000600060006
DATA upperBits<>+8(SB)/8, $0x0004000400040004
DATA upperBits<>+16(SB)/8, $0x0002000200020002
DATA upperBits<>+24(SB)/8, $0x0000000000000000
GLOBL upperBits<>(SB), RODATA|NOPTR, $32

#define FILL(value, z) \
	MOVL         $value, AX \
	VPBROADCASTD AX, z

// Z27 and Z26 are these distances for the first and the last 64 weights. Z25, Z28 and Z29 are bytes 0x3c,
// 0x80 and 0xc0. Z20 … Z23 are the numbers of 16 bytes each, K1 the places where they go.
#define CONSTANTSQ6_KVBMI             \
	FILL(0x3c3c3c3c, Z25)                \
	FILL(0x80808080, Z28)                \
	FILL(0xc0c0c0c0, Z29)                \
	FILL(0x10101010, Z8)                 \
	VMOVDQU64    upperBytes<>(SB), Z20   \
	VPADDB       Z8, Z20, Z21            \
	VPADDB       Z8, Z21, Z22            \
	VPADDB       Z8, Z22, Z23            \
	MOVQ         $0x8888888888888888, AX \
	KMOVQ        AX, K1                  \
	VPBROADCASTQ upperBits<>+0(SB), Y8   \
	VPBROADCASTQ upperBits<>+8(SB), Y9   \
	VINSERTI64X4 $1, Y9, Z8, Z27         \
	VPBROADCASTQ upperBits<>+16(SB), Y8  \
	VPBROADCASTQ upperBits<>+24(SB), Y9  \
	VINSERTI64X4 $1, Y9, Z8, Z26

// func dot8x1PairsQ6_KVBMI(args *dotArgs)
TEXT ·dot8x1PairsQ6_KVBMI(SB), NOSPLIT, $0-8
	BEGINNATURAL
	CONSTANTSQ6_KVBMI
	BLOCKS(SCALESQ6_KVBMI, BLOCKQ6_KVBMI, 210)
	ENDNATURAL
