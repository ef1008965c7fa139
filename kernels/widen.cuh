#pragma once
#include "args.h"
#include "gpu.h"

// Element i of a tensor of TYPE_BF16, TYPE_F16 or TYPE_F32, as float32. All threads take the same
// branch, so it costs little.
static __device__ __forceinline__ float widen(const void *tensor, int64_t i, int type)
{
	if (type == TYPE_BF16)
		return gpu::bf16_to_float(((const uint16_t *)tensor)[i]);
	if (type == TYPE_F16)
		return gpu::half_to_float(((const uint16_t *)tensor)[i]);
	return ((const float *)tensor)[i];
}
