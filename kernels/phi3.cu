// All kernels in one translation unit, which is one module for the driver and one object for the emulator.
// nvcc and g++ both compile this file.
//
// A new kernel needs two lines here: its file and its name. No other file lists the kernels.
#include "argmax.cu"
#include "attention_decode.cu"
#include "attention_prefill.cu"
#include "copy_rows.cu"
#include "embed.cu"
#include "kv_append.cu"
#include "linear_batch.cu"
#include "linear_decode.cu"
#include "linear_decode_quantized.cu"
#include "linear_prefill.cu"
#include "reference_attention.cu"
#include "reference_linear.cu"
#include "rms_norm.cu"

#define PHI3_KERNELS(KERNEL)              \
	KERNEL(argmax)                        \
	KERNEL(attention_decode_128)          \
	KERNEL(attention_decode_256)          \
	KERNEL(attention_decode_64)           \
	KERNEL(attention_decode_80)           \
	KERNEL(attention_decode_96)           \
	KERNEL(attention_prefill_128)         \
	KERNEL(attention_prefill_256)         \
	KERNEL(attention_prefill_64)          \
	KERNEL(attention_prefill_80)          \
	KERNEL(attention_prefill_96)          \
	KERNEL(copy_rows)                     \
	KERNEL(embed)                         \
	KERNEL(gate_up_batch_bf16)            \
	KERNEL(gate_up_batch_f16)             \
	KERNEL(gate_up_batch_quantized)       \
	KERNEL(gate_up_decode_bf16)           \
	KERNEL(gate_up_decode_f16)            \
	KERNEL(gate_up_decode_quantized)      \
	KERNEL(gate_up_prefill_bf16)          \
	KERNEL(gate_up_prefill_f16)           \
	KERNEL(gate_up_prefill_quantized)     \
	KERNEL(kv_append)                     \
	KERNEL(linear_add_batch_bf16)         \
	KERNEL(linear_add_batch_f16)          \
	KERNEL(linear_add_batch_quantized)    \
	KERNEL(linear_add_decode_bf16)        \
	KERNEL(linear_add_decode_f16)         \
	KERNEL(linear_add_decode_quantized)   \
	KERNEL(linear_add_prefill_bf16)       \
	KERNEL(linear_add_prefill_f16)        \
	KERNEL(linear_add_prefill_quantized)  \
	KERNEL(linear_batch_bf16)             \
	KERNEL(linear_batch_f16)              \
	KERNEL(linear_batch_quantized)        \
	KERNEL(linear_decode_bf16)            \
	KERNEL(linear_decode_f16)             \
	KERNEL(linear_decode_quantized)       \
	KERNEL(linear_prefill_bf16)           \
	KERNEL(linear_prefill_f16)            \
	KERNEL(linear_prefill_quantized)      \
	KERNEL(norm_gate_up_decode_bf16)      \
	KERNEL(norm_gate_up_decode_f16)       \
	KERNEL(norm_gate_up_decode_quantized) \
	KERNEL(norm_linear_decode_bf16)       \
	KERNEL(norm_linear_decode_f16)        \
	KERNEL(norm_linear_decode_quantized)  \
	KERNEL(reference_attention)           \
	KERNEL(reference_gate_up)             \
	KERNEL(reference_linear)              \
	KERNEL(rms_norm)
