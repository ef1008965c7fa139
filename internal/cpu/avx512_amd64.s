#include "textflag.h"
#include "go_asm.h"
#include "encoded_amd64.h"

// Dot products for AVX-512, also with its multiply-add of pairs of bfloat16 (VDPBF16PS), see laneKernels and
// dotArgs. Go's assembler writes the destination last: VFMADD231PS a, b, c is c += a·b. R14 is the address of
// the arguments.
//
// An element of the result has 16 running sums, its lanes. Lane i takes the products k = i, i+16, … in
// ascending order, each with one fused multiply-add; with VDPBF16PS it takes the pairs of products k = 2i,
// 2i+1; 2i+32, 2i+33; … At the end the lanes i and i+8 are added, then these eight sums as ((0+1)+(2+3)) +
// ((4+5)+(6+7)). If back is not 0, one more step reads weights again.

// Loads 16 weights at mem as float32 to z.
#define BF16(mem, z) \
	VPMOVZXWD mem, z \
	VPSLLD    $16, z, z
#define F16(mem, z) \
	VCVTPH2PS mem, z
#define F32(mem, z) \
	VMOVUPS mem, z

// Prefetches one cache line, or two, of each of eight later rows.
#define PREFETCH8(d) \
	PREFETCHT0 (d)(R10)       \
	PREFETCHT0 (d)(R10)(BX*1) \
	PREFETCHT0 (d)(R10)(BX*2) \
	PREFETCHT0 (d)(R10)(R8*1) \
	PREFETCHT0 (d)(R11)       \
	PREFETCHT0 (d)(R11)(BX*1) \
	PREFETCHT0 (d)(R11)(BX*2) \
	PREFETCHT0 (d)(R11)(R8*1)
#define PREFETCH16(d) \
	PREFETCH8(d) \
	PREFETCH8(d+64)

// ---- Eight rows by one token

#define BEGIN8 \
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
	VMOVUPS 0(DI), Z0              \
	VMOVUPS 64(DI), Z1             \
	VMOVUPS 128(DI), Z2            \
	VMOVUPS 192(DI), Z3            \
	VMOVUPS 256(DI), Z4            \
	VMOVUPS 320(DI), Z5            \
	VMOVUPS 384(DI), Z6            \
	VMOVUPS 448(DI), Z7

// Stores the lanes in Z0 … Z7.
#define END8 \
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

// One step: 16 weights of each row at offset d by the 16 values of the token at offset dx.
#define ROWS8(WIDEN, d, dx) \
	VMOVUPS     (dx)(DX), Z12 \
	WIDEN((d)(SI), Z8)        \
	WIDEN((d)(SI)(BX*1), Z9)  \
	WIDEN((d)(SI)(BX*2), Z10) \
	WIDEN((d)(SI)(R8*1), Z11) \
	VFMADD231PS Z12, Z8, Z0   \
	VFMADD231PS Z12, Z9, Z1   \
	VFMADD231PS Z12, Z10, Z2  \
	VFMADD231PS Z12, Z11, Z3  \
	WIDEN((d)(R9), Z8)        \
	WIDEN((d)(R9)(BX*1), Z9)  \
	WIDEN((d)(R9)(BX*2), Z10) \
	WIDEN((d)(R9)(R8*1), Z11) \
	VFMADD231PS Z12, Z8, Z4   \
	VFMADD231PS Z12, Z9, Z5   \
	VFMADD231PS Z12, Z10, Z6  \
	VFMADD231PS Z12, Z11, Z7

// size is the bytes of 16 weights.
#define DOT8X1(WIDEN, PREFETCH, size) \
	BEGIN8                 \
	SUBQ $32, CX           \
	JLT  rest              \
line:                          \
	PREFETCH(0)            \
	ROWS8(WIDEN, 0, 0)     \
	ROWS8(WIDEN, size, 64) \
	ADDQ $(2*size), SI     \
	ADDQ $(2*size), R9     \
	ADDQ $(2*size), R10    \
	ADDQ $(2*size), R11    \
	ADDQ $128, DX          \
	SUBQ $32, CX           \
	JGE  line              \
rest:                          \
	ADDQ $32, CX           \
	JZ   last              \
step:                          \
	ROWS8(WIDEN, 0, 0)     \
	ADDQ $size, SI         \
	ADDQ $size, R9         \
	ADDQ $64, DX           \
last:                          \
	TESTQ AX, AX           \
	JZ    store            \
	SUBQ  AX, SI           \
	SUBQ  AX, R9           \
	XORQ  AX, AX           \
	JMP   step             \
store:                         \
	END8

// ---- Four rows by six or four tokens

#define BEGIN4 \
	MOVQ args+0(FP), R14          \
	MOVQ dotArgs_sums(R14), DI    \
	MOVQ dotArgs_rows(R14), R12   \
	MOVQ dotArgs_stride(R14), BX  \
	MOVQ dotArgs_next(R14), R13   \
	MOVQ dotArgs_bands(R14), R11  \
	MOVQ dotArgs_ahead(R14), R10  \
	MOVQ dotArgs_pace(R14), R15   \
	LEAQ (BX)(BX*2), R8

#define LOAD16 \
	VMOVUPS 0(DI), Z0    \
	VMOVUPS 64(DI), Z1   \
	VMOVUPS 128(DI), Z2  \
	VMOVUPS 192(DI), Z3  \
	VMOVUPS 256(DI), Z4  \
	VMOVUPS 320(DI), Z5  \
	VMOVUPS 384(DI), Z6  \
	VMOVUPS 448(DI), Z7  \
	VMOVUPS 512(DI), Z8  \
	VMOVUPS 576(DI), Z9  \
	VMOVUPS 640(DI), Z10 \
	VMOVUPS 704(DI), Z11 \
	VMOVUPS 768(DI), Z12 \
	VMOVUPS 832(DI), Z13 \
	VMOVUPS 896(DI), Z14 \
	VMOVUPS 960(DI), Z15
#define LOAD24 \
	LOAD16                \
	VMOVUPS 1024(DI), Z16 \
	VMOVUPS 1088(DI), Z17 \
	VMOVUPS 1152(DI), Z18 \
	VMOVUPS 1216(DI), Z19 \
	VMOVUPS 1280(DI), Z20 \
	VMOVUPS 1344(DI), Z21 \
	VMOVUPS 1408(DI), Z22 \
	VMOVUPS 1472(DI), Z23
#define STORE16 \
	VMOVUPS Z0, 0(DI)    \
	VMOVUPS Z1, 64(DI)   \
	VMOVUPS Z2, 128(DI)  \
	VMOVUPS Z3, 192(DI)  \
	VMOVUPS Z4, 256(DI)  \
	VMOVUPS Z5, 320(DI)  \
	VMOVUPS Z6, 384(DI)  \
	VMOVUPS Z7, 448(DI)  \
	VMOVUPS Z8, 512(DI)  \
	VMOVUPS Z9, 576(DI)  \
	VMOVUPS Z10, 640(DI) \
	VMOVUPS Z11, 704(DI) \
	VMOVUPS Z12, 768(DI) \
	VMOVUPS Z13, 832(DI) \
	VMOVUPS Z14, 896(DI) \
	VMOVUPS Z15, 960(DI)
#define STORE24 \
	STORE16               \
	VMOVUPS Z16, 1024(DI) \
	VMOVUPS Z17, 1088(DI) \
	VMOVUPS Z18, 1152(DI) \
	VMOVUPS Z19, 1216(DI) \
	VMOVUPS Z20, 1280(DI) \
	VMOVUPS Z21, 1344(DI) \
	VMOVUPS Z22, 1408(DI) \
	VMOVUPS Z23, 1472(DI)

// The values of a token, at offset d, by four rows in Z24 … Z27.
#define TOKEN(d, s0, s1, s2, s3) \
	VMOVUPS     (d)(DX), Z28 \
	VFMADD231PS Z28, Z24, s0 \
	VFMADD231PS Z28, Z25, s1 \
	VFMADD231PS Z28, Z26, s2 \
	VFMADD231PS Z28, Z27, s3

// Prefetches a line of four rows.
#define PREFETCH4 \
	PREFETCHT1 (R9)       \
	PREFETCHT1 (R9)(BX*1) \
	PREFETCHT1 (R9)(BX*2) \
	PREFETCHT1 (R9)(R8*1)

#define DOT4X6(WIDEN, size) \
	BEGIN4                        \
band:                                 \
	MOVQ R12, SI                  \
	LEAQ (R12)(R10*1), R9         \
	MOVQ dotArgs_x(R14), DX       \
	MOVQ dotArgs_k(R14), CX       \
	MOVQ dotArgs_back(R14), AX    \
	LOAD24                        \
	PCALIGN $64                   \
step:                                 \
	WIDEN((SI), Z24)              \
	WIDEN((SI)(BX*1), Z25)        \
	WIDEN((SI)(BX*2), Z26)        \
	WIDEN((SI)(R8*1), Z27)        \
	PREFETCH4                     \
	TOKEN(0, Z0, Z6, Z12, Z18)    \
	TOKEN(64, Z1, Z7, Z13, Z19)   \
	TOKEN(128, Z2, Z8, Z14, Z20)  \
	TOKEN(192, Z3, Z9, Z15, Z21)  \
	TOKEN(256, Z4, Z10, Z16, Z22) \
	TOKEN(320, Z5, Z11, Z17, Z23) \
	ADDQ $size, SI                \
	ADDQ R15, R9                  \
	ADDQ $384, DX                 \
	SUBQ $16, CX                  \
	JNZ  step                     \
	TESTQ AX, AX                  \
	JZ   store                    \
	SUBQ AX, SI                   \
	XORQ AX, AX                   \
	MOVQ $16, CX                  \
	JMP  step                     \
store:                                \
	STORE24                       \
	ADDQ $1536, DI                \
	ADDQ R13, R12                 \
	DECQ R11                      \
	JNZ  band                     \
	VZEROUPPER                    \
	RET

#define DOT4X4(WIDEN, size) \
	BEGIN4                        \
band:                                 \
	MOVQ R12, SI                  \
	LEAQ (R12)(R10*1), R9         \
	MOVQ dotArgs_x(R14), DX       \
	MOVQ dotArgs_k(R14), CX       \
	MOVQ dotArgs_back(R14), AX    \
	LOAD16                        \
	PCALIGN $64                   \
step:                                 \
	WIDEN((SI), Z24)              \
	WIDEN((SI)(BX*1), Z25)        \
	WIDEN((SI)(BX*2), Z26)        \
	WIDEN((SI)(R8*1), Z27)        \
	PREFETCH4                     \
	TOKEN(0, Z0, Z4, Z8, Z12)     \
	TOKEN(64, Z1, Z5, Z9, Z13)    \
	TOKEN(128, Z2, Z6, Z10, Z14)  \
	TOKEN(192, Z3, Z7, Z11, Z15)  \
	ADDQ $size, SI                \
	ADDQ R15, R9                  \
	ADDQ $256, DX                 \
	SUBQ $16, CX                  \
	JNZ  step                     \
	TESTQ AX, AX                  \
	JZ   store                    \
	SUBQ AX, SI                   \
	XORQ AX, AX                   \
	MOVQ $16, CX                  \
	JMP  step                     \
store:                                \
	STORE16                       \
	ADDQ $1024, DI                \
	ADDQ R13, R12                 \
	DECQ R11                      \
	JNZ  band                     \
	VZEROUPPER                    \
	RET

// func dot8x1Lanes16BF16(args *dotArgs)
TEXT ·dot8x1Lanes16BF16(SB), NOSPLIT, $0-8
	DOT8X1(BF16, PREFETCH8, 32)

// func dot8x1Lanes16F16(args *dotArgs)
TEXT ·dot8x1Lanes16F16(SB), NOSPLIT, $0-8
	DOT8X1(F16, PREFETCH8, 32)

// func dot8x1Lanes16F32(args *dotArgs)
TEXT ·dot8x1Lanes16F32(SB), NOSPLIT, $0-8
	DOT8X1(F32, PREFETCH16, 64)

// func dot4x6Lanes16BF16(args *dotArgs)
TEXT ·dot4x6Lanes16BF16(SB), NOSPLIT, $0-8
	DOT4X6(BF16, 32)

// func dot4x6Lanes16F16(args *dotArgs)
TEXT ·dot4x6Lanes16F16(SB), NOSPLIT, $0-8
	DOT4X6(F16, 32)

// func dot4x6Lanes16F32(args *dotArgs)
TEXT ·dot4x6Lanes16F32(SB), NOSPLIT, $0-8
	DOT4X6(F32, 64)

// func dot4x4Lanes16BF16(args *dotArgs)
TEXT ·dot4x4Lanes16BF16(SB), NOSPLIT, $0-8
	DOT4X4(BF16, 32)

// func dot4x4Lanes16F16(args *dotArgs)
TEXT ·dot4x4Lanes16F16(SB), NOSPLIT, $0-8
	DOT4X4(F16, 32)

// func dot4x4Lanes16F32(args *dotArgs)
TEXT ·dot4x4Lanes16F32(SB), NOSPLIT, $0-8
	DOT4X4(F32, 64)

// func dot8x1PairsBF16(args *dotArgs)
TEXT ·dot8x1PairsBF16(SB), NOSPLIT, $0-8
	BEGIN8
	SUBQ $32, CX
	JLT  last
line:
	PREFETCH8(0)
	VMOVDQU64 (DX), Z12
	VMOVDQU64 (SI), Z8
	VMOVDQU64 (SI)(BX*1), Z9
	VMOVDQU64 (SI)(BX*2), Z10
	VMOVDQU64 (SI)(R8*1), Z11
	VDPBF16PS_Z12_Z8_Z0
	VDPBF16PS_Z12_Z9_Z1
	VDPBF16PS_Z12_Z10_Z2
	VDPBF16PS_Z12_Z11_Z3
	VMOVDQU64 (R9), Z8
	VMOVDQU64 (R9)(BX*1), Z9
	VMOVDQU64 (R9)(BX*2), Z10
	VMOVDQU64 (R9)(R8*1), Z11
	VDPBF16PS_Z12_Z8_Z4
	VDPBF16PS_Z12_Z9_Z5
	VDPBF16PS_Z12_Z10_Z6
	VDPBF16PS_Z12_Z11_Z7
	ADDQ $64, SI
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ $64, R11
	ADDQ $64, DX
	SUBQ $32, CX
	JGE  line
last:
	TESTQ AX, AX
	JZ   store
	SUBQ AX, SI
	SUBQ AX, R9
	XORQ AX, AX
	JMP  line
store:
	END8

// func dot4x6PairsBF16(args *dotArgs)
TEXT ·dot4x6PairsBF16(SB), NOSPLIT, $0-8
	BEGIN4
band:
	MOVQ R12, SI
	LEAQ (R12)(R10*1), R9
	MOVQ dotArgs_x(R14), DX
	MOVQ dotArgs_k(R14), CX
	MOVQ dotArgs_back(R14), AX
	LOAD24
	PCALIGN $64
step:
	VMOVDQU64 (SI), Z24
	VMOVDQU64 (SI)(BX*1), Z25
	VMOVDQU64 (SI)(BX*2), Z26
	VMOVDQU64 (SI)(R8*1), Z27
	PREFETCH4
	VMOVDQU64 0(DX), Z28
	VDPBF16PS_Z28_Z24_Z0
	VDPBF16PS_Z28_Z25_Z6
	VDPBF16PS_Z28_Z26_Z12
	VDPBF16PS_Z28_Z27_Z18
	VMOVDQU64 64(DX), Z29
	VDPBF16PS_Z29_Z24_Z1
	VDPBF16PS_Z29_Z25_Z7
	VDPBF16PS_Z29_Z26_Z13
	VDPBF16PS_Z29_Z27_Z19
	VMOVDQU64 128(DX), Z30
	VDPBF16PS_Z30_Z24_Z2
	VDPBF16PS_Z30_Z25_Z8
	VDPBF16PS_Z30_Z26_Z14
	VDPBF16PS_Z30_Z27_Z20
	VMOVDQU64 192(DX), Z28
	VDPBF16PS_Z28_Z24_Z3
	VDPBF16PS_Z28_Z25_Z9
	VDPBF16PS_Z28_Z26_Z15
	VDPBF16PS_Z28_Z27_Z21
	VMOVDQU64 256(DX), Z29
	VDPBF16PS_Z29_Z24_Z4
	VDPBF16PS_Z29_Z25_Z10
	VDPBF16PS_Z29_Z26_Z16
	VDPBF16PS_Z29_Z27_Z22
	VMOVDQU64 320(DX), Z30
	VDPBF16PS_Z30_Z24_Z5
	VDPBF16PS_Z30_Z25_Z11
	VDPBF16PS_Z30_Z26_Z17
	VDPBF16PS_Z30_Z27_Z23
	ADDQ $64, SI
	ADDQ R15, R9
	ADDQ $384, DX
	SUBQ $32, CX
	JNZ  step
	TESTQ AX, AX
	JZ   store
	SUBQ AX, SI
	XORQ AX, AX
	MOVQ $32, CX
	JMP  step
store:
	STORE24
	ADDQ $1536, DI
	ADDQ R13, R12
	DECQ R11
	JNZ  band
	VZEROUPPER
	RET

// func dot4x4PairsBF16(args *dotArgs)
TEXT ·dot4x4PairsBF16(SB), NOSPLIT, $0-8
	BEGIN4
band:
	MOVQ R12, SI
	LEAQ (R12)(R10*1), R9
	MOVQ dotArgs_x(R14), DX
	MOVQ dotArgs_k(R14), CX
	MOVQ dotArgs_back(R14), AX
	LOAD16
	PCALIGN $64
step:
	VMOVDQU64 (SI), Z24
	VMOVDQU64 (SI)(BX*1), Z25
	VMOVDQU64 (SI)(BX*2), Z26
	VMOVDQU64 (SI)(R8*1), Z27
	PREFETCH4
	VMOVDQU64 0(DX), Z28
	VDPBF16PS_Z28_Z24_Z0
	VDPBF16PS_Z28_Z25_Z4
	VDPBF16PS_Z28_Z26_Z8
	VDPBF16PS_Z28_Z27_Z12
	VMOVDQU64 64(DX), Z29
	VDPBF16PS_Z29_Z24_Z1
	VDPBF16PS_Z29_Z25_Z5
	VDPBF16PS_Z29_Z26_Z9
	VDPBF16PS_Z29_Z27_Z13
	VMOVDQU64 128(DX), Z30
	VDPBF16PS_Z30_Z24_Z2
	VDPBF16PS_Z30_Z25_Z6
	VDPBF16PS_Z30_Z26_Z10
	VDPBF16PS_Z30_Z27_Z14
	VMOVDQU64 192(DX), Z28
	VDPBF16PS_Z28_Z24_Z3
	VDPBF16PS_Z28_Z25_Z7
	VDPBF16PS_Z28_Z26_Z11
	VDPBF16PS_Z28_Z27_Z15
	ADDQ $64, SI
	ADDQ R15, R9
	ADDQ $256, DX
	SUBQ $32, CX
	JNZ  step
	TESTQ AX, AX
	JZ   store
	SUBQ AX, SI
	XORQ AX, AX
	MOVQ $32, CX
	JMP  step
store:
	STORE16
	ADDQ $1024, DI
	ADDQ R13, R12
	DECQ R11
	JNZ  band
	VZEROUPPER
	RET

// func sumLanes16(sums, lanes *float32, n int)
TEXT ·sumLanes16(SB), NOSPLIT, $0-24
	MOVQ sums+0(FP), DI
	MOVQ lanes+8(FP), SI
	MOVQ n+16(FP), CX
four:
	VMOVUPS      0(SI), Y0
	VMOVUPS      64(SI), Y1
	VMOVUPS      128(SI), Y2
	VMOVUPS      192(SI), Y3
	VADDPS       32(SI), Y0, Y0
	VADDPS       96(SI), Y1, Y1
	VADDPS       160(SI), Y2, Y2
	VADDPS       224(SI), Y3, Y3
	VHADDPS      Y1, Y0, Y0
	VHADDPS      Y3, Y2, Y2
	VHADDPS      Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VMOVUPS      X0, (DI)
	ADDQ         $256, SI
	ADDQ         $16, DI
	SUBQ         $4, CX
	JNZ          four
	VZEROUPPER
	RET

// func sumBand4Lanes16(sums *float32, stride int, lanes *float32, laneStride, n int)
TEXT ·sumBand4Lanes16(SB), NOSPLIT, $0-40
	MOVQ sums+0(FP), DI
	MOVQ stride+8(FP), R9
	MOVQ lanes+16(FP), SI
	MOVQ laneStride+24(FP), BX
	MOVQ n+32(FP), CX
	LEAQ (BX)(BX*2), R8
token:
	VMOVUPS      (SI), Y0
	VMOVUPS      (SI)(BX*1), Y1
	VMOVUPS      (SI)(BX*2), Y2
	VMOVUPS      (SI)(R8*1), Y3
	VADDPS       32(SI), Y0, Y0
	VADDPS       32(SI)(BX*1), Y1, Y1
	VADDPS       32(SI)(BX*2), Y2, Y2
	VADDPS       32(SI)(R8*1), Y3, Y3
	VHADDPS      Y1, Y0, Y0
	VHADDPS      Y3, Y2, Y2
	VHADDPS      Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VMOVUPS      X0, (DI)
	ADDQ         $64, SI
	ADDQ         R9, DI
	DECQ         CX
	JNZ          token
	VZEROUPPER
	RET

// ---- For the probe: the most that the processor can compute

// func multiplyAddAVX512(n int)
TEXT ·multiplyAddAVX512(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	VPXORD Z12, Z12, Z12
	VPXORD Z13, Z13, Z13
twelve: // independent sums
	VFMADD231PS Z12, Z13, Z0
	VFMADD231PS Z12, Z13, Z1
	VFMADD231PS Z12, Z13, Z2
	VFMADD231PS Z12, Z13, Z3
	VFMADD231PS Z12, Z13, Z4
	VFMADD231PS Z12, Z13, Z5
	VFMADD231PS Z12, Z13, Z6
	VFMADD231PS Z12, Z13, Z7
	VFMADD231PS Z12, Z13, Z8
	VFMADD231PS Z12, Z13, Z9
	VFMADD231PS Z12, Z13, Z10
	VFMADD231PS Z12, Z13, Z11
	DECQ CX
	JNZ  twelve
	VZEROUPPER
	RET

// func multiplyAddPairs(n int)
TEXT ·multiplyAddPairs(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	VPXORD Z12, Z12, Z12
	VPXORD Z13, Z13, Z13
twelve: // independent sums
	VDPBF16PS_Z12_Z13_Z0
	VDPBF16PS_Z12_Z13_Z1
	VDPBF16PS_Z12_Z13_Z2
	VDPBF16PS_Z12_Z13_Z3
	VDPBF16PS_Z12_Z13_Z4
	VDPBF16PS_Z12_Z13_Z5
	VDPBF16PS_Z12_Z13_Z6
	VDPBF16PS_Z12_Z13_Z7
	VDPBF16PS_Z12_Z13_Z8
	VDPBF16PS_Z12_Z13_Z9
	VDPBF16PS_Z12_Z13_Z10
	VDPBF16PS_Z12_Z13_Z11
	DECQ CX
	JNZ  twelve
	VZEROUPPER
	RET
