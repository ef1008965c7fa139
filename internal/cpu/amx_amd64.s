#include "textflag.h"
#include "go_asm.h"
#include "encoded_amd64.h"

// Matrix products with AMX, see args_amd64.go and amx_amd64.go. R15 is the address of the arguments. A tile
// register holds 16 rows of 64 bytes. TDPBF16PS_T6_T4_T0 adds to T0 the products of T4 with T6:
//
//	T0  [16 weight rows, 16 tokens] of float32
//	T4  [16 weight rows, 32 k] of bfloat16
//	T6  [16 pairs of k, 16 tokens, 2] of bfloat16
//
// Every function configures the tiles and releases them, because Go may move a goroutine to another processor
// between two functions.

// Weights that come from memory are prefetched into the first-level cache eight steps before they are read.
// The processor's own prefetching cannot follow sixteen rows at once.
//
// Prefetches a cache line of each of four rows, BX bytes apart, the first at FROM. R12 is 3·BX. R13 is set to
// the address of the next four rows.
#define FETCH4(FROM) \
	PREFETCHT0 (FROM)        \
	PREFETCHT0 (FROM)(BX*1)  \
	PREFETCHT0 (FROM)(BX*2)  \
	PREFETCHT0 (FROM)(R12*1) \
	LEAQ       (FROM)(BX*4), R13

// Prefetches a cache line of each of sixteen rows from R11 on, and sets R11 to the address of the next step.
#define FETCH \
	FETCH4(R11) \
	FETCH4(R13) \
	FETCH4(R13) \
	FETCH4(R13) \
	ADDQ R9, R11

// FETCHED sets R11 and R12 for the first step. In AHEAD, the last eight steps prefetch the beginning of the
// rows that are read next, at R14.
#define FETCHED \
	LEAQ (BX)(BX*2), R12 \
	LEAQ (SI)(R9*8), R11

#define AHEAD \
	CMPQ CX, $8   \
	JNE  2(PC)    \
	MOVQ R14, R11 \
	FETCH

// 16 rows by 32 or 64 tokens. The second group of 32 tokens begins R10 bytes after the first.
#define STEP32 \
	LEAQ 1024(DX), R13  \
	TILELOADD_SI_BX_T4  \
	TILELOADD_DX_R8_T5  \
	TDPBF16PS_T5_T4_T0  \
	TILELOADD_R13_R8_T6 \
	TDPBF16PS_T6_T4_T1

#define STEP64 \
	STEP32                    \
	LEAQ (DX)(R10*1), R13     \
	TILELOADD_R13_R8_T7       \
	TDPBF16PS_T7_T4_T2        \
	LEAQ 1024(DX)(R10*1), R13 \
	TILELOADD_R13_R8_T5       \
	TDPBF16PS_T5_T4_T3

#define SEVERAL(STEP) \
	MOVQ args+0(FP), R15              \
	MOVQ tileRowsArgs_config(R15), AX \
	MOVQ tileRowsArgs_sums(R15), DI   \
	MOVQ tileRowsArgs_w(R15), SI      \
	MOVQ tileRowsArgs_stride(R15), BX \
	MOVQ tileRowsArgs_next(R15), R9   \
	MOVQ tileRowsArgs_x(R15), DX      \
	MOVQ tileRowsArgs_group(R15), R10 \
	MOVQ tileRowsArgs_steps(R15), CX  \
	MOVQ tileRowsArgs_then(R15), R14  \
	MOVQ $64, R8                      \
	LEAQ 1024(DI), R11                \
	LEAQ 2048(DI), R12                \
	LEAQ 3072(DI), R13                \
	LDTILECFG_AX                      \
	CMPB tileRowsArgs_fresh(R15), $0  \
	JNE  zero                         \
	TILELOADD_DI_R8_T0                \
	TILELOADD_R11_R8_T1               \
	TILELOADD_R12_R8_T2               \
	TILELOADD_R13_R8_T3               \
	JMP  begin                        \
zero:                                     \
	TILEZERO_T0                       \
	TILEZERO_T1                       \
	TILEZERO_T2                       \
	TILEZERO_T3                       \
begin:                                    \
	FETCHED                           \
step:                                     \
	AHEAD                             \
	STEP                              \
	ADDQ R9, SI                       \
	ADDQ $2048, DX                    \
	DECQ CX                           \
	JNZ  step                         \
	LEAQ 1024(DI), R11                \
	LEAQ 2048(DI), R12                \
	LEAQ 3072(DI), R13                \
	TILESTORED_T0_DI_R8               \
	TILESTORED_T1_R11_R8              \
	TILESTORED_T2_R12_R8              \
	TILESTORED_T3_R13_R8              \
	TILERELEASE                       \
	RET

// 32 rows in T4 and T5 by 32 tokens in T6 and T7. The sums are T0 … T3.
#define FOUR \
	TDPBF16PS_T6_T4_T0 \
	TDPBF16PS_T7_T4_T1 \
	TDPBF16PS_T6_T5_T2 \
	TDPBF16PS_T7_T5_T3

// Weights come from the second-level cache and must not displace the tokens in the first-level cache, hence
// TILELOADDT1. Meanwhile it prefetches the sums of the next band of rows (R9), the next group of tokens
// (R10), and two rows of the weights that are packed next (R11).
#define STEP \
	LEAQ       1024(SI), R13 \
	LEAQ       1024(DX), R14 \
	TILELOADDT1_SI_BX_T4     \
	TILELOADD_DX_BX_T6       \
	TDPBF16PS_T6_T4_T0       \
	PREFETCHT0 0(R9)         \
	PREFETCHT0 64(R9)        \
	PREFETCHT1 0(R10)        \
	PREFETCHT1 64(R10)       \
	TILELOADD_R14_BX_T7      \
	TDPBF16PS_T7_T4_T1       \
	PREFETCHT0 128(R9)       \
	PREFETCHT0 192(R9)       \
	PREFETCHT1 128(R10)      \
	PREFETCHT1 192(R10)      \
	TILELOADDT1_R13_BX_T5    \
	TDPBF16PS_T6_T5_T2       \
	PREFETCHT1 (R11)         \
	PREFETCHT1 (R11)(R8*1)   \
	TDPBF16PS_T7_T5_T3       \
	ADDQ       $2048, SI     \
	ADDQ       $2048, DX     \
	ADDQ       $256, R9      \
	ADDQ       $256, R10     \
	ADDQ       $64, R11

// The same with weights in two parts: the second part is multiplied by the same tokens.
#define STEPSPLIT \
	STEP                  \
	LEAQ 1024(SI), R13    \
	TILELOADDT1_SI_BX_T4  \
	TDPBF16PS_T6_T4_T0    \
	TDPBF16PS_T7_T4_T1    \
	TILELOADDT1_R13_BX_T5 \
	TDPBF16PS_T6_T5_T2    \
	TDPBF16PS_T7_T5_T3    \
	ADDQ $2048, SI

// Sets R13, R14 and DX to the addresses of the other three tiles of sums.
#define SUMS \
	LEAQ 1024(DI), R13 \
	LEAQ 2048(DI), R14 \
	LEAQ 3072(DI), DX

#define BLOCKS(STEP) \
	MOVQ args+0(FP), R15                    \
	MOVQ tileBandsArgs_config(R15), AX      \
	MOVQ tileBandsArgs_sums(R15), DI        \
	MOVQ tileBandsArgs_w(R15), SI           \
	MOVQ tileBandsArgs_bands(R15), R12      \
	MOVQ tileBandsArgs_nextX(R15), R10      \
	MOVQ tileBandsArgs_nextW(R15), R11      \
	MOVQ tileBandsArgs_nextStride(R15), R8  \
	MOVQ $64, BX                            \
	LDTILECFG_AX                            \
band:                                           \
	MOVQ tileBandsArgs_steps(R15), CX       \
	SUMS                                    \
	LEAQ 4096(DI), R9                       \
	CMPB tileBandsArgs_fresh(R15), $0       \
	JNE  zero                               \
	TILELOADD_DI_BX_T0                      \
	TILELOADD_R13_BX_T1                     \
	TILELOADD_R14_BX_T2                     \
	TILELOADD_DX_BX_T3                      \
	JMP  tokens                             \
zero:                                           \
	TILEZERO_T0                             \
	TILEZERO_T1                             \
	TILEZERO_T2                             \
	TILEZERO_T3                             \
tokens:                                         \
	MOVQ tileBandsArgs_x(R15), DX           \
	PCALIGN $32                             \
step:                                           \
	STEP                                    \
	DECQ CX                                 \
	JNZ  step                               \
	SUMS                                    \
	TILESTORED_T0_DI_BX                     \
	TILESTORED_T1_R13_BX                    \
	TILESTORED_T2_R14_BX                    \
	TILESTORED_T3_DX_BX                     \
	ADDQ $4096, DI                          \
	MOVQ tileBandsArgs_steps(R15), CX       \
	SHLQ $6, CX                             \
	SUBQ CX, R11                            \
	LEAQ (R11)(R8*2), R11                   \
	DECQ R12                                \
	JNZ  band                               \
	TILERELEASE                             \
	RET

// Transposes the 16 × 16 matrix of 32-bit numbers in Z0 … Z15. Z16 … Z31 are overwritten.
#define TRANSPOSE \
	VPUNPCKLDQ Z1, Z0, Z16          \
	VPUNPCKHDQ Z1, Z0, Z17          \
	VPUNPCKLDQ Z3, Z2, Z18          \
	VPUNPCKHDQ Z3, Z2, Z19          \
	VPUNPCKLDQ Z5, Z4, Z20          \
	VPUNPCKHDQ Z5, Z4, Z21          \
	VPUNPCKLDQ Z7, Z6, Z22          \
	VPUNPCKHDQ Z7, Z6, Z23          \
	VPUNPCKLDQ Z9, Z8, Z24          \
	VPUNPCKHDQ Z9, Z8, Z25          \
	VPUNPCKLDQ Z11, Z10, Z26        \
	VPUNPCKHDQ Z11, Z10, Z27        \
	VPUNPCKLDQ Z13, Z12, Z28        \
	VPUNPCKHDQ Z13, Z12, Z29        \
	VPUNPCKLDQ Z15, Z14, Z30        \
	VPUNPCKHDQ Z15, Z14, Z31        \
	VPUNPCKLQDQ Z18, Z16, Z0        \
	VPUNPCKHQDQ Z18, Z16, Z1        \
	VPUNPCKLQDQ Z19, Z17, Z2        \
	VPUNPCKHQDQ Z19, Z17, Z3        \
	VPUNPCKLQDQ Z22, Z20, Z4        \
	VPUNPCKHQDQ Z22, Z20, Z5        \
	VPUNPCKLQDQ Z23, Z21, Z6        \
	VPUNPCKHQDQ Z23, Z21, Z7        \
	VPUNPCKLQDQ Z26, Z24, Z8        \
	VPUNPCKHQDQ Z26, Z24, Z9        \
	VPUNPCKLQDQ Z27, Z25, Z10       \
	VPUNPCKHQDQ Z27, Z25, Z11       \
	VPUNPCKLQDQ Z30, Z28, Z12       \
	VPUNPCKHQDQ Z30, Z28, Z13       \
	VPUNPCKLQDQ Z31, Z29, Z14       \
	VPUNPCKHQDQ Z31, Z29, Z15       \
	VSHUFI32X4 $0x88, Z4, Z0, Z16   \
	VSHUFI32X4 $0xdd, Z4, Z0, Z20   \
	VSHUFI32X4 $0x88, Z5, Z1, Z17   \
	VSHUFI32X4 $0xdd, Z5, Z1, Z21   \
	VSHUFI32X4 $0x88, Z6, Z2, Z18   \
	VSHUFI32X4 $0xdd, Z6, Z2, Z22   \
	VSHUFI32X4 $0x88, Z7, Z3, Z19   \
	VSHUFI32X4 $0xdd, Z7, Z3, Z23   \
	VSHUFI32X4 $0x88, Z12, Z8, Z24  \
	VSHUFI32X4 $0xdd, Z12, Z8, Z28  \
	VSHUFI32X4 $0x88, Z13, Z9, Z25  \
	VSHUFI32X4 $0xdd, Z13, Z9, Z29  \
	VSHUFI32X4 $0x88, Z14, Z10, Z26 \
	VSHUFI32X4 $0xdd, Z14, Z10, Z30 \
	VSHUFI32X4 $0x88, Z15, Z11, Z27 \
	VSHUFI32X4 $0xdd, Z15, Z11, Z31 \
	VSHUFI32X4 $0x88, Z24, Z16, Z0  \
	VSHUFI32X4 $0xdd, Z24, Z16, Z8  \
	VSHUFI32X4 $0x88, Z25, Z17, Z1  \
	VSHUFI32X4 $0xdd, Z25, Z17, Z9  \
	VSHUFI32X4 $0x88, Z26, Z18, Z2  \
	VSHUFI32X4 $0xdd, Z26, Z18, Z10 \
	VSHUFI32X4 $0x88, Z27, Z19, Z3  \
	VSHUFI32X4 $0xdd, Z27, Z19, Z11 \
	VSHUFI32X4 $0x88, Z28, Z20, Z4  \
	VSHUFI32X4 $0xdd, Z28, Z20, Z12 \
	VSHUFI32X4 $0x88, Z29, Z21, Z5  \
	VSHUFI32X4 $0xdd, Z29, Z21, Z13 \
	VSHUFI32X4 $0x88, Z30, Z22, Z6  \
	VSHUFI32X4 $0xdd, Z30, Z22, Z14 \
	VSHUFI32X4 $0x88, Z31, Z23, Z7  \
	VSHUFI32X4 $0xdd, Z31, Z23, Z15

#define LOADTILE \
	VMOVUPS 0(SI), Z0    \
	VMOVUPS 64(SI), Z1   \
	VMOVUPS 128(SI), Z2  \
	VMOVUPS 192(SI), Z3  \
	VMOVUPS 256(SI), Z4  \
	VMOVUPS 320(SI), Z5  \
	VMOVUPS 384(SI), Z6  \
	VMOVUPS 448(SI), Z7  \
	VMOVUPS 512(SI), Z8  \
	VMOVUPS 576(SI), Z9  \
	VMOVUPS 640(SI), Z10 \
	VMOVUPS 704(SI), Z11 \
	VMOVUPS 768(SI), Z12 \
	VMOVUPS 832(SI), Z13 \
	VMOVUPS 896(SI), Z14 \
	VMOVUPS 960(SI), Z15

// STORE writes the sums of one token, ADD adds them to what is there. K1 masks the rows.
#define STORE(z) \
	VMOVUPS z, K1, (DI) \
	ADDQ    BX, DI      \
	DECQ    CX          \
	JZ      done

// STREAM writes past the caches, which have no room for so much. These stores are finished before other
// workers read them: the worker takes the lock of its pool first, and a locked instruction waits for them.
#define STREAM(z) \
	VMOVNTPS z, (DI) \
	ADDQ     BX, DI  \
	DECQ     CX      \
	JZ       done

#define ADD(z) \
	VMOVUPS.Z (DI), K1, Z16 \
	VADDPS  z, Z16, z       \
	VMOVUPS z, K1, (DI)     \
	ADDQ    BX, DI          \
	DECQ    CX              \
	JZ      done

#define TILEOUT(OUT) \
	MOVQ to+0(FP), DI      \
	MOVQ stride+8(FP), BX  \
	MOVQ sums+16(FP), SI   \
	MOVQ rows+24(FP), CX   \
	MOVQ $1, AX            \
	SHLQ CX, AX            \
	DECQ AX                \
	KMOVW AX, K1           \
	MOVQ tokens+32(FP), CX \
	LOADTILE               \
	TRANSPOSE              \
	OUT(Z0)                \
	OUT(Z1)                \
	OUT(Z2)                \
	OUT(Z3)                \
	OUT(Z4)                \
	OUT(Z5)                \
	OUT(Z6)                \
	OUT(Z7)                \
	OUT(Z8)                \
	OUT(Z9)                \
	OUT(Z10)               \
	OUT(Z11)               \
	OUT(Z12)               \
	OUT(Z13)               \
	OUT(Z14)               \
	OUT(Z15)               \
done:                          \
	VZEROUPPER             \
	RET

// func dot16x16TilesBF16(args *tileRowsArgs)
TEXT ·dot16x16TilesBF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ tileRowsArgs_config(R15), AX
	MOVQ tileRowsArgs_sums(R15), DI
	MOVQ tileRowsArgs_w(R15), SI
	MOVQ tileRowsArgs_stride(R15), BX
	MOVQ tileRowsArgs_next(R15), R9
	MOVQ tileRowsArgs_x(R15), DX
	MOVQ tileRowsArgs_width(R15), R8
	MOVQ tileRowsArgs_steps(R15), CX
	MOVQ tileRowsArgs_then(R15), R14
	MOVQ R8, R10
	SHLQ $4, R10
	LDTILECFG_AX
	CMPB tileRowsArgs_fresh(R15), $0
	JNE  zero
	TILELOADD_DI_R8_T0
	JMP  begin
zero:
	TILEZERO_T0
begin:
	FETCHED
step:
	AHEAD
	TILELOADD_SI_BX_T4
	TILELOADD_DX_R8_T6
	TDPBF16PS_T6_T4_T0
	ADDQ R9, SI
	ADDQ R10, DX
	DECQ CX
	JNZ  step
	TILESTORED_T0_DI_R8
	TILERELEASE
	RET

// func dot16x32TilesBF16(args *tileRowsArgs)
TEXT ·dot16x32TilesBF16(SB), NOSPLIT, $0-8
	SEVERAL(STEP32)

// func dot16x64TilesBF16(args *tileRowsArgs)
TEXT ·dot16x64TilesBF16(SB), NOSPLIT, $0-8
	SEVERAL(STEP64)

// func dot32x16TilesF16(args *tileRowsArgs)
TEXT ·dot32x16TilesF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ tileRowsArgs_config(R15), AX
	MOVQ tileRowsArgs_sums(R15), DI
	MOVQ tileRowsArgs_w(R15), SI
	MOVQ tileRowsArgs_second(R15), R12
	MOVQ tileRowsArgs_x(R15), DX
	MOVQ tileRowsArgs_width(R15), R8
	MOVQ tileRowsArgs_steps(R15), CX
	MOVQ $64, BX
	MOVQ R8, R10
	SHLQ $4, R10
	LEAQ (DI)(R10*1), R11
	ADDQ SI, R12
	LDTILECFG_AX
	CMPB tileRowsArgs_fresh(R15), $0
	JNE  zero
	TILELOADD_DI_R8_T0
	TILELOADD_R11_R8_T1
	JMP  step
zero:
	TILEZERO_T0
	TILEZERO_T1
step:
	LEAQ 1024(SI), R9
	LEAQ 1024(R12), R13
	TILELOADD_SI_BX_T4
	TILELOADD_DX_R8_T6
	TDPBF16PS_T6_T4_T0
	TILELOADD_R12_BX_T5
	TDPBF16PS_T6_T5_T1
	TILELOADD_R9_BX_T4
	TDPBF16PS_T6_T4_T0
	TILELOADD_R13_BX_T5
	TDPBF16PS_T6_T5_T1
	ADDQ $2048, SI
	ADDQ $2048, R12
	ADDQ R10, DX
	DECQ CX
	JNZ  step
	TILESTORED_T0_DI_R8
	TILESTORED_T1_R11_R8
	TILERELEASE
	RET

// func dot32x32TilesBF16(args *tileBandsArgs)
TEXT ·dot32x32TilesBF16(SB), NOSPLIT, $0-8
	BLOCKS(STEP)

// func dot32x32TilesF16(args *tileBandsArgs)
TEXT ·dot32x32TilesF16(SB), NOSPLIT, $0-8
	BLOCKS(STEPSPLIT)

// func amxCompute(config *byte, n int)
TEXT ·amxCompute(SB), NOSPLIT, $0-16
	MOVQ config+0(FP), AX
	MOVQ n+8(FP), CX
	LDTILECFG_AX
	TILEZERO_T0
	TILEZERO_T1
	TILEZERO_T2
	TILEZERO_T3
	TILEZERO_T4
	TILEZERO_T5
	TILEZERO_T6
	TILEZERO_T7
four:
	FOUR
	DECQ CX
	JNZ  four
	TILERELEASE
	RET

// ---- To the order of tiles, and back. These functions use AVX-512 only.

// func packRowsBF16(args *packArgs)
TEXT ·packRowsBF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ packArgs_to(R15), DI
	MOVQ packArgs_from(R15), SI
	MOVQ packArgs_stride(R15), BX
	MOVQ packArgs_steps(R15), CX
	MOVQ packArgs_next(R15), R9
step: // tile by tile: rows of different tiles compete for the same places of the first-level cache
	MOVQ packArgs_rows(R15), R8
	MOVQ SI, R10
	MOVQ DI, R11
row:
	VMOVDQU64 (R10), Z0
	VMOVDQU64 Z0, (R11)
	ADDQ BX, R10
	ADDQ $64, R11
	DECQ R8
	JNZ  row
	ADDQ $64, SI
	ADDQ R9, DI
	DECQ CX
	JNZ  step
	VZEROUPPER
	RET

// The indices of words 1, 3, 5, … 31 of one register, then of another.
DATA odd<>+0(SB)/8, $0x0007000500030001
DATA odd<>+8(SB)/8, $0x000f000d000b0009
DATA odd<>+16(SB)/8, $0x0017001500130011
DATA odd<>+24(SB)/8, $0x001f001d001b0019
DATA odd<>+32(SB)/8, $0x0027002500230021
DATA odd<>+40(SB)/8, $0x002f002d002b0029
DATA odd<>+48(SB)/8, $0x0037003500330031
DATA odd<>+56(SB)/8, $0x003f003d003b0039
GLOBL odd<>(SB), RODATA|NOPTR, $64

// func packRowsF16(args *packArgs)
TEXT ·packRowsF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ packArgs_to(R15), DI
	MOVQ packArgs_from(R15), SI
	MOVQ packArgs_stride(R15), BX
	MOVQ packArgs_steps(R15), CX
	MOVQ packArgs_next(R15), R9
	MOVQ packArgs_second(R15), R12
	VMOVDQU64 odd<>(SB), Z31
	MOVL $0xffff0000, AX
	VPBROADCASTD AX, Z30
step:
	MOVQ packArgs_rows(R15), R8
	MOVQ SI, R10
	MOVQ DI, R11
row:
	PREFETCHT0 256(R10)
	VCVTPH2PS (R10), Z0
	VCVTPH2PS 32(R10), Z1
	VPANDD    Z30, Z0, Z2
	VPANDD    Z30, Z1, Z3
	VSUBPS    Z2, Z0, Z4
	VSUBPS    Z3, Z1, Z5
	VPERMT2W  Z1, Z31, Z0
	VPERMT2W  Z5, Z31, Z4
	VMOVDQU64 Z0, (R11)
	VMOVDQU64 Z4, (R11)(R12*1)
	ADDQ BX, R10
	ADDQ $64, R11
	DECQ R8
	JNZ  row
	ADDQ $64, SI
	ADDQ R9, DI
	DECQ CX
	JNZ  step
	VZEROUPPER
	RET

// func narrowBF16(to *byte, stride int, x *float32, n int)
TEXT ·narrowBF16(SB), NOSPLIT, $0-32
	MOVQ to+0(FP), DI
	MOVQ stride+8(FP), BX
	MOVQ x+16(FP), SI
	MOVQ n+24(FP), CX
	VMOVDQU64 odd<>(SB), Z31
step:
	VMOVDQU64 (SI), Z0
	VPERMT2W  64(SI), Z31, Z0
	VMOVDQU64 Z0, (DI)
	ADDQ $128, SI
	ADDQ BX, DI
	SUBQ $32, CX
	JNZ  step
	VZEROUPPER
	RET

// Loads 32 values of the next token to z as bfloat16, or zeros if there is no next token.
#define TOKEN(z) \
	VPXORD    z, z, z         \
	DECQ      R9              \
	JLT       3(PC)           \
	VMOVDQU64 (R10), z        \
	VPERMT2W  64(R10), Z31, z \
	ADDQ      BX, R10

// Stores a pair of k of all tokens.
#define PAIR(z) \
	VMOVDQU64 z, (R11) \
	ADDQ      R12, R11

// func packTokens(args *packArgs)
TEXT ·packTokens(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ packArgs_to(R15), DI
	MOVQ packArgs_from(R15), SI
	MOVQ packArgs_stride(R15), BX
	MOVQ packArgs_steps(R15), CX
	MOVQ packArgs_next(R15), R8
	MOVQ packArgs_pair(R15), R12
step:
	MOVQ packArgs_rows(R15), R9
	MOVQ SI, R10
	VMOVDQU64 odd<>(SB), Z31
	TOKEN(Z0)
	TOKEN(Z1)
	TOKEN(Z2)
	TOKEN(Z3)
	TOKEN(Z4)
	TOKEN(Z5)
	TOKEN(Z6)
	TOKEN(Z7)
	TOKEN(Z8)
	TOKEN(Z9)
	TOKEN(Z10)
	TOKEN(Z11)
	TOKEN(Z12)
	TOKEN(Z13)
	TOKEN(Z14)
	TOKEN(Z15)
	TRANSPOSE
	MOVQ DI, R11
	PAIR(Z0)
	PAIR(Z1)
	PAIR(Z2)
	PAIR(Z3)
	PAIR(Z4)
	PAIR(Z5)
	PAIR(Z6)
	PAIR(Z7)
	PAIR(Z8)
	PAIR(Z9)
	PAIR(Z10)
	PAIR(Z11)
	PAIR(Z12)
	PAIR(Z13)
	PAIR(Z14)
	PAIR(Z15)
	ADDQ $128, SI
	ADDQ R8, DI
	DECQ CX
	JNZ  step
	VZEROUPPER
	RET

// func packPairs(to *byte, toStride int, x *float32, stride, pairs, n int) (finite bool)
TEXT ·packPairs(SB), NOSPLIT, $0-49
	MOVQ to+0(FP), DI
	MOVQ toStride+8(FP), R8
	MOVQ x+16(FP), SI
	MOVQ stride+24(FP), BX
	MOVQ pairs+32(FP), CX
	MOVL $0x7f800000, AX
	VPBROADCASTD AX, Z31 // the exponent of NaN and infinity
	MOVL $0xffff0000, AX
	VPBROADCASTD AX, Z30
	KXORW K0, K0, K0
pair:
	MOVQ n+40(FP), DX
	MOVQ DI, R9
	MOVQ SI, R10
sixteen:
	VMOVDQU64 (R10), Z0
	VMOVDQU64 (R10)(BX*1), Z1
	VPANDD    Z31, Z0, Z2
	VPANDD    Z31, Z1, Z3
	VPCMPEQD  Z31, Z2, K1
	VPCMPEQD  Z31, Z3, K2
	KORW      K1, K0, K0
	KORW      K2, K0, K0
	VPSRLD    $16, Z0, Z0
	VPANDD    Z30, Z1, Z1
	VPORD     Z1, Z0, Z0
	VMOVDQU64 Z0, (R9)
	ADDQ $64, R9
	ADDQ $64, R10
	SUBQ $16, DX
	JNZ  sixteen
	ADDQ R8, DI
	LEAQ (SI)(BX*2), SI
	DECQ CX
	JNZ  pair
	KORTESTW K0, K0
	SETEQ finite+48(FP)
	VZEROUPPER
	RET

// func storeTile(to *float32, stride int, sums *float32, rows, tokens int)
TEXT ·storeTile(SB), NOSPLIT, $0-40
	TILEOUT(STORE)

// func streamTile(to *float32, stride int, sums *float32, rows, tokens int)
TEXT ·streamTile(SB), NOSPLIT, $0-40
	TILEOUT(STREAM)

// func addTile(to *float32, stride int, sums *float32, rows, tokens int)
TEXT ·addTile(SB), NOSPLIT, $0-40
	TILEOUT(ADD)
