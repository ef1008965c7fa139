#include "textflag.h"
#include "go_asm.h"
#include "encoded_amd64.h"

// Attention's products with AMX, see tileKVArgs. R15 is the address of the arguments. TDPBF16PS_T6_T4_T0 adds
// to T0 [rows, 16 columns] the products of T4 [rows, 32 k] with T6 [16 pairs of k, 16 columns, 2]. T6 has the
// order in which the KV cache keeps keys and values, see kvMatrix. The rows are the sum of two parts of
// bfloat16: a sum takes 32 products with the first part, then the same 32 with the second part.

// Prefetches four pairs of rows at R12, R11 bytes apart.
#define FETCH4 \
	PREFETCHT0 (R12)    \
	PREFETCHT0 64(R12)  \
	ADDQ       R11, R12 \
	PREFETCHT0 (R12)    \
	PREFETCHT0 64(R12)  \
	ADDQ       R11, R12 \
	PREFETCHT0 (R12)    \
	PREFETCHT0 64(R12)  \
	ADDQ       R11, R12 \
	PREFETCHT0 (R12)    \
	PREFETCHT0 64(R12)  \
	ADDQ       R11, R12

// func products32AMXBF16(args *tileKVArgs)
TEXT ·products32AMXBF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ tileKVArgs_config(R15), AX
	MOVQ tileKVArgs_c(R15), DI
	MOVQ tileKVArgs_cStride(R15), R13
	MOVQ tileKVArgs_aStride(R15), BX
	MOVQ tileKVArgs_bStride(R15), R11
	MOVQ tileKVArgs_b(R15), R14
	LDTILECFG_AX
columns:
	MOVQ tileKVArgs_high(R15), SI
	MOVQ tileKVArgs_low(R15), R9
	MOVQ BX, R8
	SHLQ $4, R8
	LEAQ (R9)(R8*1), R10
	LEAQ (SI)(R8*1), R8
	MOVQ R14, DX
	MOVQ tileKVArgs_steps(R15), CX
	MOVQ R11, AX
	SHLQ $4, AX
	TILEZERO_T0
	TILEZERO_T1
	TILEZERO_T2
	TILEZERO_T3
step:
	LEAQ 64(DX), R12
	TILELOADD_DX_R11_T6
	TILELOADD_SI_BX_T4
	TDPBF16PS_T6_T4_T0
	TILELOADD_R12_R11_T7
	TDPBF16PS_T7_T4_T1
	TILELOADD_R8_BX_T5
	TDPBF16PS_T6_T5_T2
	TDPBF16PS_T7_T5_T3
	TILELOADD_R9_BX_T4
	TDPBF16PS_T6_T4_T0
	TDPBF16PS_T7_T4_T1
	TILELOADD_R10_BX_T5
	TDPBF16PS_T6_T5_T2
	TDPBF16PS_T7_T5_T3
	MOVQ tileKVArgs_ahead(R15), R12
	TESTQ R12, R12
	JZ   near
	ADDQ DX, R12
	FETCH4
	FETCH4
	FETCH4
	FETCH4
near:
	ADDQ $64, SI
	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ AX, DX
	DECQ CX
	JNZ  step
	LEAQ 64(DI), R8
	TILESTORED_T0_DI_R13
	TILESTORED_T1_R8_R13
	MOVQ R13, R9
	SHLQ $4, R9
	LEAQ (DI)(R9*1), R9
	LEAQ 64(R9), R10
	TILESTORED_T2_R9_R13
	TILESTORED_T3_R10_R13
	ADDQ $128, DI
	ADDQ $128, R14
	MOVQ DI, CX
	SUBQ tileKVArgs_c(R15), CX
	SHRQ $2, CX
	CMPQ CX, tileKVArgs_cols(R15)
	JLT  columns
	TILERELEASE
	RET

// func products16AMXBF16(args *tileKVArgs)
TEXT ·products16AMXBF16(SB), NOSPLIT, $0-8
	MOVQ args+0(FP), R15
	MOVQ tileKVArgs_config(R15), AX
	MOVQ tileKVArgs_c(R15), DI
	MOVQ tileKVArgs_cStride(R15), R13
	MOVQ tileKVArgs_aStride(R15), BX
	MOVQ tileKVArgs_bStride(R15), R11
	MOVQ tileKVArgs_b(R15), R14
	LDTILECFG_AX
columns:
	MOVQ tileKVArgs_high(R15), SI
	MOVQ tileKVArgs_low(R15), R9
	MOVQ R14, DX
	MOVQ tileKVArgs_steps(R15), CX
	MOVQ R11, AX
	SHLQ $4, AX
	TILEZERO_T0
	TILEZERO_T1
step:
	LEAQ 64(DX), R12
	TILELOADD_DX_R11_T6
	TILELOADD_SI_BX_T4
	TDPBF16PS_T6_T4_T0
	TILELOADD_R12_R11_T7
	TDPBF16PS_T7_T4_T1
	TILELOADD_R9_BX_T5
	TDPBF16PS_T6_T5_T0
	TDPBF16PS_T7_T5_T1
	MOVQ tileKVArgs_ahead(R15), R12
	TESTQ R12, R12
	JZ   near
	ADDQ DX, R12
	FETCH4
	FETCH4
	FETCH4
	FETCH4
near:
	ADDQ $64, SI
	ADDQ $64, R9
	ADDQ AX, DX
	DECQ CX
	JNZ  step
	LEAQ 64(DI), R8
	TILESTORED_T0_DI_R13
	TILESTORED_T1_R8_R13
	ADDQ $128, DI
	ADDQ $128, R14
	MOVQ DI, CX
	SUBQ tileKVArgs_c(R15), CX
	SHRQ $2, CX
	CMPQ CX, tileKVArgs_cols(R15)
	JLT  columns
	TILERELEASE
	RET

// func splitBF16(high, low *byte, x *float32, n int)
TEXT ·splitBF16(SB), NOSPLIT, $0-32
	MOVQ high+0(FP), DI
	MOVQ low+8(FP), R8
	MOVQ x+16(FP), SI
	MOVQ n+24(FP), CX
	VPTERNLOGD $255, Z31, Z31, Z31
	VPSRLD     $31, Z31, Z30
	VPSLLD     $15, Z30, Z30       // half of a bfloat16's last bit
	VPSLLD     $16, Z31, Z31       // the upper half
	VMOVDQU64  upperWords<>(SB), Z29
thirtytwo:
	VMOVUPS  0(SI), Z0
	VMOVUPS  64(SI), Z1
	VPADDD   Z30, Z0, Z2
	VPADDD   Z30, Z1, Z3
	VPANDD   Z31, Z2, Z4
	VPANDD   Z31, Z3, Z5
	VPERMT2W Z3, Z29, Z2
	VSUBPS   Z4, Z0, Z0
	VSUBPS   Z5, Z1, Z1
	VPADDD   Z30, Z0, Z0
	VPADDD   Z30, Z1, Z1
	VPERMT2W Z1, Z29, Z0
	VMOVDQU64 Z2, (DI)
	VMOVDQU64 Z0, (R8)
	ADDQ     $64, DI
	ADDQ     $64, R8
	ADDQ     $128, SI
	SUBQ     $32, CX
	JNZ      thirtytwo
	VZEROUPPER
	RET

// The indices of the upper halves of two vectors' elements, for VPERMT2W.
DATA upperWords<>+0(SB)/8, $0x0007000500030001
DATA upperWords<>+8(SB)/8, $0x000f000d000b0009
DATA upperWords<>+16(SB)/8, $0x0017001500130011
DATA upperWords<>+24(SB)/8, $0x001f001d001b0019
DATA upperWords<>+32(SB)/8, $0x0027002500230021
DATA upperWords<>+40(SB)/8, $0x002f002d002b0029
DATA upperWords<>+48(SB)/8, $0x0037003500330031
DATA upperWords<>+56(SB)/8, $0x003f003d003b0039
GLOBL upperWords<>(SB), RODATA|NOPTR, $64
