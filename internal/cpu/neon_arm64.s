#include "textflag.h"
#include "go_asm.h"

// Dot products for NEON (Advanced SIMD, which every 64-bit Arm processor has), see laneKernels and dotArgs.
// Go's assembler writes the destination last: VFMLA a, b, c is c += a·b, rounded once. R14 is the address of
// the arguments.
//
// The order of the sums is that of avx2_amd64.s, with eight lanes in two registers of four values, so both
// paths have the same bits.

// Instructions that Go's assembler does not know, from the Arm Architecture Reference Manual. d, n and m are
// numbers of registers. FADDP adds neighbours: d = n0+n1, n2+n3, m0+m1, m2+m3. FCVTL and FCVTL2 widen the
// lower and the upper four of eight float16.
#define FADDP(m, n, d) WORD $(0x6e20d400 | m<<16 | n<<5 | d)
#define FCVTL(n, d) WORD $(0x0e217800 | n<<5 | d)
#define FCVTL2(n, d) WORD $(0x4e217800 | n<<5 | d)

// Loads the next eight weights at p as float32 to registers lo and hi, whose numbers are l and h. A bfloat16
// is the upper half of a float32. V30 is zero.
#define BF16(p, lo, hi, l, h) \
	VLD1.P 16(p), [V31.B16]      \
	VZIP1  V31.H8, V30.H8, lo.H8 \
	VZIP2  V31.H8, V30.H8, hi.H8
#define F16(p, lo, hi, l, h) \
	VLD1.P 16(p), [V31.B16] \
	FCVTL(31, l)            \
	FCVTL2(31, h)
#define F32(p, lo, hi, l, h) \
	VLD1.P 32(p), [lo.B16, hi.B16]

#define ZERO(v) VEOR v.B16, v.B16, v.B16

// ---- Eight rows by one token, whose next eight values are in V0 and V1

#define ROW(WIDEN, p, lo, hi) \
	WIDEN(p, V28, V29, 28, 29) \
	VFMLA V0.S4, V28.S4, lo.S4 \
	VFMLA V1.S4, V29.S4, hi.S4

#define DOT8X1(WIDEN) \
	MOVD args+0(FP), R14                             \
	MOVD dotArgs_sums(R14), R0                       \
	MOVD dotArgs_rows(R14), R1                       \
	MOVD dotArgs_stride(R14), R11                    \
	MOVD dotArgs_x(R14), R9                          \
	MOVD dotArgs_k(R14), R10                         \
	MOVD dotArgs_back(R14), R12                      \
	ADD  R11, R1, R2                                 \
	ADD  R11, R2, R3                                 \
	ADD  R11, R3, R4                                 \
	ADD  R11, R4, R5                                 \
	ADD  R11, R5, R6                                 \
	ADD  R11, R6, R7                                 \
	ADD  R11, R7, R8                                 \
	MOVD R0, R13                                     \
	VLD1.P 64(R13), [V8.S4, V9.S4, V10.S4, V11.S4]   \
	VLD1.P 64(R13), [V12.S4, V13.S4, V14.S4, V15.S4] \
	VLD1.P 64(R13), [V16.S4, V17.S4, V18.S4, V19.S4] \
	VLD1   (R13), [V20.S4, V21.S4, V22.S4, V23.S4]   \
	ZERO(V30)                                        \
	CBZ  R10, last                                   \
step:                                                    \
	VLD1.P 32(R9), [V0.S4, V1.S4]                    \
	ROW(WIDEN, R1, V8, V9)                           \
	ROW(WIDEN, R2, V10, V11)                         \
	ROW(WIDEN, R3, V12, V13)                         \
	ROW(WIDEN, R4, V14, V15)                         \
	ROW(WIDEN, R5, V16, V17)                         \
	ROW(WIDEN, R6, V18, V19)                         \
	ROW(WIDEN, R7, V20, V21)                         \
	ROW(WIDEN, R8, V22, V23)                         \
	SUBS $8, R10                                     \
	BNE  step                                        \
last:                                                    \
	CBZ  R12, store                                  \
	SUB  R12, R1                                     \
	SUB  R12, R2                                     \
	SUB  R12, R3                                     \
	SUB  R12, R4                                     \
	SUB  R12, R5                                     \
	SUB  R12, R6                                     \
	SUB  R12, R7                                     \
	SUB  R12, R8                                     \
	MOVD $0, R12                                     \
	MOVD $8, R10                                     \
	B    step                                        \
store:                                                   \
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R0)    \
	VST1.P [V12.S4, V13.S4, V14.S4, V15.S4], 64(R0)  \
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0)  \
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R0)  \
	RET

// ---- Two rows by six or four tokens

// The next token's eight values by both rows in V24 … V27.
#define TOKEN(a0, a1, b0, b1) \
	VLD1.P 32(R9), [V28.S4, V29.S4] \
	VFMLA V28.S4, V24.S4, a0.S4     \
	VFMLA V29.S4, V25.S4, a1.S4     \
	VFMLA V28.S4, V26.S4, b0.S4     \
	VFMLA V29.S4, V27.S4, b1.S4

#define DOT2X6(WIDEN) \
	MOVD args+0(FP), R14                            \
	MOVD dotArgs_sums(R14), R0                      \
	MOVD dotArgs_rows(R14), R3                      \
	MOVD dotArgs_stride(R14), R4                    \
	MOVD dotArgs_next(R14), R5                      \
	MOVD dotArgs_bands(R14), R6                     \
	ZERO(V30)                                       \
pair:                                                   \
	MOVD R3, R1                                     \
	ADD  R4, R3, R2                                 \
	MOVD dotArgs_x(R14), R9                         \
	MOVD dotArgs_k(R14), R10                        \
	MOVD dotArgs_back(R14), R8                      \
	MOVD R0, R7                                     \
	VLD1.P 64(R7), [V0.S4, V1.S4, V2.S4, V3.S4]     \
	VLD1.P 64(R7), [V4.S4, V5.S4, V6.S4, V7.S4]     \
	VLD1.P 64(R7), [V8.S4, V9.S4, V10.S4, V11.S4]   \
	VLD1.P 64(R7), [V12.S4, V13.S4, V14.S4, V15.S4] \
	VLD1.P 64(R7), [V16.S4, V17.S4, V18.S4, V19.S4] \
	VLD1   (R7), [V20.S4, V21.S4, V22.S4, V23.S4]   \
step:                                                   \
	WIDEN(R1, V24, V25, 24, 25)                     \
	WIDEN(R2, V26, V27, 26, 27)                     \
	TOKEN(V0, V1, V12, V13)                         \
	TOKEN(V2, V3, V14, V15)                         \
	TOKEN(V4, V5, V16, V17)                         \
	TOKEN(V6, V7, V18, V19)                         \
	TOKEN(V8, V9, V20, V21)                         \
	TOKEN(V10, V11, V22, V23)                       \
	SUBS $8, R10                                    \
	BNE  step                                       \
	CBZ  R8, store                                  \
	SUB  R8, R1                                     \
	SUB  R8, R2                                     \
	MOVD $0, R8                                     \
	MOVD $8, R10                                    \
	B    step                                       \
store:                                                  \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)     \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R0)     \
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R0)   \
	VST1.P [V12.S4, V13.S4, V14.S4, V15.S4], 64(R0) \
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R0) \
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R0) \
	ADD  R5, R3                                     \
	SUBS $1, R6                                     \
	BNE  pair                                       \
	RET

#define DOT2X4(WIDEN) \
	MOVD args+0(FP), R14                            \
	MOVD dotArgs_sums(R14), R0                      \
	MOVD dotArgs_rows(R14), R3                      \
	MOVD dotArgs_stride(R14), R4                    \
	MOVD dotArgs_next(R14), R5                      \
	MOVD dotArgs_bands(R14), R6                     \
	ZERO(V30)                                       \
pair:                                                   \
	MOVD R3, R1                                     \
	ADD  R4, R3, R2                                 \
	MOVD dotArgs_x(R14), R9                         \
	MOVD dotArgs_k(R14), R10                        \
	MOVD dotArgs_back(R14), R8                      \
	MOVD R0, R7                                     \
	VLD1.P 64(R7), [V0.S4, V1.S4, V2.S4, V3.S4]     \
	VLD1.P 64(R7), [V4.S4, V5.S4, V6.S4, V7.S4]     \
	VLD1.P 64(R7), [V8.S4, V9.S4, V10.S4, V11.S4]   \
	VLD1   (R7), [V12.S4, V13.S4, V14.S4, V15.S4]   \
step:                                                   \
	WIDEN(R1, V24, V25, 24, 25)                     \
	WIDEN(R2, V26, V27, 26, 27)                     \
	TOKEN(V0, V1, V8, V9)                           \
	TOKEN(V2, V3, V10, V11)                         \
	TOKEN(V4, V5, V12, V13)                         \
	TOKEN(V6, V7, V14, V15)                         \
	SUBS $8, R10                                    \
	BNE  step                                       \
	CBZ  R8, store                                  \
	SUB  R8, R1                                     \
	SUB  R8, R2                                     \
	MOVD $0, R8                                     \
	MOVD $8, R10                                    \
	B    step                                       \
store:                                                  \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)     \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R0)     \
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R0)   \
	VST1.P [V12.S4, V13.S4, V14.S4, V15.S4], 64(R0) \
	ADD  R5, R3                                     \
	SUBS $1, R6                                     \
	BNE  pair                                       \
	RET

// func dot8x1Lanes8BF16(args *dotArgs)
TEXT ·dot8x1Lanes8BF16(SB), NOSPLIT, $0-8
	DOT8X1(BF16)

// func dot8x1Lanes8F16(args *dotArgs)
TEXT ·dot8x1Lanes8F16(SB), NOSPLIT, $0-8
	DOT8X1(F16)

// func dot8x1Lanes8F32(args *dotArgs)
TEXT ·dot8x1Lanes8F32(SB), NOSPLIT, $0-8
	DOT8X1(F32)

// func dot2x6Lanes8BF16(args *dotArgs)
TEXT ·dot2x6Lanes8BF16(SB), NOSPLIT, $0-8
	DOT2X6(BF16)

// func dot2x6Lanes8F16(args *dotArgs)
TEXT ·dot2x6Lanes8F16(SB), NOSPLIT, $0-8
	DOT2X6(F16)

// func dot2x6Lanes8F32(args *dotArgs)
TEXT ·dot2x6Lanes8F32(SB), NOSPLIT, $0-8
	DOT2X6(F32)

// func dot2x4Lanes8BF16(args *dotArgs)
TEXT ·dot2x4Lanes8BF16(SB), NOSPLIT, $0-8
	DOT2X4(BF16)

// func dot2x4Lanes8F16(args *dotArgs)
TEXT ·dot2x4Lanes8F16(SB), NOSPLIT, $0-8
	DOT2X4(F16)

// func dot2x4Lanes8F32(args *dotArgs)
TEXT ·dot2x4Lanes8F32(SB), NOSPLIT, $0-8
	DOT2X4(F32)

// func sumLanes8(sums, lanes *float32, n int)
TEXT ·sumLanes8(SB), NOSPLIT, $0-24
	MOVD sums+0(FP), R0
	MOVD lanes+8(FP), R1
	MOVD n+16(FP), R2
four:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	FADDP(1, 0, 0)
	FADDP(3, 2, 1)
	FADDP(5, 4, 2)
	FADDP(7, 6, 3)
	FADDP(1, 0, 0)
	FADDP(3, 2, 1)
	FADDP(1, 0, 0)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2
	BNE  four
	RET
