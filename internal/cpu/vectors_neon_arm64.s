#include "textflag.h"

// Attention's products for NEON. An element of c takes the products in ascending order, one fused multiply-add each.

// The 16 next columns of a pair of rows at R16: the even one's values in V16 … V19, the odd one's in V20 … V23. In a column of bfloat16,
// the even row's is the lower half of 32 bits; V31 is a mask of the upper halves. float32 rows are R19 bytes apart.
#define BF16 \
	VLD1 (R16), [V24.S4, V25.S4, V26.S4, V27.S4] \
	VSHL $16, V24.S4, V16.S4        \
	VSHL $16, V25.S4, V17.S4        \
	VSHL $16, V26.S4, V18.S4        \
	VSHL $16, V27.S4, V19.S4        \
	VAND V31.B16, V24.B16, V20.B16  \
	VAND V31.B16, V25.B16, V21.B16  \
	VAND V31.B16, V26.B16, V22.B16  \
	VAND V31.B16, V27.B16, V23.B16
#define F32 \
	VLD1 (R16), [V16.S4, V17.S4, V18.S4, V19.S4] \
	ADD  R19, R16, R20 \
	VLD1 (R20), [V20.S4, V21.S4, V22.S4, V23.S4]

// The pair by the next two values of a row of a.
#define ROW(a, c0, c1, c2, c3) \
	VLD1R.P 4(a), [V28.S4]       \
	VLD1R.P 4(a), [V29.S4]       \
	VFMLA   V16.S4, V28.S4, c0.S4 \
	VFMLA   V17.S4, V28.S4, c1.S4 \
	VFMLA   V18.S4, V28.S4, c2.S4 \
	VFMLA   V19.S4, V28.S4, c3.S4 \
	VFMLA   V20.S4, V29.S4, c0.S4 \
	VFMLA   V21.S4, V29.S4, c1.S4 \
	VFMLA   V22.S4, V29.S4, c2.S4 \
	VFMLA   V23.S4, V29.S4, c3.S4

#define PRODUCTS4(WIDEN) \
	MOVD c+0(FP), R8        \
	MOVD cStride+8(FP), R1  \
	MOVD a+16(FP), R2       \
	MOVD aStride+24(FP), R3 \
	MOVD b+32(FP), R4       \
	MOVD bStride+40(FP), R5 \
	MOVD pairs+48(FP), R6   \
	MOVD cols+56(FP), R7    \
	ADD  R1, R8, R9         \
	ADD  R1, R9, R10        \
	ADD  R1, R10, R11       \
	LSR  $1, R5, R19        \
	MOVD $0xffff0000, R20   \
	VDUP R20, V31.S4        \
columns:                        \
	VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4]      \
	VLD1 (R9), [V4.S4, V5.S4, V6.S4, V7.S4]      \
	VLD1 (R10), [V8.S4, V9.S4, V10.S4, V11.S4]   \
	VLD1 (R11), [V12.S4, V13.S4, V14.S4, V15.S4] \
	MOVD R2, R12            \
	ADD  R3, R12, R13       \
	ADD  R3, R13, R14       \
	ADD  R3, R14, R15       \
	MOVD R4, R16            \
	MOVD R6, R17            \
pair:                           \
	WIDEN                   \
	ADD  R5, R16            \
	ROW(R12, V0, V1, V2, V3)     \
	ROW(R13, V4, V5, V6, V7)     \
	ROW(R14, V8, V9, V10, V11)   \
	ROW(R15, V12, V13, V14, V15) \
	SUBS $1, R17            \
	BNE  pair               \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8)      \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R9)      \
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R10)   \
	VST1.P [V12.S4, V13.S4, V14.S4, V15.S4], 64(R11) \
	ADD  $64, R4            \
	SUBS $16, R7            \
	BNE  columns            \
	RET

#define PRODUCTS1(WIDEN) \
	MOVD c+0(FP), R8        \
	MOVD a+8(FP), R2        \
	MOVD b+16(FP), R4       \
	MOVD bStride+24(FP), R5 \
	MOVD pairs+32(FP), R6   \
	MOVD cols+40(FP), R7    \
	LSR  $1, R5, R19        \
	MOVD $0xffff0000, R20   \
	VDUP R20, V31.S4        \
columns:                        \
	VLD1 (R8), [V0.S4, V1.S4, V2.S4, V3.S4] \
	MOVD R2, R12            \
	MOVD R4, R16            \
	MOVD R6, R17            \
pair:                           \
	WIDEN                   \
	ADD  R5, R16            \
	ROW(R12, V0, V1, V2, V3) \
	SUBS $1, R17            \
	BNE  pair               \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R8) \
	ADD  $64, R4            \
	SUBS $16, R7            \
	BNE  columns            \
	RET

// func products4BF16(c *float32, cStride int, a *float32, aStride int, b *byte, bStride, pairs, cols int)
TEXT ·products4BF16(SB), NOSPLIT, $0-64
	PRODUCTS4(BF16)

// func products4F32(c *float32, cStride int, a *float32, aStride int, b *byte, bStride, pairs, cols int)
TEXT ·products4F32(SB), NOSPLIT, $0-64
	PRODUCTS4(F32)

// func products1BF16(c, a *float32, b *byte, bStride, pairs, cols int)
TEXT ·products1BF16(SB), NOSPLIT, $0-48
	PRODUCTS1(BF16)

// func products1F32(c, a *float32, b *byte, bStride, pairs, cols int)
TEXT ·products1F32(SB), NOSPLIT, $0-48
	PRODUCTS1(F32)
