#include "textflag.h"
#include "go_asm.h"

// Dot products for AVX2 with FMA and F16C, see laneKernels and dotArgs. Go's assembler writes the destination
// last: VFMADD231PS a, b, c is c += a·b. R14 is the address of the arguments.
//
// An element of the result has 8 running sums, its lanes. Lane i takes the products k = i, i+8, … in
// ascending order, each with one fused multiply-add. At the end the lanes are added as ((0+1)+(2+3)) +
// ((4+5)+(6+7)). If back is not 0, one more step reads weights again.

// Loads eight weights at mem as float32 to y. A bfloat16 is the upper half of a float32: one shuffle by Y15
// moves each weight to its place, from two copies of the eight. (VPMOVZXWD and a shift take three times the
// operations.)
#define BF16(mem, y) \
	VBROADCASTI128 mem, y \
	VPSHUFB        Y15, y, y
#define F16(mem, y) \
	VCVTPH2PS mem, y
#define F32(mem, y) \
	VMOVUPS mem, y

// The byte indices of the shuffle in BF16. 0x80 makes a zero.
DATA upper<>+0(SB)/8, $0x0302808001008080
DATA upper<>+8(SB)/8, $0x0706808005048080
DATA upper<>+16(SB)/8, $0x0b0a808009088080
DATA upper<>+24(SB)/8, $0x0f0e80800d0c8080
GLOBL upper<>(SB), RODATA|NOPTR, $32

// ---- Eight rows by one token

// One step: eight weights of each row at offset d by the eight values of the token at offset dx.
#define ROWS8(WIDEN, d, dx) \
	VMOVUPS     (dx)(DX), Y14 \
	WIDEN((d)(SI), Y8)        \
	WIDEN((d)(SI)(BX*1), Y9)  \
	WIDEN((d)(SI)(BX*2), Y10) \
	WIDEN((d)(SI)(R8*1), Y11) \
	VFMADD231PS Y14, Y8, Y0   \
	VFMADD231PS Y14, Y9, Y1   \
	VFMADD231PS Y14, Y10, Y2  \
	VFMADD231PS Y14, Y11, Y3  \
	WIDEN((d)(R9), Y8)        \
	WIDEN((d)(R9)(BX*1), Y9)  \
	WIDEN((d)(R9)(BX*2), Y10) \
	WIDEN((d)(R9)(R8*1), Y11) \
	VFMADD231PS Y14, Y8, Y4   \
	VFMADD231PS Y14, Y9, Y5   \
	VFMADD231PS Y14, Y10, Y6  \
	VFMADD231PS Y14, Y11, Y7

// Prefetches one cache line of each of eight later rows.
#define PREFETCH8(d) \
	PREFETCHT0 (d)(R10)       \
	PREFETCHT0 (d)(R10)(BX*1) \
	PREFETCHT0 (d)(R10)(BX*2) \
	PREFETCHT0 (d)(R10)(R8*1) \
	PREFETCHT0 (d)(R11)       \
	PREFETCHT0 (d)(R11)(BX*1) \
	PREFETCHT0 (d)(R11)(BX*2) \
	PREFETCHT0 (d)(R11)(R8*1)

// size is the bytes of eight weights. Four steps read one cache line of every row, or two of float32.
#define DOT8X1(WIDEN, size) \
	MOVQ   args+0(FP), R14         \
	MOVQ   dotArgs_sums(R14), DI   \
	MOVQ   dotArgs_rows(R14), SI   \
	MOVQ   dotArgs_stride(R14), BX \
	MOVQ   dotArgs_ahead(R14), R10 \
	MOVQ   dotArgs_x(R14), DX      \
	MOVQ   dotArgs_k(R14), CX      \
	MOVQ   dotArgs_back(R14), AX   \
	LEAQ   (BX)(BX*2), R8          \
	LEAQ   (SI)(BX*4), R9          \
	ADDQ   SI, R10                 \
	LEAQ   (R10)(BX*4), R11        \
	VMOVDQU upper<>(SB), Y15       \
	VMOVUPS 0(DI), Y0              \
	VMOVUPS 32(DI), Y1             \
	VMOVUPS 64(DI), Y2             \
	VMOVUPS 96(DI), Y3             \
	VMOVUPS 128(DI), Y4            \
	VMOVUPS 160(DI), Y5            \
	VMOVUPS 192(DI), Y6            \
	VMOVUPS 224(DI), Y7            \
	SUBQ   $32, CX                 \
	JLT    rest                    \
line:                                  \
	PREFETCH8(0)                   \
	ROWS8(WIDEN, 0*size, 0)        \
	ROWS8(WIDEN, 1*size, 32)       \
	ROWS8(WIDEN, 2*size, 64)       \
	ROWS8(WIDEN, 3*size, 96)       \
	ADDQ   $(4*size), SI           \
	ADDQ   $(4*size), R9           \
	ADDQ   $(4*size), R10          \
	ADDQ   $(4*size), R11          \
	ADDQ   $128, DX                \
	SUBQ   $32, CX                 \
	JGE    line                    \
rest:                                  \
	ADDQ   $32, CX                 \
	JZ     last                    \
step:                                  \
	ROWS8(WIDEN, 0, 0)             \
	ADDQ   $size, SI               \
	ADDQ   $size, R9               \
	ADDQ   $32, DX                 \
	SUBQ   $8, CX                  \
	JNZ    step                    \
last:                                  \
	TESTQ  AX, AX                  \
	JZ     store                   \
	SUBQ   AX, SI                  \
	SUBQ   AX, R9                  \
	XORQ   AX, AX                  \
	MOVQ   $8, CX                  \
	JMP    step                    \
store:                                 \
	VMOVUPS Y0, 0(DI)              \
	VMOVUPS Y1, 32(DI)             \
	VMOVUPS Y2, 64(DI)             \
	VMOVUPS Y3, 96(DI)             \
	VMOVUPS Y4, 128(DI)            \
	VMOVUPS Y5, 160(DI)            \
	VMOVUPS Y6, 192(DI)            \
	VMOVUPS Y7, 224(DI)            \
	VZEROUPPER                     \
	RET

// ---- Two rows by six or four tokens

// The values of two tokens, at offsets d and d+32, by both rows in Y12 and Y13.
#define TOKENS2(d, a0, a1, b0, b1) \
	VMOVUPS     (d)(DX), Y14    \
	VFMADD231PS Y14, Y12, a0    \
	VFMADD231PS Y14, Y13, b0    \
	VMOVUPS     (d+32)(DX), Y14 \
	VFMADD231PS Y14, Y12, a1    \
	VFMADD231PS Y14, Y13, b1

#define DOT2X6(WIDEN, size) \
	MOVQ    args+0(FP), R14          \
	MOVQ    dotArgs_sums(R14), DI    \
	MOVQ    dotArgs_rows(R14), R12   \
	MOVQ    dotArgs_stride(R14), BX  \
	MOVQ    dotArgs_next(R14), R13   \
	MOVQ    dotArgs_bands(R14), R11  \
	MOVQ    dotArgs_ahead(R14), R8   \
	MOVQ    dotArgs_pace(R14), R15   \
	VMOVDQU upper<>(SB), Y15         \
pair:                                    \
	MOVQ    R12, SI                  \
	LEAQ    (R12)(R8*1), R9          \
	MOVQ    dotArgs_x(R14), DX       \
	MOVQ    dotArgs_k(R14), CX       \
	MOVQ    dotArgs_back(R14), AX    \
	VMOVUPS 0(DI), Y0                \
	VMOVUPS 32(DI), Y1               \
	VMOVUPS 64(DI), Y2               \
	VMOVUPS 96(DI), Y3               \
	VMOVUPS 128(DI), Y4              \
	VMOVUPS 160(DI), Y5              \
	VMOVUPS 192(DI), Y6              \
	VMOVUPS 224(DI), Y7              \
	VMOVUPS 256(DI), Y8              \
	VMOVUPS 288(DI), Y9              \
	VMOVUPS 320(DI), Y10             \
	VMOVUPS 352(DI), Y11             \
	PCALIGN $64                      \
step:                                    \
	WIDEN((SI), Y12)                 \
	WIDEN((SI)(BX*1), Y13)           \
	PREFETCHT1 (R9)                  \
	PREFETCHT1 (R9)(BX*1)            \
	TOKENS2(0, Y0, Y1, Y6, Y7)       \
	TOKENS2(64, Y2, Y3, Y8, Y9)      \
	TOKENS2(128, Y4, Y5, Y10, Y11)   \
	ADDQ    $size, SI                \
	ADDQ    R15, R9                  \
	ADDQ    $192, DX                 \
	SUBQ    $8, CX                   \
	JNZ     step                     \
	TESTQ   AX, AX                   \
	JZ      store                    \
	SUBQ    AX, SI                   \
	XORQ    AX, AX                   \
	MOVQ    $8, CX                   \
	JMP     step                     \
store:                                   \
	VMOVUPS Y0, 0(DI)                \
	VMOVUPS Y1, 32(DI)               \
	VMOVUPS Y2, 64(DI)               \
	VMOVUPS Y3, 96(DI)               \
	VMOVUPS Y4, 128(DI)              \
	VMOVUPS Y5, 160(DI)              \
	VMOVUPS Y6, 192(DI)              \
	VMOVUPS Y7, 224(DI)              \
	VMOVUPS Y8, 256(DI)              \
	VMOVUPS Y9, 288(DI)              \
	VMOVUPS Y10, 320(DI)             \
	VMOVUPS Y11, 352(DI)             \
	ADDQ    $384, DI                 \
	ADDQ    R13, R12                 \
	DECQ    R11                      \
	JNZ     pair                     \
	VZEROUPPER                       \
	RET

#define DOT2X4(WIDEN, size) \
	MOVQ    args+0(FP), R14          \
	MOVQ    dotArgs_sums(R14), DI    \
	MOVQ    dotArgs_rows(R14), R12   \
	MOVQ    dotArgs_stride(R14), BX  \
	MOVQ    dotArgs_next(R14), R13   \
	MOVQ    dotArgs_bands(R14), R11  \
	MOVQ    dotArgs_ahead(R14), R8   \
	MOVQ    dotArgs_pace(R14), R15   \
	VMOVDQU upper<>(SB), Y15         \
pair:                                    \
	MOVQ    R12, SI                  \
	LEAQ    (R12)(R8*1), R9          \
	MOVQ    dotArgs_x(R14), DX       \
	MOVQ    dotArgs_k(R14), CX       \
	MOVQ    dotArgs_back(R14), AX    \
	VMOVUPS 0(DI), Y0                \
	VMOVUPS 32(DI), Y1               \
	VMOVUPS 64(DI), Y2               \
	VMOVUPS 96(DI), Y3               \
	VMOVUPS 128(DI), Y4              \
	VMOVUPS 160(DI), Y5              \
	VMOVUPS 192(DI), Y6              \
	VMOVUPS 224(DI), Y7              \
	PCALIGN $64                      \
step:                                    \
	WIDEN((SI), Y12)                 \
	WIDEN((SI)(BX*1), Y13)           \
	PREFETCHT1 (R9)                  \
	PREFETCHT1 (R9)(BX*1)            \
	TOKENS2(0, Y0, Y1, Y4, Y5)       \
	TOKENS2(64, Y2, Y3, Y6, Y7)      \
	ADDQ    $size, SI                \
	ADDQ    R15, R9                  \
	ADDQ    $128, DX                 \
	SUBQ    $8, CX                   \
	JNZ     step                     \
	TESTQ   AX, AX                   \
	JZ      store                    \
	SUBQ    AX, SI                   \
	XORQ    AX, AX                   \
	MOVQ    $8, CX                   \
	JMP     step                     \
store:                                   \
	VMOVUPS Y0, 0(DI)                \
	VMOVUPS Y1, 32(DI)               \
	VMOVUPS Y2, 64(DI)               \
	VMOVUPS Y3, 96(DI)               \
	VMOVUPS Y4, 128(DI)              \
	VMOVUPS Y5, 160(DI)              \
	VMOVUPS Y6, 192(DI)              \
	VMOVUPS Y7, 224(DI)              \
	ADDQ    $256, DI                 \
	ADDQ    R13, R12                 \
	DECQ    R11                      \
	JNZ     pair                     \
	VZEROUPPER                       \
	RET

// func dot8x1Lanes8BF16(args *dotArgs)
TEXT ·dot8x1Lanes8BF16(SB), NOSPLIT, $0-8
	DOT8X1(BF16, 16)

// func dot8x1Lanes8F16(args *dotArgs)
TEXT ·dot8x1Lanes8F16(SB), NOSPLIT, $0-8
	DOT8X1(F16, 16)

// func dot8x1Lanes8F32(args *dotArgs)
TEXT ·dot8x1Lanes8F32(SB), NOSPLIT, $0-8
	DOT8X1(F32, 32)

// func dot2x6Lanes8BF16(args *dotArgs)
TEXT ·dot2x6Lanes8BF16(SB), NOSPLIT, $0-8
	DOT2X6(BF16, 16)

// func dot2x6Lanes8F16(args *dotArgs)
TEXT ·dot2x6Lanes8F16(SB), NOSPLIT, $0-8
	DOT2X6(F16, 16)

// func dot2x6Lanes8F32(args *dotArgs)
TEXT ·dot2x6Lanes8F32(SB), NOSPLIT, $0-8
	DOT2X6(F32, 32)

// func dot2x4Lanes8BF16(args *dotArgs)
TEXT ·dot2x4Lanes8BF16(SB), NOSPLIT, $0-8
	DOT2X4(BF16, 16)

// func dot2x4Lanes8F16(args *dotArgs)
TEXT ·dot2x4Lanes8F16(SB), NOSPLIT, $0-8
	DOT2X4(F16, 16)

// func dot2x4Lanes8F32(args *dotArgs)
TEXT ·dot2x4Lanes8F32(SB), NOSPLIT, $0-8
	DOT2X4(F32, 32)

// func sumLanes8(sums, lanes *float32, n int)
TEXT ·sumLanes8(SB), NOSPLIT, $0-24
	MOVQ sums+0(FP), DI
	MOVQ lanes+8(FP), SI
	MOVQ n+16(FP), CX
four:
	VMOVUPS      0(SI), Y0
	VMOVUPS      32(SI), Y1
	VMOVUPS      64(SI), Y2
	VMOVUPS      96(SI), Y3
	VHADDPS      Y1, Y0, Y0
	VHADDPS      Y3, Y2, Y2
	VHADDPS      Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VMOVUPS      X0, (DI)
	ADDQ         $128, SI
	ADDQ         $16, DI
	SUBQ         $4, CX
	JNZ          four
	VZEROUPPER
	RET
