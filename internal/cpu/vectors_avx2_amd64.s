#include "textflag.h"
#include "go_asm.h"

// The loops of attention and of everything else that reads no weights, for AVX2 with FMA, see assembly. Go's
// assembler writes the destination last: VFMADD231PS a, b, c is c += a·b.

// ---- Products with keys and values
//
// c += a·b as in vectors_avx512_amd64.s, but with 8 columns in a register. R14 is the address of the
// arguments.

// Eight columns at offset d of the even row of the pair at R11, and of its odd row. Y15 masks upper halves.

#define EVENBF16(d, y) \
	VMOVDQU (d)(R11), y \
	VPSLLD  $16, y, y
#define ODDBF16(d, y) VPAND (d)(R11), Y15, y
#define EVENF32(d, y) VMOVUPS (d)(R11), y
#define ODDF32(d, y) VMOVUPS (d)(R11)(R15*1), y

#define MASK \
	VPCMPEQD Y15, Y15, Y15 \
	VPSLLD   $16, Y15, Y15

// An element of a row of a by 16 columns in Y12 and Y13.
#define ROW2(a, c0, c1) \
	VBROADCASTSS a, Y14       \
	VFMADD231PS  Y12, Y14, c0 \
	VFMADD231PS  Y13, Y14, c1

#define ROWS6(d) \
	ROW2((d)(SI), Y0, Y1)       \
	ROW2((d)(SI)(BX*1), Y2, Y3) \
	ROW2((d)(SI)(BX*2), Y4, Y5) \
	ROW2((d)(R8), Y6, Y7)       \
	ROW2((d)(R8)(BX*1), Y8, Y9) \
	ROW2((d)(R8)(BX*2), Y10, Y11)

#define ROWS4(d) \
	ROW2((d)(SI), Y0, Y1)       \
	ROW2((d)(SI)(BX*1), Y2, Y3) \
	ROW2((d)(SI)(BX*2), Y4, Y5) \
	ROW2((d)(R8), Y6, Y7)

#define LOAD2(c0, c1) \
	VMOVUPS 0(R15), c0  \
	VMOVUPS 32(R15), c1 \
	ADDQ    CX, R15
#define STORE2(c0, c1) \
	VMOVUPS c0, 0(R15)  \
	VMOVUPS c1, 32(R15) \
	ADDQ    CX, R15

#define BEGIN \
	MOVQ args+0(FP), R14         \
	MOVQ kvArgs_c(R14), DI       \
	MOVQ kvArgs_aStride(R14), BX \
	MOVQ kvArgs_b(R14), R13      \
	MOVQ kvArgs_bStride(R14), DX \
	MOVQ kvArgs_ahead(R14), R12  \
	LEAQ (BX)(BX*2), AX          \
	MASK

#define FIRSTROW \
	MOVQ kvArgs_a(R14), SI       \
	LEAQ (SI)(AX*1), R8          \
	MOVQ R13, R11                \
	MOVQ kvArgs_cStride(R14), CX \
	MOVQ DI, R15

#define FIRSTPAIR \
	MOVQ kvArgs_pairs(R14), CX \
	MOVQ DX, R15               \
	SHRQ $1, R15

#define PAIR(EVEN, ODD, ROWS) \
	EVEN(0, Y12)            \
	EVEN(32, Y13)           \
	PREFETCHT0 (R11)(R12*1) \
	ROWS(0)                 \
	ODD(0, Y12)             \
	ODD(32, Y13)            \
	ROWS(4)                 \
	ADDQ $8, SI             \
	ADDQ $8, R8             \
	ADDQ DX, R11            \
	DECQ CX

// Goes on to the next columns. The comparison says less if there are any.
#define NEXTCOLUMNS \
	ADDQ $64, DI           \
	ADDQ $64, R13          \
	MOVQ DI, CX            \
	SUBQ kvArgs_c(R14), CX \
	SHRQ $2, CX            \
	CMPQ CX, kvArgs_cols(R14)

#define PRODUCTS6(EVEN, ODD) \
	BEGIN                        \
columns:                             \
	FIRSTROW                     \
	LOAD2(Y0, Y1)                \
	LOAD2(Y2, Y3)                \
	LOAD2(Y4, Y5)                \
	LOAD2(Y6, Y7)                \
	LOAD2(Y8, Y9)                \
	LOAD2(Y10, Y11)              \
	FIRSTPAIR                    \
	PCALIGN $64                  \
pair:                                \
	PAIR(EVEN, ODD, ROWS6)       \
	JNZ  pair                    \
	MOVQ kvArgs_cStride(R14), CX \
	MOVQ DI, R15                 \
	STORE2(Y0, Y1)               \
	STORE2(Y2, Y3)               \
	STORE2(Y4, Y5)               \
	STORE2(Y6, Y7)               \
	STORE2(Y8, Y9)               \
	STORE2(Y10, Y11)             \
	NEXTCOLUMNS                  \
	JLT  columns                 \
	VZEROUPPER                   \
	RET

#define PRODUCTS4(EVEN, ODD) \
	BEGIN                        \
columns:                             \
	FIRSTROW                     \
	LOAD2(Y0, Y1)                \
	LOAD2(Y2, Y3)                \
	LOAD2(Y4, Y5)                \
	LOAD2(Y6, Y7)                \
	FIRSTPAIR                    \
	PCALIGN $64                  \
pair:                                \
	PAIR(EVEN, ODD, ROWS4)       \
	JNZ  pair                    \
	MOVQ kvArgs_cStride(R14), CX \
	MOVQ DI, R15                 \
	STORE2(Y0, Y1)               \
	STORE2(Y2, Y3)               \
	STORE2(Y4, Y5)               \
	STORE2(Y6, Y7)               \
	NEXTCOLUMNS                  \
	JLT  columns                 \
	VZEROUPPER                   \
	RET

// Eight columns of a pair by one row of a, whose even element is in Y13 and whose odd element is in Y14.
#define COLUMNS(EVEN, ODD, d, t, c) \
	EVEN(d, t)            \
	VFMADD231PS Y13, t, c \
	ODD(d, t)             \
	VFMADD231PS Y14, t, c

#define ELEMENTS \
	VBROADCASTSS 0(SI), Y13 \
	VBROADCASTSS 4(SI), Y14

#define NEXTPAIR(label) \
	ADDQ $8, SI  \
	ADDQ DX, R11 \
	DECQ CX      \
	JNZ  label

// One row: up to 96 columns are computed together, so that b is read in the order of memory.
#define PRODUCTS1(EVEN, ODD) \
	MOVQ args+0(FP), R14              \
	MOVQ kvArgs_c(R14), DI            \
	MOVQ kvArgs_b(R14), R13           \
	MOVQ kvArgs_bStride(R14), DX      \
	MOVQ kvArgs_cols(R14), R9         \
	MOVQ kvArgs_ahead(R14), R12       \
	MOVQ DX, R15                      \
	SHRQ $1, R15                      \
	MASK                              \
columns:                                  \
	MOVQ kvArgs_a(R14), SI            \
	MOVQ R13, R11                     \
	MOVQ kvArgs_pairs(R14), CX        \
	VMOVUPS 0(DI), Y0                 \
	VMOVUPS 32(DI), Y1                \
	VMOVUPS 64(DI), Y2                \
	VMOVUPS 96(DI), Y3                \
	CMPQ R9, $64                      \
	JLT  pair32                       \
	VMOVUPS 128(DI), Y4               \
	VMOVUPS 160(DI), Y5               \
	VMOVUPS 192(DI), Y6               \
	VMOVUPS 224(DI), Y7               \
	CMPQ R9, $96                      \
	JNE  pair64                       \
	VMOVUPS 256(DI), Y8               \
	VMOVUPS 288(DI), Y9               \
	VMOVUPS 320(DI), Y10              \
	VMOVUPS 352(DI), Y11              \
pair96:                                   \
	ELEMENTS                          \
	PREFETCHT0 0(R11)(R12*1)          \
	PREFETCHT0 64(R11)(R12*1)         \
	PREFETCHT0 128(R11)(R12*1)        \
	PREFETCHT0 192(R11)(R12*1)        \
	PREFETCHT0 256(R11)(R12*1)        \
	PREFETCHT0 320(R11)(R12*1)        \
	COLUMNS(EVEN, ODD, 0, Y12, Y0)    \
	COLUMNS(EVEN, ODD, 32, Y12, Y1)   \
	COLUMNS(EVEN, ODD, 64, Y12, Y2)   \
	COLUMNS(EVEN, ODD, 96, Y12, Y3)   \
	COLUMNS(EVEN, ODD, 128, Y12, Y4)  \
	COLUMNS(EVEN, ODD, 160, Y12, Y5)  \
	COLUMNS(EVEN, ODD, 192, Y12, Y6)  \
	COLUMNS(EVEN, ODD, 224, Y12, Y7)  \
	COLUMNS(EVEN, ODD, 256, Y12, Y8)  \
	COLUMNS(EVEN, ODD, 288, Y12, Y9)  \
	COLUMNS(EVEN, ODD, 320, Y12, Y10) \
	COLUMNS(EVEN, ODD, 352, Y12, Y11) \
	NEXTPAIR(pair96)                  \
	VMOVUPS Y8, 256(DI)               \
	VMOVUPS Y9, 288(DI)               \
	VMOVUPS Y10, 320(DI)              \
	VMOVUPS Y11, 352(DI)              \
	VMOVUPS Y4, 128(DI)               \
	VMOVUPS Y5, 160(DI)               \
	VMOVUPS Y6, 192(DI)               \
	VMOVUPS Y7, 224(DI)               \
	JMP  last32                       \
pair64:                                   \
	ELEMENTS                          \
	PREFETCHT0 0(R11)(R12*1)          \
	PREFETCHT0 64(R11)(R12*1)         \
	PREFETCHT0 128(R11)(R12*1)        \
	PREFETCHT0 192(R11)(R12*1)        \
	COLUMNS(EVEN, ODD, 0, Y8, Y0)     \
	COLUMNS(EVEN, ODD, 32, Y9, Y1)    \
	COLUMNS(EVEN, ODD, 64, Y10, Y2)   \
	COLUMNS(EVEN, ODD, 96, Y11, Y3)   \
	COLUMNS(EVEN, ODD, 128, Y12, Y4)  \
	COLUMNS(EVEN, ODD, 160, Y8, Y5)   \
	COLUMNS(EVEN, ODD, 192, Y9, Y6)   \
	COLUMNS(EVEN, ODD, 224, Y10, Y7)  \
	NEXTPAIR(pair64)                  \
	VMOVUPS Y0, 0(DI)                 \
	VMOVUPS Y1, 32(DI)                \
	VMOVUPS Y2, 64(DI)                \
	VMOVUPS Y3, 96(DI)                \
	VMOVUPS Y4, 128(DI)               \
	VMOVUPS Y5, 160(DI)               \
	VMOVUPS Y6, 192(DI)               \
	VMOVUPS Y7, 224(DI)               \
	ADDQ $256, DI                     \
	ADDQ $256, R13                    \
	SUBQ $64, R9                      \
	JNZ  columns                      \
	JMP  end                          \
pair32:                                   \
	ELEMENTS                          \
	PREFETCHT0 0(R11)(R12*1)          \
	PREFETCHT0 64(R11)(R12*1)         \
	COLUMNS(EVEN, ODD, 0, Y8, Y0)     \
	COLUMNS(EVEN, ODD, 32, Y9, Y1)    \
	COLUMNS(EVEN, ODD, 64, Y10, Y2)   \
	COLUMNS(EVEN, ODD, 96, Y11, Y3)   \
	NEXTPAIR(pair32)                  \
last32:                                   \
	VMOVUPS Y0, 0(DI)                 \
	VMOVUPS Y1, 32(DI)                \
	VMOVUPS Y2, 64(DI)                \
	VMOVUPS Y3, 96(DI)                \
end:                                      \
	VZEROUPPER                        \
	RET

// func products6AVX2BF16(args *kvArgs)
TEXT ·products6AVX2BF16(SB), NOSPLIT, $0-8
	PRODUCTS6(EVENBF16, ODDBF16)

// func products6AVX2F32(args *kvArgs)
TEXT ·products6AVX2F32(SB), NOSPLIT, $0-8
	PRODUCTS6(EVENF32, ODDF32)

// func products4AVX2BF16(args *kvArgs)
TEXT ·products4AVX2BF16(SB), NOSPLIT, $0-8
	PRODUCTS4(EVENBF16, ODDBF16)

// func products4AVX2F32(args *kvArgs)
TEXT ·products4AVX2F32(SB), NOSPLIT, $0-8
	PRODUCTS4(EVENF32, ODDF32)

// func products1AVX2BF16(args *kvArgs)
TEXT ·products1AVX2BF16(SB), NOSPLIT, $0-8
	PRODUCTS1(EVENBF16, ODDBF16)

// func products1AVX2F32(args *kvArgs)
TEXT ·products1AVX2F32(SB), NOSPLIT, $0-8
	PRODUCTS1(EVENF32, ODDF32)

// ---- Softmax

DATA exp2<>+0(SB)/4, $-127.0             // 2 to this or a lower power becomes 0
DATA exp2<>+4(SB)/4, $1.0
DATA exp2<>+8(SB)/4, $0.6931471880262288 // 2^r = 1 + r·(this + r·(the next + …)), see EXP2
DATA exp2<>+12(SB)/4, $0.24022650760568126
DATA exp2<>+16(SB)/4, $0.05550357114219078
DATA exp2<>+20(SB)/4, $0.009618082557277852
DATA exp2<>+24(SB)/4, $0.0013390863364671234
DATA exp2<>+28(SB)/4, $0.0001545316294512069
DATA exp2<>+32(SB)/4, $12583039.0        // 1.5·2^23 + 127
GLOBL exp2<>(SB), RODATA|NOPTR, $36

// Sets e = 2^x for x ≤ 0, as 2^n · 2^r, where n is the integer nearest to x and |r| ≤ 0.5; the polynomial for
// 2^r has a relative error of 9e-9. The lowest bits of x + 1.5·2^23 + 127 are n + 127, which is the exponent
// of 2^n; n = -127 makes 0. NaN stays NaN: VMAXPS returns its first operand, in Go's order, if either is NaN.
// x, n and c are overwritten.
#define EXP2(x, n, c, e) \
	VBROADCASTSS exp2<>+0(SB), c  \
	VMAXPS       x, c, x          \
	VBROADCASTSS exp2<>+32(SB), c \
	VADDPS       c, x, n          \
	VSUBPS       c, n, e          \
	VSUBPS       e, x, x          \
	VPSLLD       $23, n, n        \
	VBROADCASTSS exp2<>+28(SB), e \
	VBROADCASTSS exp2<>+24(SB), c \
	VFMADD213PS  c, x, e          \
	VBROADCASTSS exp2<>+20(SB), c \
	VFMADD213PS  c, x, e          \
	VBROADCASTSS exp2<>+16(SB), c \
	VFMADD213PS  c, x, e          \
	VBROADCASTSS exp2<>+12(SB), c \
	VFMADD213PS  c, x, e          \
	VBROADCASTSS exp2<>+8(SB), c  \
	VFMADD213PS  c, x, e          \
	VBROADCASTSS exp2<>+4(SB), c  \
	VFMADD213PS  c, x, e          \
	VMULPS       n, e, e

// Combines the eight lanes of y by OP into all lanes of x, the lower half of y: lanes 4 apart, then 2 and 1.
#define REDUCE(OP, y, x, tx) \
	VEXTRACTF128 $1, y, tx    \
	OP           tx, x, x     \
	VPERMILPS    $0x4e, x, tx \
	OP           tx, x, x     \
	VPERMILPS    $0xb1, x, tx \
	OP           tx, x, x

// func softmaxAVX2(x *float32, rows, cols int, scale float32, top, total *float32)
TEXT ·softmaxAVX2(SB), NOSPLIT, $0-48
	MOVQ x+0(FP), SI
	MOVQ rows+8(FP), R8
	MOVQ top+32(FP), R9
	MOVQ total+40(FP), R10
	VBROADCASTSS scale+24(FP), Y15
row:
	MOVQ    SI, DI
	MOVQ    cols+16(FP), CX
	VMOVUPS 0(DI), Y0
	VMOVUPS 32(DI), Y1
	JMP     next
most:
	VMAXPS 0(DI), Y0, Y0
	VMAXPS 32(DI), Y1, Y1
next:
	ADDQ   $64, DI
	SUBQ   $16, CX
	JNZ    most
	VMAXPS Y1, Y0, Y0
	REDUCE(VMAXPS, Y0, X0, X1)
	VMULSS X15, X0, X0
	VMOVSS X0, (R9)
	VBROADCASTSS X0, Y0
	MOVQ   SI, DI
	MOVQ   cols+16(FP), CX
	VXORPS Y1, Y1, Y1
power:
	VMOVUPS 0(DI), Y2
	VMOVUPS 32(DI), Y3
	VFMSUB213PS Y0, Y15, Y2
	VFMSUB213PS Y0, Y15, Y3
	EXP2(Y2, Y4, Y8, Y6)
	EXP2(Y3, Y5, Y9, Y7)
	VMOVUPS Y6, 0(DI)
	VMOVUPS Y7, 32(DI)
	VADDPS  Y6, Y1, Y1
	VADDPS  Y7, Y1, Y1
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     power
	REDUCE(VADDPS, Y1, X1, X2)
	VMOVSS  X1, (R10)
	ADDQ    $4, R9
	ADDQ    $4, R10
	ADDQ    $(const_chunk*4), SI
	DECQ    R8
	JNZ     row
	VZEROUPPER
	RET

// func mergeStatesAVX2(top, total, m, l, old *float32, n int)
TEXT ·mergeStatesAVX2(SB), NOSPLIT, $0-48
	MOVQ top+0(FP), SI
	MOVQ total+8(FP), DI
	MOVQ m+16(FP), R8
	MOVQ l+24(FP), R9
	MOVQ old+32(FP), R10
	MOVQ n+40(FP), CX
eight:
	VMOVUPS (SI), Y0
	VMOVUPS (R8), Y1
	VMAXPS  Y1, Y0, Y2
	VMOVUPS Y2, (SI)
	VSUBPS  Y2, Y0, Y0
	VSUBPS  Y2, Y1, Y1
	EXP2(Y0, Y3, Y6, Y4)
	EXP2(Y1, Y3, Y6, Y5)
	VMOVUPS Y4, (R10)
	VMOVUPS Y5, (R8)
	VMULPS  (DI), Y4, Y0
	VFMADD231PS (R9), Y5, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, R8
	ADDQ    $32, R9
	ADDQ    $32, R10
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET

// func mergeRowsAVX2(out, sum, old, add *float32, rows, cols int)
TEXT ·mergeRowsAVX2(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ sum+8(FP), SI
	MOVQ old+16(FP), R8
	MOVQ add+24(FP), R9
	MOVQ rows+32(FP), R10
row:
	VBROADCASTSS (R8), Y4
	VBROADCASTSS (R9), Y5
	MOVQ    cols+40(FP), CX
columns:
	VMULPS      0(DI), Y4, Y0
	VMULPS      32(DI), Y4, Y1
	VFMADD231PS 0(SI), Y5, Y0
	VFMADD231PS 32(SI), Y5, Y1
	VMOVUPS     Y0, 0(DI)
	VMOVUPS     Y1, 32(DI)
	ADDQ        $64, DI
	ADDQ        $64, SI
	SUBQ        $16, CX
	JNZ         columns
	ADDQ        $4, R8
	ADDQ        $4, R9
	DECQ        R10
	JNZ         row
	VZEROUPPER
	RET

// func divideRowsAVX2(x, by *float32, rows, cols int)
TEXT ·divideRowsAVX2(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ by+8(FP), SI
	MOVQ rows+16(FP), R8
row:
	VBROADCASTSS (SI), Y2
	MOVQ    cols+24(FP), CX
columns:
	VMOVUPS 0(DI), Y0
	VMOVUPS 32(DI), Y1
	VDIVPS  Y2, Y0, Y0
	VDIVPS  Y2, Y1, Y1
	VMOVUPS Y0, 0(DI)
	VMOVUPS Y1, 32(DI)
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     columns
	ADDQ    $4, SI
	DECQ    R8
	JNZ     row
	VZEROUPPER
	RET

// ---- SiLU, rounding, RMSNorm, RoPE

DATA exp<>+0(SB)/4, $89.0                // e to this or a higher power is infinite in float32
DATA exp<>+4(SB)/4, $-105.0              // e to this or a lower power is 0
DATA exp<>+8(SB)/4, $1.4426950408889634  // 1/ln 2
DATA exp<>+12(SB)/4, $0x3f317218         // ln 2 as a float32
DATA exp<>+16(SB)/4, $-1.904654323148e-9 // ln 2 minus that float32
DATA exp<>+20(SB)/4, $1.9841269841e-4    // 1/7!
DATA exp<>+24(SB)/4, $1.3888888889e-3    // 1/6!
DATA exp<>+28(SB)/4, $8.3333333333e-3    // 1/5!
DATA exp<>+32(SB)/4, $4.1666666667e-2    // 1/4!
DATA exp<>+36(SB)/4, $1.6666666667e-1    // 1/3!
DATA exp<>+40(SB)/4, $0.5
DATA exp<>+44(SB)/4, $1.0
DATA exp<>+48(SB)/4, $127                // the exponent's bias
GLOBL exp<>(SB), RODATA|NOPTR, $52

// Sets e to the exponential function of x, as 2^n · e^r, where n = round(x/ln 2) and |r| ≤ ln(2)/2. Seven
// terms of the series for e^r have a relative error of 7e-9. 2^n is applied as two factors, for subnormal
// results. NaN stays NaN: VMINPS and VMAXPS return their first operand, in Go's order, if either is NaN. x, n
// and c are overwritten.
#define EXP(x, n, c, e) \
	VBROADCASTSS exp<>+0(SB), c  \
	VMINPS       x, c, x         \
	VBROADCASTSS exp<>+4(SB), c  \
	VMAXPS       x, c, x         \
	VBROADCASTSS exp<>+8(SB), c  \
	VMULPS       c, x, n         \
	VROUNDPS     $0, n, n        \
	VBROADCASTSS exp<>+12(SB), c \
	VFNMADD231PS c, n, x         \
	VBROADCASTSS exp<>+16(SB), c \
	VFNMADD231PS c, n, x         \
	VBROADCASTSS exp<>+20(SB), e \
	VBROADCASTSS exp<>+24(SB), c \
	VFMADD213PS  c, x, e         \
	VBROADCASTSS exp<>+28(SB), c \
	VFMADD213PS  c, x, e         \
	VBROADCASTSS exp<>+32(SB), c \
	VFMADD213PS  c, x, e         \
	VBROADCASTSS exp<>+36(SB), c \
	VFMADD213PS  c, x, e         \
	VBROADCASTSS exp<>+40(SB), c \
	VFMADD213PS  c, x, e         \
	VBROADCASTSS exp<>+44(SB), c \
	VFMADD213PS  c, x, e         \
	VFMADD213PS  c, x, e         \
	VCVTPS2DQ    n, n            \
	VPSRAD       $1, n, c        \
	VPSUBD       c, n, n         \
	VPBROADCASTD exp<>+48(SB), x \
	VPADDD       x, c, c         \
	VPADDD       x, n, n         \
	VPSLLD       $23, c, c       \
	VPSLLD       $23, n, n       \
	VMULPS       c, e, e         \
	VMULPS       n, e, e

// func gateAVX2(y, gate, up *float32, n int)
TEXT ·gateAVX2(SB), NOSPLIT, $0-32
	MOVQ y+0(FP), DI
	MOVQ gate+8(FP), SI
	MOVQ up+16(FP), R8
	MOVQ n+24(FP), CX
eight:
	VMOVUPS (SI), Y0
	VXORPS  Y1, Y1, Y1
	VSUBPS  Y0, Y1, Y1
	EXP(Y1, Y2, Y3, Y4)
	VBROADCASTSS exp<>+44(SB), Y1
	VADDPS  Y1, Y4, Y4
	VDIVPS  Y4, Y0, Y0
	VMULPS  (R8), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, R8
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET

// func expAVX2(x *float32, n int)
TEXT ·expAVX2(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
eight:
	VMOVUPS (SI), Y0
	EXP(Y0, Y1, Y2, Y3)
	VMOVUPS Y3, (SI)
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET

// func roundBF16AVX2(x *float32, n int)
TEXT ·roundBF16AVX2(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VPCMPEQD Y9, Y9, Y9
	VPSRLD   $31, Y9, Y8      // the lowest bit
	VPSLLD   $22, Y8, Y7      // the bit that makes a NaN quiet
	VPSRLD   $17, Y9, Y6      // half of the last bit that stays, minus 1
	VPSLLD   $16, Y9, Y9      // the upper half
eight:
	VMOVUPS  (SI), Y0
	VCMPPS   $3, Y0, Y0, Y2   // NaN
	VPSRLD   $16, Y0, Y1
	VPAND    Y8, Y1, Y1
	VPADDD   Y6, Y1, Y1
	VPADDD   Y0, Y1, Y1
	VPOR     Y7, Y0, Y0
	VBLENDVPS Y2, Y0, Y1, Y1
	VPAND    Y9, Y1, Y1
	VMOVUPS  Y1, (SI)
	ADDQ     $32, SI
	SUBQ     $8, CX
	JNZ      eight
	VZEROUPPER
	RET

// func sumSquaresAVX2(x *float32, n int) float64
TEXT ·sumSquaresAVX2(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
eight:
	VCVTPS2PD   0(SI), Y2
	VCVTPS2PD   16(SI), Y3
	VFMADD231PD Y2, Y2, Y0
	VFMADD231PD Y3, Y3, Y1
	ADDQ        $32, SI
	SUBQ        $8, CX
	JNZ         eight
	VADDPD       Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPD       X1, X0, X0
	VPERMILPD    $1, X0, X1
	VADDPD       X1, X0, X0
	VZEROUPPER
	VMOVSD X0, ret+16(FP)
	RET

// func scaleAVX2(y, x, weight *float32, n int, scale float32)
TEXT ·scaleAVX2(SB), NOSPLIT, $0-36
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ weight+16(FP), R8
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+32(FP), Y2
eight:
	VMULPS  (SI), Y2, Y0
	VMULPS  (R8), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, R8
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET

// func rotateAVX2(lo, hi, cos, sin *float32, n int)
TEXT ·rotateAVX2(SB), NOSPLIT, $0-40
	MOVQ lo+0(FP), SI
	MOVQ hi+8(FP), DI
	MOVQ cos+16(FP), R8
	MOVQ sin+24(FP), R9
	MOVQ n+32(FP), CX
eight:
	VMOVUPS (SI), Y0
	VMOVUPS (DI), Y1
	VMOVUPS (R8), Y2
	VMOVUPS (R9), Y3
	VMULPS  Y2, Y0, Y4
	VMULPS  Y3, Y1, Y5
	VSUBPS  Y5, Y4, Y4
	VMULPS  Y2, Y1, Y6
	VMULPS  Y3, Y0, Y7
	VADDPS  Y7, Y6, Y6
	VMOVUPS Y4, (SI)
	VMOVUPS Y6, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, R8
	ADDQ    $32, R9
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET
