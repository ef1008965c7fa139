#include "textflag.h"

// The exponential function, and what attention and SiLU are made of, for AVX2 with FMA.

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

// EXP sets e = e^x for eight values: 2^n · e^r with n = round(x/ln 2) and |r| ≤ ln(2)/2, where seven terms of the series leave a
// relative error of 7e-9. 2^n is two factors, for the results that are subnormal. NaN stays NaN: VMINPS and VMAXPS return their first
// operand, in Go's order, when either is NaN. x, n and c are overwritten.
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

// The sum of y's eight lanes in lane 0: ((0+1)+(2+3)) + ((4+5)+(6+7)). x is y's lower half.
#define SUM(y, x, t) \
	VHADDPS      y, y, y     \
	VHADDPS      y, y, y     \
	VEXTRACTF128 $1, y, t    \
	VADDSS       t, x, x

#define BF16(mem, y) \
	VPMOVZXWD mem, y \
	VPSLLD    $16, y, y
#define F32(mem, y) \
	VMOVUPS mem, y

// The rows are read once for every 32 columns, whose sums are in Y0 … Y3, and for the columns left over in eights.
#define ADDROWS(WIDEN, size) \
	MOVQ   sums+0(FP), DI                \
	MOVQ   weights+8(FP), R8             \
	MOVQ   rows+16(FP), SI               \
	MOVQ   stride+24(FP), BX             \
	MOVQ   n+32(FP), CX                  \
	MOVQ   ahead+40(FP), R12             \
	MOVQ   cols+48(FP), DX               \
	SUBQ   $32, DX                       \
	JLT    eights                        \
columns32:                               \
	MOVQ   SI, R9                        \
	MOVQ   R8, R10                       \
	MOVQ   CX, R11                       \
	VXORPS Y0, Y0, Y0                    \
	VXORPS Y1, Y1, Y1                    \
	VXORPS Y2, Y2, Y2                    \
	VXORPS Y3, Y3, Y3                    \
row32:                                   \
	PREFETCHT0 (R9)(R12*1)               \
	VBROADCASTSS (R10), Y8               \
	WIDEN((0*size)(R9), Y4)              \
	WIDEN((1*size)(R9), Y5)              \
	WIDEN((2*size)(R9), Y6)              \
	WIDEN((3*size)(R9), Y7)              \
	VFMADD231PS Y8, Y4, Y0               \
	VFMADD231PS Y8, Y5, Y1               \
	VFMADD231PS Y8, Y6, Y2               \
	VFMADD231PS Y8, Y7, Y3               \
	ADDQ   BX, R9                        \
	ADDQ   $4, R10                       \
	DECQ   R11                           \
	JNZ    row32                         \
	VMOVUPS Y0, 0(DI)                    \
	VMOVUPS Y1, 32(DI)                   \
	VMOVUPS Y2, 64(DI)                   \
	VMOVUPS Y3, 96(DI)                   \
	ADDQ   $128, DI                      \
	ADDQ   $(4*size), SI                 \
	SUBQ   $32, DX                       \
	JGE    columns32                     \
eights:                                  \
	ADDQ   $32, DX                       \
	JZ     end                           \
columns8:                                \
	MOVQ   SI, R9                        \
	MOVQ   R8, R10                       \
	MOVQ   CX, R11                       \
	VXORPS Y0, Y0, Y0                    \
row8:                                    \
	VBROADCASTSS (R10), Y8               \
	WIDEN((R9), Y4)                      \
	VFMADD231PS Y8, Y4, Y0               \
	ADDQ   BX, R9                        \
	ADDQ   $4, R10                       \
	DECQ   R11                           \
	JNZ    row8                          \
	VMOVUPS Y0, (DI)                     \
	ADDQ   $32, DI                       \
	ADDQ   $size, SI                     \
	SUBQ   $8, DX                        \
	JNZ    columns8                      \
end:                                     \
	VZEROUPPER                           \
	RET

// func gate8(y, gate, up *float32, n int)
TEXT ·gate8(SB), NOSPLIT, $0-32
	MOVQ         y+0(FP), DI
	MOVQ         gate+8(FP), SI
	MOVQ         up+16(FP), DX
	MOVQ         n+24(FP), CX
	VBROADCASTSS exp<>+44(SB), Y6
eight:
	VMOVUPS (SI), Y5
	VXORPS  Y0, Y0, Y0
	VSUBPS  Y5, Y0, Y0            // -gate
	EXP(Y0, Y1, Y2, Y3)
	VADDPS  Y6, Y3, Y3
	VDIVPS  Y3, Y5, Y5            // gate / (1 + e^-gate)
	VMULPS  (DX), Y5, Y5
	VMOVUPS Y5, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DX
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     eight
	VZEROUPPER
	RET

// func scaleMax(x *float32, n int, scale float32) float32
TEXT ·scaleMax(SB), NOSPLIT, $0-28
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS scale+16(FP), Y1
	VMULPS       (SI), Y1, Y0
	VMOVUPS      Y0, Y2
	JMP          first
eight:
	VMULPS  (SI), Y1, Y0
	VMAXPS  Y2, Y0, Y2            // where x is NaN, the maximum so far
first:
	VMOVUPS Y0, (SI)
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     eight
	VEXTRACTF128 $1, Y2, X0
	VMAXPS       X0, X2, X2
	VPERMILPS    $0x4e, X2, X0
	VMAXPS       X0, X2, X2
	VPERMILPS    $0xb1, X2, X0
	VMAXPS       X0, X2, X2
	VZEROUPPER
	MOVSS X2, ret+24(FP)
	RET

// func expSum(x *float32, n int, top float32) float32
TEXT ·expSum(SB), NOSPLIT, $0-28
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS top+16(FP), Y5
	VXORPS       Y4, Y4, Y4
eight:
	VMOVUPS (SI), Y0
	VSUBPS  Y5, Y0, Y0
	EXP(Y0, Y1, Y2, Y3)
	VMOVUPS Y3, (SI)
	VADDPS  Y3, Y4, Y4
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     eight
	SUM(Y4, X4, X0)
	VZEROUPPER
	MOVSS X4, ret+24(FP)
	RET

// func addRowsBF16(sums, weights *float32, rows *byte, stride, n, ahead, cols int)
TEXT ·addRowsBF16(SB), NOSPLIT, $0-56
	ADDROWS(BF16, 16)

// func addRowsF32(sums, weights *float32, rows *byte, stride, n, ahead, cols int)
TEXT ·addRowsF32(SB), NOSPLIT, $0-56
	ADDROWS(F32, 32)

// func prefetch(p *byte, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
line:
	PREFETCHT1 (SI)
	ADDQ       $64, SI
	SUBQ       $64, CX
	JGT        line
	RET
