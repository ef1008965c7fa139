#include "textflag.h"

// The exponential function, and what attention and SiLU are made of, for NEON: the operations of vector_amd64.s in its order.

// Instructions that Go's assembler does not know, for four float32, from the Arm Architecture Reference Manual. d, n and m are numbers
// of registers: d = n op m, in FADDP's case n0+n1, n2+n3, m0+m1, m2+m3.
#define FADD(m, n, d) WORD $(0x4e20d400 | m<<16 | n<<5 | d)
#define FSUB(m, n, d) WORD $(0x4ea0d400 | m<<16 | n<<5 | d)
#define FMUL(m, n, d) WORD $(0x6e20dc00 | m<<16 | n<<5 | d)
#define FDIV(m, n, d) WORD $(0x6e20fc00 | m<<16 | n<<5 | d)
#define FADDP(m, n, d) WORD $(0x6e20d400 | m<<16 | n<<5 | d)
#define FMIN(m, n, d) WORD $(0x4ea0f400 | m<<16 | n<<5 | d)   // NaN if one is
#define FMAX(m, n, d) WORD $(0x4e20f400 | m<<16 | n<<5 | d)   // NaN if one is
#define FMAXNM(m, n, d) WORD $(0x4e20c400 | m<<16 | n<<5 | d) // the other one if one is NaN
#define FMAXNMV(n, d) WORD $(0x6e30c800 | n<<5 | d)           // the largest of the four
#define FNEG(n, d) WORD $(0x6ea0f800 | n<<5 | d)
#define FRINTN(n, d) WORD $(0x4e218800 | n<<5 | d) // to the nearest integer, ties to even
#define FCVTNS(n, d) WORD $(0x4e21a800 | n<<5 | d) // likewise, as int32
#define HALF(n, d) WORD $(0x4f3f0400 | n<<5 | d)   // sshr $1: of int32, rounded down

DATA exp<>+0(SB)/4, $89.0                // e to this and more is infinite in float32,
DATA exp<>+4(SB)/4, $-105.0              // to this and less, zero
DATA exp<>+8(SB)/4, $1.4426950408889634  // 1/ln 2
DATA exp<>+12(SB)/4, $0x3f317218         // ln 2 as a float32,
DATA exp<>+16(SB)/4, $-1.904654323148e-9 // and what that is too small by
DATA exp<>+20(SB)/4, $1.9841269841e-4    // 1/7!
DATA exp<>+24(SB)/4, $1.3888888889e-3    // 1/6!
DATA exp<>+28(SB)/4, $8.3333333333e-3    // 1/5!
DATA exp<>+32(SB)/4, $4.1666666667e-2    // 1/4!
DATA exp<>+36(SB)/4, $1.6666666667e-1    // 1/3!
DATA exp<>+40(SB)/4, $0.5
DATA exp<>+44(SB)/4, $1.0
DATA exp<>+48(SB)/4, $127                // the exponent's bias
GLOBL exp<>(SB), RODATA|NOPTR, $52

// CONSTANTS loads them for EXP: V16 … V28.
#define CONSTANTS \
	MOVD    $exp<>(SB), R8    \
	VLD1R.P 4(R8), [V16.S4]   \
	VLD1R.P 4(R8), [V17.S4]   \
	VLD1R.P 4(R8), [V18.S4]   \
	VLD1R.P 4(R8), [V19.S4]   \
	VLD1R.P 4(R8), [V20.S4]   \
	VLD1R.P 4(R8), [V21.S4]   \
	VLD1R.P 4(R8), [V22.S4]   \
	VLD1R.P 4(R8), [V23.S4]   \
	VLD1R.P 4(R8), [V24.S4]   \
	VLD1R.P 4(R8), [V25.S4]   \
	VLD1R.P 4(R8), [V26.S4]   \
	VLD1R.P 4(R8), [V27.S4]   \
	VLD1R   (R8), [V28.S4]

// EXP sets V1 = e^V0 for four values, as the macro of vector_amd64.s does for eight. V0, V2 and V3 are overwritten.
#define EXP \
	FMIN(16, 0, 0)               \
	FMAX(17, 0, 0)               \
	FMUL(18, 0, 2)               \
	FRINTN(2, 2)                 \
	VFMLS V19.S4, V2.S4, V0.S4   \
	VFMLS V20.S4, V2.S4, V0.S4   \
	VMOV  V22.B16, V3.B16        \
	VFMLA V21.S4, V0.S4, V3.S4   \
	VMOV  V23.B16, V1.B16        \
	VFMLA V3.S4, V0.S4, V1.S4    \
	VMOV  V24.B16, V3.B16        \
	VFMLA V1.S4, V0.S4, V3.S4    \
	VMOV  V25.B16, V1.B16        \
	VFMLA V3.S4, V0.S4, V1.S4    \
	VMOV  V26.B16, V3.B16        \
	VFMLA V1.S4, V0.S4, V3.S4    \
	VMOV  V27.B16, V1.B16        \
	VFMLA V3.S4, V0.S4, V1.S4    \
	VMOV  V27.B16, V3.B16        \
	VFMLA V1.S4, V0.S4, V3.S4    \
	FCVTNS(2, 2)                 \
	HALF(2, 1)                   \
	VSUB  V1.S4, V2.S4, V2.S4    \
	VADD  V28.S4, V1.S4, V1.S4   \
	VADD  V28.S4, V2.S4, V2.S4   \
	VSHL  $23, V1.S4, V1.S4      \
	VSHL  $23, V2.S4, V2.S4      \
	FMUL(1, 3, 3)                \
	FMUL(2, 3, 1)

// The next eight values of a row at R4, as float32 in registers lo and hi. V30 is zero.
#define BF16(lo, hi) \
	VLD1.P 16(R4), [V31.B16]     \
	VZIP1  V31.H8, V30.H8, lo.H8 \
	VZIP2  V31.H8, V30.H8, hi.H8
#define F32(lo, hi) \
	VLD1.P 32(R4), [lo.B16, hi.B16]

#define ADD8(WIDEN, lo, hi) \
	WIDEN(V8, V9)             \
	VFMLA V8.S4, V10.S4, lo.S4 \
	VFMLA V9.S4, V10.S4, hi.S4

// The rows are read once for every 32 columns, whose sums are in V0 … V7, and for the columns left over in eights.
#define ADDROWS(WIDEN, size) \
	MOVD sums+0(FP), R0      \
	MOVD rows+16(FP), R2     \
	MOVD stride+24(FP), R3   \
	MOVD cols+48(FP), R6     \
	VEOR V30.B16, V30.B16, V30.B16 \
	SUBS $32, R6             \
	BLT  eights              \
columns32:                       \
	MOVD weights+8(FP), R1   \
	MOVD n+32(FP), R5        \
	MOVD R2, R7              \
	VEOR V0.B16, V0.B16, V0.B16 \
	VEOR V1.B16, V1.B16, V1.B16 \
	VEOR V2.B16, V2.B16, V2.B16 \
	VEOR V3.B16, V3.B16, V3.B16 \
	VEOR V4.B16, V4.B16, V4.B16 \
	VEOR V5.B16, V5.B16, V5.B16 \
	VEOR V6.B16, V6.B16, V6.B16 \
	VEOR V7.B16, V7.B16, V7.B16 \
row32:                           \
	VLD1R.P 4(R1), [V10.S4]  \
	MOVD R7, R4              \
	ADD  R3, R7              \
	ADD8(WIDEN, V0, V1)      \
	ADD8(WIDEN, V2, V3)      \
	ADD8(WIDEN, V4, V5)      \
	ADD8(WIDEN, V6, V7)      \
	SUBS $1, R5              \
	BNE  row32               \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0) \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R0) \
	ADD  $(4*size), R2       \
	SUBS $32, R6             \
	BGE  columns32           \
eights:                          \
	ADDS $32, R6             \
	BEQ  end                 \
columns8:                        \
	MOVD weights+8(FP), R1   \
	MOVD n+32(FP), R5        \
	MOVD R2, R7              \
	VEOR V0.B16, V0.B16, V0.B16 \
	VEOR V1.B16, V1.B16, V1.B16 \
row8:                            \
	VLD1R.P 4(R1), [V10.S4]  \
	MOVD R7, R4              \
	ADD  R3, R7              \
	ADD8(WIDEN, V0, V1)      \
	SUBS $1, R5              \
	BNE  row8                \
	VST1.P [V0.S4, V1.S4], 32(R0) \
	ADD  $size, R2           \
	SUBS $8, R6              \
	BNE  columns8            \
end:                             \
	RET

// func gate8(y, gate, up *float32, n int)
TEXT ·gate8(SB), NOSPLIT, $0-32
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

// func scaleMax(x *float32, n int, scale float32) float32
TEXT ·scaleMax(SB), NOSPLIT, $0-28
	MOVD  x+0(FP), R0
	MOVD  n+8(FP), R1
	MOVWU scale+16(FP), R2
	VDUP  R2, V1.S4
	VLD1  (R0), [V2.S4]
	FMUL(1, 2, 2)
four:
	VLD1   (R0), [V0.S4]
	FMUL(1, 0, 0)
	FMAXNM(0, 2, 2)
	VST1.P [V0.S4], 16(R0)
	SUBS   $4, R1
	BNE    four
	FMAXNMV(2, 2)
	FMOVS  F2, ret+24(FP)
	RET

// func expSum(x *float32, n int, top float32) float32
TEXT ·expSum(SB), NOSPLIT, $0-28
	MOVD  x+0(FP), R0
	MOVD  n+8(FP), R1
	MOVWU top+16(FP), R2
	VDUP  R2, V5.S4
	VEOR  V6.B16, V6.B16, V6.B16
	VEOR  V7.B16, V7.B16, V7.B16
	CONSTANTS
eight:
	VLD1   (R0), [V0.S4]
	FSUB(5, 0, 0)
	EXP
	VST1.P [V1.S4], 16(R0)
	FADD(1, 6, 6)
	VLD1   (R0), [V0.S4]
	FSUB(5, 0, 0)
	EXP
	VST1.P [V1.S4], 16(R0)
	FADD(1, 7, 7)
	SUBS   $8, R1
	BNE    eight
	FADDP(7, 6, 6)
	FADDP(6, 6, 6)
	FADDP(6, 6, 6)
	FMOVS  F6, ret+24(FP)
	RET

// func addRowsBF16(sums, weights *float32, rows *byte, stride, n, ahead, cols int)
TEXT ·addRowsBF16(SB), NOSPLIT, $0-56
	ADDROWS(BF16, 16)

// func addRowsF32(sums, weights *float32, rows *byte, stride, n, ahead, cols int)
TEXT ·addRowsF32(SB), NOSPLIT, $0-56
	ADDROWS(F32, 32)
