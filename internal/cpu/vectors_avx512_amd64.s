#include "textflag.h"
#include "go_asm.h"

// The loops of attention and of everything else that reads no weights, for AVX-512 (F, DQ), see assembly.
// Go's assembler writes the destination last: VFMADD231PS a, b, c is c += a·b.

// ---- Products with keys and values
//
// c += a·b, where b is stored in pairs of rows, see kvArgs and kvMatrix. R14 is the address of the arguments.
// 16 columns of a pair begin at the same offset in either type of b. An element of c takes its products in
// ascending order, one fused multiply-add each, however many rows and columns are computed together.

// 16 columns at offset d of the even row of the pair at R11, and of its odd row. Bfloat16 of the even row are
// the lower halves of 32 bits, those of the odd row the upper halves, and a bfloat16 is the upper half of a
// float32. Z31 masks upper halves. R15 is the distance between the two rows of float32.
#define EVENBF16(d, z) VPSLLD $16, (d)(R11), z
#define ODDBF16(d, z) VPANDD (d)(R11), Z31, z
#define EVENF32(d, z) VMOVUPS (d)(R11), z
#define ODDF32(d, z) VMOVUPS (d)(R11)(R15*1), z

// An element of a row of a by 32 columns in b0 and b1.
#define ROW2(a, b0, b1, c0, c1) \
	VBROADCASTSS a, Z28      \
	VFMADD231PS  b0, Z28, c0 \
	VFMADD231PS  b1, Z28, c1

// The elements at offset d of twelve rows of a by the columns in b0 and b1.
#define ROWS12(d, b0, b1) \
	ROW2((d)(SI), b0, b1, Z0, Z1)          \
	ROW2((d)(SI)(BX*1), b0, b1, Z2, Z3)    \
	ROW2((d)(SI)(BX*2), b0, b1, Z4, Z5)    \
	ROW2((d)(R8), b0, b1, Z6, Z7)          \
	ROW2((d)(R8)(BX*1), b0, b1, Z8, Z9)    \
	ROW2((d)(R8)(BX*2), b0, b1, Z10, Z11)  \
	ROW2((d)(R9), b0, b1, Z12, Z13)        \
	ROW2((d)(R9)(BX*1), b0, b1, Z14, Z15)  \
	ROW2((d)(R9)(BX*2), b0, b1, Z16, Z17)  \
	ROW2((d)(R10), b0, b1, Z18, Z19)       \
	ROW2((d)(R10)(BX*1), b0, b1, Z20, Z21) \
	ROW2((d)(R10)(BX*2), b0, b1, Z22, Z23)

// Loads or stores the sums of a row, and goes on to the next row.
#define LOAD2(c0, c1) \
	VMOVUPS 0(R15), c0  \
	VMOVUPS 64(R15), c1 \
	ADDQ    CX, R15
#define STORE2(c0, c1) \
	VMOVUPS c0, 0(R15)  \
	VMOVUPS c1, 64(R15) \
	ADDQ    CX, R15

// Goes on to the next columns. The comparison says less if there are any.
#define NEXTCOLUMNS \
	ADDQ $128, DI          \
	ADDQ $128, R13         \
	MOVQ DI, CX            \
	SUBQ kvArgs_c(R14), CX \
	SHRQ $2, CX            \
	CMPQ CX, kvArgs_cols(R14)

#define PRODUCTS12(EVEN, ODD) \
	MOVQ args+0(FP), R14           \
	MOVQ kvArgs_c(R14), DI         \
	MOVQ kvArgs_aStride(R14), BX   \
	MOVQ kvArgs_b(R14), R13        \
	MOVQ kvArgs_bStride(R14), DX   \
	MOVQ kvArgs_ahead(R14), R12    \
	LEAQ (BX)(BX*2), AX            \
	VPTERNLOGD $255, Z31, Z31, Z31 \
	VPSLLD     $16, Z31, Z31       \
columns:                               \
	MOVQ kvArgs_a(R14), SI         \
	LEAQ (SI)(AX*1), R8            \
	LEAQ (R8)(AX*1), R9            \
	LEAQ (R9)(AX*1), R10           \
	MOVQ R13, R11                  \
	MOVQ kvArgs_cStride(R14), CX   \
	MOVQ DI, R15                   \
	LOAD2(Z0, Z1)                  \
	LOAD2(Z2, Z3)                  \
	LOAD2(Z4, Z5)                  \
	LOAD2(Z6, Z7)                  \
	LOAD2(Z8, Z9)                  \
	LOAD2(Z10, Z11)                \
	LOAD2(Z12, Z13)                \
	LOAD2(Z14, Z15)                \
	LOAD2(Z16, Z17)                \
	LOAD2(Z18, Z19)                \
	LOAD2(Z20, Z21)                \
	LOAD2(Z22, Z23)                \
	MOVQ kvArgs_pairs(R14), CX     \
	MOVQ DX, R15                   \
	SHRQ $1, R15                   \
	PCALIGN $64                    \
pair:                                  \
	EVEN(0, Z24)                   \
	EVEN(64, Z25)                  \
	ODD(0, Z26)                    \
	ODD(64, Z27)                   \
	PREFETCHT0 0(R11)(R12*1)       \
	PREFETCHT0 64(R11)(R12*1)      \
	ROWS12(0, Z24, Z25)            \
	ROWS12(4, Z26, Z27)            \
	ADDQ $8, SI                    \
	ADDQ $8, R8                    \
	ADDQ $8, R9                    \
	ADDQ $8, R10                   \
	ADDQ DX, R11                   \
	DECQ CX                        \
	JNZ  pair                      \
	MOVQ kvArgs_cStride(R14), CX   \
	MOVQ DI, R15                   \
	STORE2(Z0, Z1)                 \
	STORE2(Z2, Z3)                 \
	STORE2(Z4, Z5)                 \
	STORE2(Z6, Z7)                 \
	STORE2(Z8, Z9)                 \
	STORE2(Z10, Z11)               \
	STORE2(Z12, Z13)               \
	STORE2(Z14, Z15)               \
	STORE2(Z16, Z17)               \
	STORE2(Z18, Z19)               \
	STORE2(Z20, Z21)               \
	STORE2(Z22, Z23)               \
	NEXTCOLUMNS                    \
	JLT  columns                   \
	VZEROUPPER                     \
	RET

#define ROWS4(d, b0, b1) \
	ROW2((d)(SI), b0, b1, Z0, Z1)       \
	ROW2((d)(SI)(BX*1), b0, b1, Z2, Z3) \
	ROW2((d)(SI)(BX*2), b0, b1, Z4, Z5) \
	ROW2((d)(SI)(AX*1), b0, b1, Z6, Z7)

#define PRODUCTS4(EVEN, ODD) \
	MOVQ args+0(FP), R14           \
	MOVQ kvArgs_c(R14), DI         \
	MOVQ kvArgs_aStride(R14), BX   \
	MOVQ kvArgs_b(R14), R13        \
	MOVQ kvArgs_bStride(R14), DX   \
	MOVQ kvArgs_ahead(R14), R12    \
	LEAQ (BX)(BX*2), AX            \
	VPTERNLOGD $255, Z31, Z31, Z31 \
	VPSLLD     $16, Z31, Z31       \
columns:                               \
	MOVQ kvArgs_a(R14), SI         \
	MOVQ R13, R11                  \
	MOVQ kvArgs_cStride(R14), CX   \
	MOVQ DI, R15                   \
	LOAD2(Z0, Z1)                  \
	LOAD2(Z2, Z3)                  \
	LOAD2(Z4, Z5)                  \
	LOAD2(Z6, Z7)                  \
	MOVQ kvArgs_pairs(R14), CX     \
	MOVQ DX, R15                   \
	SHRQ $1, R15                   \
pair:                                  \
	EVEN(0, Z24)                   \
	EVEN(64, Z25)                  \
	ODD(0, Z26)                    \
	ODD(64, Z27)                   \
	PREFETCHT0 0(R11)(R12*1)       \
	PREFETCHT0 64(R11)(R12*1)      \
	ROWS4(0, Z24, Z25)             \
	ROWS4(4, Z26, Z27)             \
	ADDQ $8, SI                    \
	ADDQ DX, R11                   \
	DECQ CX                        \
	JNZ  pair                      \
	MOVQ kvArgs_cStride(R14), CX   \
	MOVQ DI, R15                   \
	STORE2(Z0, Z1)                 \
	STORE2(Z2, Z3)                 \
	STORE2(Z4, Z5)                 \
	STORE2(Z6, Z7)                 \
	NEXTCOLUMNS                    \
	JLT  columns                   \
	VZEROUPPER                     \
	RET

// 16 columns of a pair by one row of a, whose even element is in Z28 and whose odd element is in Z29.
#define COLUMNS(EVEN, ODD, d, t, c) \
	PREFETCHT0  (d)(R11)(R12*1) \
	EVEN(d, t)                  \
	VFMADD231PS Z28, t, c       \
	ODD(d, t)                   \
	VFMADD231PS Z29, t, c

#define NEXTPAIR(label) \
	ADDQ $8, SI  \
	ADDQ DX, R11 \
	DECQ CX      \
	JNZ  label

#define ELEMENTS \
	VBROADCASTSS 0(SI), Z28 \
	VBROADCASTSS 4(SI), Z29

// One row: up to 128 columns are computed together, so that b is read in the order of memory.
#define PRODUCTS1(EVEN, ODD) \
	MOVQ args+0(FP), R14             \
	MOVQ kvArgs_c(R14), DI           \
	MOVQ kvArgs_b(R14), R13          \
	MOVQ kvArgs_bStride(R14), DX     \
	MOVQ kvArgs_cols(R14), R9        \
	MOVQ kvArgs_ahead(R14), R12      \
	MOVQ DX, R15                     \
	SHRQ $1, R15                     \
	VPTERNLOGD $255, Z31, Z31, Z31   \
	VPSLLD     $16, Z31, Z31         \
columns:                                 \
	MOVQ kvArgs_a(R14), SI           \
	MOVQ R13, R11                    \
	MOVQ kvArgs_pairs(R14), CX       \
	VMOVUPS 0(DI), Z0                \
	VMOVUPS 64(DI), Z1               \
	CMPQ R9, $64                     \
	JLT  last32                      \
	VMOVUPS 128(DI), Z2              \
	VMOVUPS 192(DI), Z3              \
	JEQ  pair64                      \
	VMOVUPS 256(DI), Z4              \
	VMOVUPS 320(DI), Z5              \
	CMPQ R9, $128                    \
	JLT  pair96                      \
	VMOVUPS 384(DI), Z6              \
	VMOVUPS 448(DI), Z7              \
pair128:                                 \
	ELEMENTS                         \
	COLUMNS(EVEN, ODD, 0, Z16, Z0)   \
	COLUMNS(EVEN, ODD, 64, Z17, Z1)  \
	COLUMNS(EVEN, ODD, 128, Z18, Z2) \
	COLUMNS(EVEN, ODD, 192, Z19, Z3) \
	COLUMNS(EVEN, ODD, 256, Z20, Z4) \
	COLUMNS(EVEN, ODD, 320, Z21, Z5) \
	COLUMNS(EVEN, ODD, 384, Z22, Z6) \
	COLUMNS(EVEN, ODD, 448, Z23, Z7) \
	NEXTPAIR(pair128)                \
	VMOVUPS Z0, 0(DI)                \
	VMOVUPS Z1, 64(DI)               \
	VMOVUPS Z2, 128(DI)              \
	VMOVUPS Z3, 192(DI)              \
	VMOVUPS Z4, 256(DI)              \
	VMOVUPS Z5, 320(DI)              \
	VMOVUPS Z6, 384(DI)              \
	VMOVUPS Z7, 448(DI)              \
	ADDQ $512, DI                    \
	ADDQ $512, R13                   \
	SUBQ $128, R9                    \
	JNZ  columns                     \
	JMP  end                         \
pair96:                                  \
	ELEMENTS                         \
	COLUMNS(EVEN, ODD, 0, Z16, Z0)   \
	COLUMNS(EVEN, ODD, 64, Z17, Z1)  \
	COLUMNS(EVEN, ODD, 128, Z18, Z2) \
	COLUMNS(EVEN, ODD, 192, Z19, Z3) \
	COLUMNS(EVEN, ODD, 256, Z20, Z4) \
	COLUMNS(EVEN, ODD, 320, Z21, Z5) \
	NEXTPAIR(pair96)                 \
	VMOVUPS Z4, 256(DI)              \
	VMOVUPS Z5, 320(DI)              \
	JMP  store64                     \
pair64:                                  \
	ELEMENTS                         \
	COLUMNS(EVEN, ODD, 0, Z16, Z0)   \
	COLUMNS(EVEN, ODD, 64, Z17, Z1)  \
	COLUMNS(EVEN, ODD, 128, Z18, Z2) \
	COLUMNS(EVEN, ODD, 192, Z19, Z3) \
	NEXTPAIR(pair64)                 \
store64:                                 \
	VMOVUPS Z2, 128(DI)              \
	VMOVUPS Z3, 192(DI)              \
	JMP  store32                     \
last32:                                  \
	ELEMENTS                         \
	COLUMNS(EVEN, ODD, 0, Z16, Z0)   \
	COLUMNS(EVEN, ODD, 64, Z17, Z1)  \
	NEXTPAIR(last32)                 \
store32:                                 \
	VMOVUPS Z0, 0(DI)                \
	VMOVUPS Z1, 64(DI)               \
end:                                     \
	VZEROUPPER                       \
	RET

// func products12AVX512BF16(args *kvArgs)
TEXT ·products12AVX512BF16(SB), NOSPLIT, $0-8
	PRODUCTS12(EVENBF16, ODDBF16)

// func products12AVX512F32(args *kvArgs)
TEXT ·products12AVX512F32(SB), NOSPLIT, $0-8
	PRODUCTS12(EVENF32, ODDF32)

// func products4AVX512BF16(args *kvArgs)
TEXT ·products4AVX512BF16(SB), NOSPLIT, $0-8
	PRODUCTS4(EVENBF16, ODDBF16)

// func products4AVX512F32(args *kvArgs)
TEXT ·products4AVX512F32(SB), NOSPLIT, $0-8
	PRODUCTS4(EVENF32, ODDF32)

// func products1AVX512BF16(args *kvArgs)
TEXT ·products1AVX512BF16(SB), NOSPLIT, $0-8
	PRODUCTS1(EVENBF16, ODDBF16)

// func products1AVX512F32(args *kvArgs)
TEXT ·products1AVX512F32(SB), NOSPLIT, $0-8
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

#define EXP2CONSTANTS \
	VBROADCASTSS exp2<>+0(SB), Z24  \
	VBROADCASTSS exp2<>+4(SB), Z25  \
	VBROADCASTSS exp2<>+8(SB), Z26  \
	VBROADCASTSS exp2<>+12(SB), Z27 \
	VBROADCASTSS exp2<>+16(SB), Z28 \
	VBROADCASTSS exp2<>+20(SB), Z29 \
	VBROADCASTSS exp2<>+24(SB), Z30 \
	VBROADCASTSS exp2<>+28(SB), Z31 \
	VBROADCASTSS exp2<>+32(SB), Z23

// Sets e = 2^x for x ≤ 0, as 2^n · 2^r, where n is the integer nearest to x and |r| ≤ 0.5; the polynomial for
// 2^r has a relative error of 9e-9. The lowest bits of x + Z23 are n + 127, which is the exponent of 2^n; n =
// -127 makes 0. (Subnormal results, also those of VSCALEFPS, take a hundred times as long.) NaN stays NaN:
// VMAXPS returns its first operand, in Go's order, if either is NaN. x and n are overwritten.
#define EXP2(x, n, e) \
	VMAXPS      x, Z24, x \
	VADDPS      Z23, x, n \
	VSUBPS      Z23, n, e \
	VSUBPS      e, x, x   \
	VPSLLD      $23, n, n \
	VMOVAPS     Z31, e    \
	VFMADD213PS Z30, x, e \
	VFMADD213PS Z29, x, e \
	VFMADD213PS Z28, x, e \
	VFMADD213PS Z27, x, e \
	VFMADD213PS Z26, x, e \
	VFMADD213PS Z25, x, e \
	VMULPS      n, e, e

// Combines the 16 lanes of z by OP into all lanes of x, the lowest quarter of z: lanes 8 apart, then 4, 2 and
// 1.
#define REDUCE(OP, z, y, x, ty, tx) \
	VEXTRACTF64X4 $1, z, ty    \
	OP            ty, y, y     \
	VEXTRACTF128  $1, y, tx    \
	OP            tx, x, x     \
	VPERMILPS     $0x4e, x, tx \
	OP            tx, x, x     \
	VPERMILPS     $0xb1, x, tx \
	OP            tx, x, x

// func softmaxAVX512(x *float32, rows, cols int, scale float32, top, total *float32)
TEXT ·softmaxAVX512(SB), NOSPLIT, $0-48
	MOVQ x+0(FP), SI
	MOVQ rows+8(FP), R8
	MOVQ top+32(FP), R9
	MOVQ total+40(FP), R10
	EXP2CONSTANTS
	VBROADCASTSS scale+24(FP), Z22
row:
	MOVQ    SI, DI
	MOVQ    cols+16(FP), CX
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	JMP     next
most:
	VMAXPS 0(DI), Z0, Z0
	VMAXPS 64(DI), Z1, Z1
next:
	ADDQ   $128, DI
	SUBQ   $32, CX
	JNZ    most
	VMAXPS Z1, Z0, Z0
	REDUCE(VMAXPS, Z0, Y0, X0, Y1, X1)
	VMULSS scale+24(FP), X0, X0
	VMOVSS  X0, (R9)
	VBROADCASTSS X0, Z0
	MOVQ   SI, DI
	MOVQ   cols+16(FP), CX
	VPXORD Z1, Z1, Z1
power:
	VMOVUPS 0(DI), Z2
	VMOVUPS 64(DI), Z3
	VFMSUB213PS Z0, Z22, Z2
	VFMSUB213PS Z0, Z22, Z3
	EXP2(Z2, Z4, Z6)
	EXP2(Z3, Z5, Z7)
	VMOVUPS Z6, 0(DI)
	VMOVUPS Z7, 64(DI)
	VADDPS  Z6, Z1, Z1
	VADDPS  Z7, Z1, Z1
	ADDQ    $128, DI
	SUBQ    $32, CX
	JNZ     power
	REDUCE(VADDPS, Z1, Y1, X1, Y2, X2)
	VMOVSS   X1, (R10)
	ADDQ    $4, R9
	ADDQ    $4, R10
	ADDQ    $(const_chunk*4), SI
	DECQ    R8
	JNZ     row
	VZEROUPPER
	RET

// func mergeStatesAVX512(top, total, m, l, old *float32, n int)
TEXT ·mergeStatesAVX512(SB), NOSPLIT, $0-48
	MOVQ top+0(FP), SI
	MOVQ total+8(FP), DI
	MOVQ m+16(FP), R8
	MOVQ l+24(FP), R9
	MOVQ old+32(FP), R10
	MOVQ n+40(FP), CX
	EXP2CONSTANTS
sixteen:
	VMOVUPS (SI), Z0
	VMOVUPS (R8), Z1
	VMAXPS  Z1, Z0, Z2
	VMOVUPS Z2, (SI)
	VSUBPS  Z2, Z0, Z0
	VSUBPS  Z2, Z1, Z1
	EXP2(Z0, Z3, Z4)
	EXP2(Z1, Z3, Z5)
	VMOVUPS Z4, (R10)
	VMOVUPS Z5, (R8)
	VMULPS  (DI), Z4, Z0
	VFMADD231PS (R9), Z5, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	ADDQ    $64, R8
	ADDQ    $64, R9
	ADDQ    $64, R10
	SUBQ    $16, CX
	JNZ     sixteen
	VZEROUPPER
	RET

// func mergeRowsAVX512(out, sum, old, add *float32, rows, cols int)
TEXT ·mergeRowsAVX512(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ sum+8(FP), SI
	MOVQ old+16(FP), R8
	MOVQ add+24(FP), R9
	MOVQ rows+32(FP), R10
row:
	VBROADCASTSS (R8), Z4
	VBROADCASTSS (R9), Z5
	MOVQ    cols+40(FP), CX
columns:
	VMULPS      0(DI), Z4, Z0
	VMULPS      64(DI), Z4, Z1
	VFMADD231PS 0(SI), Z5, Z0
	VFMADD231PS 64(SI), Z5, Z1
	VMOVUPS     Z0, 0(DI)
	VMOVUPS     Z1, 64(DI)
	ADDQ        $128, DI
	ADDQ        $128, SI
	SUBQ        $32, CX
	JNZ         columns
	ADDQ        $4, R8
	ADDQ        $4, R9
	DECQ        R10
	JNZ         row
	VZEROUPPER
	RET

// ---- SiLU, rounding, RMSNorm, RoPE

DATA exp<>+0(SB)/4, $-105.0              // e to this or a lower power is 0 in float32
DATA exp<>+4(SB)/4, $1.4426950408889634  // 1/ln 2
DATA exp<>+8(SB)/4, $0x3f317218          // ln 2 as a float32
DATA exp<>+12(SB)/4, $-1.904654323148e-9 // ln 2 minus that float32
DATA exp<>+16(SB)/4, $1.9841269841e-4    // 1/7!
DATA exp<>+20(SB)/4, $1.3888888889e-3    // 1/6!
DATA exp<>+24(SB)/4, $8.3333333333e-3    // 1/5!
DATA exp<>+28(SB)/4, $4.1666666667e-2    // 1/4!
DATA exp<>+32(SB)/4, $1.6666666667e-1    // 1/3!
DATA exp<>+36(SB)/4, $0.5
DATA exp<>+40(SB)/4, $1.0
DATA exp<>+44(SB)/4, $89.0               // e to this or a higher power is infinite
GLOBL exp<>(SB), RODATA|NOPTR, $48

// Sets e to the exponential function of x, as 2^n · e^r, where n = round(x/ln 2) and |r| ≤ ln(2)/2. Seven
// terms of the series for e^r have a relative error of 7e-9. NaN stays NaN. x and n are overwritten.
#define EXP(x, n, e) \
	VMAXPS       x, Z20, x \
	VMINPS       x, Z31, x \
	VMULPS       Z21, x, n \
	VRNDSCALEPS  $0, n, n  \
	VFNMADD231PS Z22, n, x \
	VFNMADD231PS Z23, n, x \
	VMOVAPS      Z24, e    \
	VFMADD213PS  Z25, x, e \
	VFMADD213PS  Z26, x, e \
	VFMADD213PS  Z27, x, e \
	VFMADD213PS  Z28, x, e \
	VFMADD213PS  Z29, x, e \
	VFMADD213PS  Z30, x, e \
	VFMADD213PS  Z30, x, e \
	VSCALEFPS    n, e, e

#define EXPCONSTANTS \
	VBROADCASTSS exp<>+0(SB), Z20  \
	VBROADCASTSS exp<>+4(SB), Z21  \
	VBROADCASTSS exp<>+8(SB), Z22  \
	VBROADCASTSS exp<>+12(SB), Z23 \
	VBROADCASTSS exp<>+16(SB), Z24 \
	VBROADCASTSS exp<>+20(SB), Z25 \
	VBROADCASTSS exp<>+24(SB), Z26 \
	VBROADCASTSS exp<>+28(SB), Z27 \
	VBROADCASTSS exp<>+32(SB), Z28 \
	VBROADCASTSS exp<>+36(SB), Z29 \
	VBROADCASTSS exp<>+40(SB), Z30 \
	VBROADCASTSS exp<>+44(SB), Z31

// func gateAVX512(y, gate, up *float32, n int)
TEXT ·gateAVX512(SB), NOSPLIT, $0-32
	MOVQ y+0(FP), DI
	MOVQ gate+8(FP), SI
	MOVQ up+16(FP), R8
	MOVQ n+24(FP), CX
	EXPCONSTANTS
	VPXORD Z19, Z19, Z19
	MOVL   $0xffff, AX
sixteen:
	CMPQ    CX, $16
	JGE     whole
	MOVL    $0xffff0000, AX // the last values: as many bits as values
	ROLL    CX, AX
whole:
	KMOVW     AX, K1
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (R8), K1, Z4
	VSUBPS    Z0, Z19, Z1
	EXP(Z1, Z2, Z3)
	VADDPS  Z30, Z3, Z3
	VDIVPS  Z3, Z0, Z0
	VMULPS  Z4, Z0, Z0
	VMOVUPS Z0, K1, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	ADDQ    $64, R8
	SUBQ    $16, CX
	JGT     sixteen
	VZEROUPPER
	RET

// func expAVX512(x *float32, n int)
TEXT ·expAVX512(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	EXPCONSTANTS
sixteen:
	VMOVUPS (SI), Z0
	EXP(Z0, Z1, Z2)
	VMOVUPS Z2, (SI)
	ADDQ    $64, SI
	SUBQ    $16, CX
	JNZ     sixteen
	VZEROUPPER
	RET

// ROUND rounds z to the nearest bfloat16, ties to even, with BF16CONSTANTS. NaN stays NaN and becomes quiet.
#define BF16CONSTANTS \
	VPTERNLOGD $255, Z31, Z31, Z31 \
	VPSRLD     $31, Z31, Z30       \
	VPSLLD     $22, Z30, Z28       \
	VPSRLD     $17, Z31, Z29       \
	VPSLLD     $16, Z31, Z31

#define ROUND(z, t) \
	VCMPPS  $3, z, z, K1  \
	VPSRLD  $16, z, t     \
	VPANDD  Z30, t, t     \
	VPADDD  Z29, t, t     \
	VPADDD  z, t, t       \
	VPORD   Z28, z, K1, t \
	VPANDD  Z31, t, z

// func roundBF16AVX512(x *float32, n int)
TEXT ·roundBF16AVX512(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	BF16CONSTANTS
sixteen:
	VMOVUPS (SI), Z0
	ROUND(Z0, Z1)
	VMOVUPS Z0, (SI)
	ADDQ    $64, SI
	SUBQ    $16, CX
	JNZ     sixteen
	VZEROUPPER
	RET

// func sumSquaresAVX512(x *float32, n int) float64
TEXT ·sumSquaresAVX512(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
sixteen:
	VCVTPS2PD   0(SI), Z2
	VCVTPS2PD   32(SI), Z3
	VFMADD231PD Z2, Z2, Z0
	VFMADD231PD Z3, Z3, Z1
	ADDQ        $64, SI
	SUBQ        $16, CX
	JNZ         sixteen
	VADDPD        Z1, Z0, Z0
	VEXTRACTF64X4 $1, Z0, Y1
	VADDPD        Y1, Y0, Y0
	VEXTRACTF128  $1, Y0, X1
	VADDPD        X1, X0, X0
	VPERMILPD     $1, X0, X1
	VADDPD        X1, X0, X0
	VZEROUPPER
	VMOVSD X0, ret+16(FP)
	RET

// func scaleAVX512(y, x, weight *float32, n int, scale float32)
TEXT ·scaleAVX512(SB), NOSPLIT, $0-36
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ weight+16(FP), R8
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+32(FP), Z2
sixteen:
	VMULPS  (SI), Z2, Z0
	VMULPS  (R8), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	ADDQ    $64, R8
	SUBQ    $16, CX
	JNZ     sixteen
	VZEROUPPER
	RET

// func rotateAVX512(lo, hi, cos, sin *float32, n int)
TEXT ·rotateAVX512(SB), NOSPLIT, $0-40
	MOVQ lo+0(FP), SI
	MOVQ hi+8(FP), DI
	MOVQ cos+16(FP), R8
	MOVQ sin+24(FP), R9
	MOVQ n+32(FP), CX
sixteen:
	VMOVUPS (SI), Z0
	VMOVUPS (DI), Z1
	VMOVUPS (R8), Z2
	VMOVUPS (R9), Z3
	VMULPS  Z2, Z0, Z4
	VMULPS  Z3, Z1, Z5
	VSUBPS  Z5, Z4, Z4
	VMULPS  Z2, Z1, Z6
	VMULPS  Z3, Z0, Z7
	VADDPS  Z7, Z6, Z6
	VMOVUPS Z4, (SI)
	VMOVUPS Z6, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	ADDQ    $64, R8
	ADDQ    $64, R9
	SUBQ    $16, CX
	JNZ     sixteen
	VZEROUPPER
	RET

// func divideRowsAVX512(x, by *float32, rows, cols int)
TEXT ·divideRowsAVX512(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ by+8(FP), SI
	MOVQ rows+16(FP), R8
row:
	VBROADCASTSS (SI), Z2
	MOVQ    cols+24(FP), CX
columns:
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	VDIVPS  Z2, Z0, Z0
	VDIVPS  Z2, Z1, Z1
	VMOVUPS Z0, 0(DI)
	VMOVUPS Z1, 64(DI)
	ADDQ    $128, DI
	SUBQ    $32, CX
	JNZ     columns
	ADDQ    $4, SI
	DECQ    R8
	JNZ     row
	VZEROUPPER
	RET
