#include "textflag.h"

// For the probe: nothing but NEON multiply-adds on registers, and nothing but loads.

#define ZERO(v) VEOR v.B16, v.B16, v.B16
#define FMA(v) VFMLA V24.S4, V25.S4, v.S4

// func multiplyAdd(n int)
TEXT ·multiplyAdd(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R0
	ZERO(V0)
	ZERO(V1)
	ZERO(V2)
	ZERO(V3)
	ZERO(V4)
	ZERO(V5)
	ZERO(V6)
	ZERO(V7)
	ZERO(V8)
	ZERO(V9)
	ZERO(V10)
	ZERO(V11)
	ZERO(V12)
	ZERO(V13)
	ZERO(V14)
	ZERO(V15)
	ZERO(V24)
	ZERO(V25)
sixteen: // independent sums: enough for four units with a latency of four
	FMA(V0)
	FMA(V1)
	FMA(V2)
	FMA(V3)
	FMA(V4)
	FMA(V5)
	FMA(V6)
	FMA(V7)
	FMA(V8)
	FMA(V9)
	FMA(V10)
	FMA(V11)
	FMA(V12)
	FMA(V13)
	FMA(V14)
	FMA(V15)
	SUBS $1, R0
	BNE  sixteen
	RET

// func readMemory(p *byte, n int)
TEXT ·readMemory(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
lines:
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R0), [V4.B16, V5.B16, V6.B16, V7.B16]
	SUBS $128, R1
	BNE  lines
	RET
