#include "textflag.h"
#include "go_asm.h"

// The loops of attention and SiLU for NEON, with the operations of vectors_avx2_amd64.s, see assembly.

// Instructions on four float32 that Go's assembler does not know, from the Arm Architecture Reference Manual.
// d, n and m are numbers of registers: d = n op m. FADDP is n0+n1, n2+n3, m0+m1, m2+m3.
#define FADD(m, n, d) WORD $(0x4e20d400 | m<<16 | n<<5 | d)
#define FSUB(m, n, d) WORD $(0x4ea0d400 | m<<16 | n<<5 | d)
#define FMUL(m, n, d) WORD $(0x6e20dc00 | m<<16 | n<<5 | d)
#define FDIV(m, n, d) WORD $(0x6e20fc00 | m<<16 | n<<5 | d)
#define FADDP(m, n, d) WORD $(0x6e20d400 | m<<16 | n<<5 | d)
#define FMIN(m, n, d) WORD $(0x4ea0f400 | m<<16 | n<<5 | d)   // NaN if either is
#define FMAX(m, n, d) WORD $(0x4e20f400 | m<<16 | n<<5 | d)   // NaN if either is
#define FMAXNM(m, n, d) WORD $(0x4e20c400 | m<<16 | n<<5 | d) // the other number if one is NaN
#define FMAXNMV(n, d) WORD $(0x6e30c800 | n<<5 | d)           // the largest of the four
#define FNEG(n, d) WORD $(0x6ea0f800 | n<<5 | d)
#define FRINTN(n, d) WORD $(0x4e218800 | n<<5 | d) // to the nearest integer, ties to even
#define FCVTNS(n, d) WORD $(0x4e21a800 | n<<5 | d) // the same, as int32
#define HALF(n, d) WORD $(0x4f3f0400 | n<<5 | d)   // sshr $1: of int32, rounded down

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

// CONSTANTS loads the constants of EXP to V16 … V28.
#define CONSTANTS \
	MOVD    $exp<>(SB), R8  \
	VLD1R.P 4(R8), [V16.S4] \
	VLD1R.P 4(R8), [V17.S4] \
	VLD1R.P 4(R8), [V18.S4] \
	VLD1R.P 4(R8), [V19.S4] \
	VLD1R.P 4(R8), [V20.S4] \
	VLD1R.P 4(R8), [V21.S4] \
	VLD1R.P 4(R8), [V22.S4] \
	VLD1R.P 4(R8), [V23.S4] \
	VLD1R.P 4(R8), [V24.S4] \
	VLD1R.P 4(R8), [V25.S4] \
	VLD1R.P 4(R8), [V26.S4] \
	VLD1R.P 4(R8), [V27.S4] \
	VLD1R   (R8), [V28.S4]

// EXP sets V1 = e^V0, as the macro of vectors_avx2_amd64.s does. V0, V2 and V3 are overwritten.
#define EXP \
	FMIN(16, 0, 0)             \
	FMAX(17, 0, 0)             \
	FMUL(18, 0, 2)             \
	FRINTN(2, 2)               \
	VFMLS V19.S4, V2.S4, V0.S4 \
	VFMLS V20.S4, V2.S4, V0.S4 \
	VMOV  V22.B16, V3.B16      \
	VFMLA V21.S4, V0.S4, V3.S4 \
	VMOV  V23.B16, V1.B16      \
	VFMLA V3.S4, V0.S4, V1.S4  \
	VMOV  V24.B16, V3.B16      \
	VFMLA V1.S4, V0.S4, V3.S4  \
	VMOV  V25.B16, V1.B16      \
	VFMLA V3.S4, V0.S4, V1.S4  \
	VMOV  V26.B16, V3.B16      \
	VFMLA V1.S4, V0.S4, V3.S4  \
	VMOV  V27.B16, V1.B16      \
	VFMLA V3.S4, V0.S4, V1.S4  \
	VMOV  V27.B16, V3.B16      \
	VFMLA V1.S4, V0.S4, V3.S4  \
	FCVTNS(2, 2)               \
	HALF(2, 1)                 \
	VSUB  V1.S4, V2.S4, V2.S4  \
	VADD  V28.S4, V1.S4, V1.S4 \
	VADD  V28.S4, V2.S4, V2.S4 \
	VSHL  $23, V1.S4, V1.S4    \
	VSHL  $23, V2.S4, V2.S4    \
	FMUL(1, 3, 3)              \
	FMUL(2, 3, 1)

// ---- Products with keys and values
//
// c += a·b as in vectors_avx512_amd64.s. R16 is the address of the arguments.

// Loads 16 columns of a pair of rows: the even row to V20 … V23, the odd row to V24 … V27. V31 masks upper
// halves. R11 is the distance between the two rows of float32.
#define PAIRBF16 \
	VLD1 (R2), [V16.B16, V17.B16, V18.B16, V19.B16] \
	VSHL $16, V16.S4, V20.S4                        \
	VSHL $16, V17.S4, V21.S4                        \
	VSHL $16, V18.S4, V22.S4                        \
	VSHL $16, V19.S4, V23.S4                        \
	VAND V31.B16, V16.B16, V24.B16                  \
	VAND V31.B16, V17.B16, V25.B16                  \
	VAND V31.B16, V18.B16, V26.B16                  \
	VAND V31.B16, V19.B16, V27.B16
#define PAIRF32 \
	ADD  R11, R2, R12                           \
	VLD1 (R2), [V20.S4, V21.S4, V22.S4, V23.S4] \
	VLD1 (R12), [V24.S4, V25.S4, V26.S4, V27.S4]

// A pair of elements of a row of a, at p, by the columns.
#define ROW4(p, c0, c1, c2, c3) \
	VLD1R.P 4(p), [V28.S4]      \
	VLD1R.P 4(p), [V29.S4]      \
	VFMLA V20.S4, V28.S4, c0.S4 \
	VFMLA V21.S4, V28.S4, c1.S4 \
	VFMLA V22.S4, V28.S4, c2.S4 \
	VFMLA V23.S4, V28.S4, c3.S4 \
	VFMLA V24.S4, V29.S4, c0.S4 \
	VFMLA V25.S4, V29.S4, c1.S4 \
	VFMLA V26.S4, V29.S4, c2.S4 \
	VFMLA V27.S4, V29.S4, c3.S4

#define MASK \
	MOVD $0xffff0000, R8 \
	VDUP R8, V31.S4

#define PRODUCTS4(PAIR) \
	MOVD args+0(FP), R16                         \
	MOVD kvArgs_c(R16), R0                       \
	MOVD kvArgs_b(R16), R13                      \
	MOVD kvArgs_bStride(R16), R3                 \
	MOVD kvArgs_cols(R16), R15                   \
	MOVD kvArgs_aStride(R16), R5                 \
	MOVD kvArgs_cStride(R16), R7                 \
	LSR  $1, R3, R11                             \
	MASK                                         \
columns:                                             \
	MOVD kvArgs_a(R16), R4                       \
	ADD  R5, R4, R6                              \
	ADD  R5, R6, R9                              \
	ADD  R5, R9, R10                             \
	MOVD R13, R2                                 \
	MOVD kvArgs_pairs(R16), R1                   \
	MOVD R0, R14                                 \
	VLD1 (R14), [V0.S4, V1.S4, V2.S4, V3.S4]     \
	ADD  R7, R14                                 \
	VLD1 (R14), [V4.S4, V5.S4, V6.S4, V7.S4]     \
	ADD  R7, R14                                 \
	VLD1 (R14), [V8.S4, V9.S4, V10.S4, V11.S4]   \
	ADD  R7, R14                                 \
	VLD1 (R14), [V12.S4, V13.S4, V14.S4, V15.S4] \
pair:                                                \
	PAIR                                         \
	ROW4(R4, V0, V1, V2, V3)                     \
	ROW4(R6, V4, V5, V6, V7)                     \
	ROW4(R9, V8, V9, V10, V11)                   \
	ROW4(R10, V12, V13, V14, V15)                \
	ADD  R3, R2                                  \
	SUBS $1, R1                                  \
	BNE  pair                                    \
	MOVD R0, R14                                 \
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R14)     \
	ADD  R7, R14                                 \
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R14)     \
	ADD  R7, R14                                 \
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R14)   \
	ADD  R7, R14                                 \
	VST1 [V12.S4, V13.S4, V14.S4, V15.S4], (R14) \
	ADD  $64, R0                                 \
	ADD  $64, R13                                \
	SUBS $16, R15                                \
	BNE  columns                                 \
	RET

// One row: 32 columns are computed together.
#define PRODUCTS1(PAIR) \
	MOVD args+0(FP), R16                         \
	MOVD kvArgs_c(R16), R0                       \
	MOVD kvArgs_b(R16), R13                      \
	MOVD kvArgs_bStride(R16), R3                 \
	MOVD kvArgs_cols(R16), R15                   \
	LSR  $1, R3, R11                             \
	MASK                                         \
columns:                                             \
	MOVD kvArgs_a(R16), R4                       \
	MOVD R13, R5                                 \
	MOVD kvArgs_pairs(R16), R1                   \
	MOVD R0, R14                                 \
	VLD1.P 64(R14), [V0.S4, V1.S4, V2.S4, V3.S4] \
	VLD1 (R14), [V4.S4, V5.S4, V6.S4, V7.S4]     \
pair:                                                \
	MOVD R5, R2                                  \
	PAIR                                         \
	ROW4(R4, V0, V1, V2, V3)                     \
	ADD  $64, R2                                 \
	SUB  $8, R4                                  \
	PAIR                                         \
	ROW4(R4, V4, V5, V6, V7)                     \
	ADD  R3, R5                                  \
	SUBS $1, R1                                  \
	BNE  pair                                    \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)  \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R0)  \
	ADD  $128, R13                               \
	SUBS $32, R15                                \
	BNE  columns                                 \
	RET

// func products4NEONBF16(args *kvArgs)
TEXT ·products4NEONBF16(SB), NOSPLIT, $0-8
	PRODUCTS4(PAIRBF16)

// func products4NEONF32(args *kvArgs)
TEXT ·products4NEONF32(SB), NOSPLIT, $0-8
	PRODUCTS4(PAIRF32)

// func products1NEONBF16(args *kvArgs)
TEXT ·products1NEONBF16(SB), NOSPLIT, $0-8
	PRODUCTS1(PAIRBF16)

// func products1NEONF32(args *kvArgs)
TEXT ·products1NEONF32(SB), NOSPLIT, $0-8
	PRODUCTS1(PAIRF32)

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

// EXP2 replaces V0 by 2^V0, as the macro of vectors_avx2_amd64.s does. The constants are in V16 … V24. V1, V2
// and V3 are overwritten.
#define EXP2 \
	FMAX(16, 0, 0)             \
	FADD(24, 0, 1)             \
	FSUB(24, 1, 2)             \
	FSUB(2, 0, 0)              \
	VSHL $23, V1.S4, V1.S4     \
	VMOV V22.B16, V2.B16       \
	VFMLA V23.S4, V0.S4, V2.S4 \
	VMOV V21.B16, V3.B16       \
	VFMLA V2.S4, V0.S4, V3.S4  \
	VMOV V20.B16, V2.B16       \
	VFMLA V3.S4, V0.S4, V2.S4  \
	VMOV V19.B16, V3.B16       \
	VFMLA V2.S4, V0.S4, V3.S4  \
	VMOV V18.B16, V2.B16       \
	VFMLA V3.S4, V0.S4, V2.S4  \
	VMOV V17.B16, V3.B16       \
	VFMLA V2.S4, V0.S4, V3.S4  \
	FMUL(1, 3, 0)

// func softmaxNEON(x *float32, rows, cols int, scale float32, top, total *float32)
TEXT ·softmaxNEON(SB), NOSPLIT, $0-48
	MOVD x+0(FP), R0
	MOVD rows+8(FP), R2
	MOVWU scale+24(FP), R9
	VDUP R9, V25.S4
	MOVD top+32(FP), R4
	MOVD total+40(FP), R5
	MOVD    $exp2<>(SB), R8
	VLD1R.P 4(R8), [V16.S4]
	VLD1R.P 4(R8), [V17.S4]
	VLD1R.P 4(R8), [V18.S4]
	VLD1R.P 4(R8), [V19.S4]
	VLD1R.P 4(R8), [V20.S4]
	VLD1R.P 4(R8), [V21.S4]
	VLD1R.P 4(R8), [V22.S4]
	VLD1R.P 4(R8), [V23.S4]
	VLD1R   (R8), [V24.S4]
row:
	MOVD R0, R6
	MOVD cols+16(FP), R7
	VLD1 (R6), [V4.S4]
most:
	VLD1.P 16(R6), [V0.S4]
	FMAXNM(0, 4, 4)
	SUBS $4, R7
	BNE  most
	FMAXNMV(4, 4)
	FMULS F25, F4, F4
	FMOVS F4, (R4)
	VDUP V4.S[0], V4.S4
	FNEG(4, 4)
	MOVD R0, R6
	MOVD cols+16(FP), R7
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
power:
	VLD1 (R6), [V7.S4]
	VMOV V4.B16, V0.B16
	VFMLA V7.S4, V25.S4, V0.S4
	EXP2
	VST1.P [V0.S4], 16(R6)
	FADD(0, 5, 5)
	VLD1 (R6), [V7.S4]
	VMOV V4.B16, V0.B16
	VFMLA V7.S4, V25.S4, V0.S4
	EXP2
	VST1.P [V0.S4], 16(R6)
	FADD(0, 6, 6)
	SUBS $8, R7
	BNE  power
	FADD(6, 5, 5)
	VEXT $8, V5.B16, V5.B16, V6.B16
	FADD(6, 5, 5)
	FADDP(5, 5, 5)
	FMOVS F5, (R5)
	ADD  $4, R4
	ADD  $4, R5
	ADD  $(const_chunk*4), R0
	SUBS $1, R2
	BNE  row
	RET

// func mergeRowsNEON(out, sum, old, add *float32, rows, cols int)
TEXT ·mergeRowsNEON(SB), NOSPLIT, $0-48
	MOVD out+0(FP), R0
	MOVD sum+8(FP), R1
	MOVD old+16(FP), R2
	MOVD add+24(FP), R3
	MOVD rows+32(FP), R4
row:
	VLD1R.P 4(R2), [V4.S4]
	VLD1R.P 4(R3), [V5.S4]
	MOVD cols+40(FP), R5
columns:
	VLD1 (R0), [V0.S4, V1.S4]
	VLD1.P 32(R1), [V2.S4, V3.S4]
	FMUL(4, 0, 0)
	FMUL(4, 1, 1)
	VFMLA V2.S4, V5.S4, V0.S4
	VFMLA V3.S4, V5.S4, V1.S4
	VST1.P [V0.S4, V1.S4], 32(R0)
	SUBS $8, R5
	BNE  columns
	SUBS $1, R4
	BNE  row
	RET

// func gateNEON(y, gate, up *float32, n int)
TEXT ·gateNEON(SB), NOSPLIT, $0-32
	MOVD y+0(FP), R0
	MOVD gate+8(FP), R1
	MOVD up+16(FP), R2
	MOVD n+24(FP), R3
	CONSTANTS
four:
	VLD1.P 16(R1), [V4.S4]
	VLD1.P 16(R2), [V5.S4]
	FNEG(4, 0)
	EXP
	FADD(27, 1, 1)
	FDIV(1, 4, 4) // gate / (1 + e^-gate)
	FMUL(5, 4, 4)
	VST1.P [V4.S4], 16(R0)
	SUBS   $4, R3
	BNE    four
	RET
