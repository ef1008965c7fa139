// RMSNorm of a row by a block of RMS_NORM_THREADS. The order of operations is fixed, so that the kernel
// rms_norm and the matrix products that normalize their own input give the same bits.
#pragma once
#include "args.h"
#include "gpu.h"

namespace {
using namespace gpu;

enum { NORM_WARPS = RMS_NORM_THREADS / 32 };

// Elements 4i … 4i+3 of a row, zeros from cols on.
__device__ inline float4 load4(const float *row, int i, int cols)
{
	if (cols % 4 == 0)
		return reinterpret_cast<const float4 *>(row)[i];
	float v[4];
	for (int e = 0; e < 4; e++)
		v[e] = 4 * i + e < cols ? row[4 * i + e] : 0.0f;
	return make_float4(v[0], v[1], v[2], v[3]);
}

// Stores elements 4i … 4i+3 of a row as type, except those from cols on.
__device__ inline void store4(void *row, int type, int i, int cols, float4 v)
{
	if (cols % 4 == 0) {
		if (type == TYPE_F32)
			static_cast<float4 *>(row)[i] = v;
		else
			static_cast<uint2 *>(row)[i] = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
		return;
	}
	const float elements[4] = {v.x, v.y, v.z, v.w};
	for (int e = 0; e < 4 && 4 * i + e < cols; e++)
		if (type == TYPE_F32)
			static_cast<float *>(row)[4 * i + e] = elements[e];
		else
			static_cast<bf16_bits *>(row)[4 * i + e] = float_to_bf16(elements[e]);
}

// This warp's share of the sum of a row's squares. All lanes get it.
__device__ inline float warp_square_sum(const float *row, int cols)
{
	float sum = 0;
#pragma unroll 4
	for (int i = threadIdx.x; i < (cols + 3) / 4; i += RMS_NORM_THREADS) {
		float4 v = load4(row, i, cols);
		sum = fmaf(v.x, v.x, sum);
		sum = fmaf(v.y, v.y, sum);
		sum = fmaf(v.z, v.z, sum);
		sum = fmaf(v.w, v.w, sum);
	}
#pragma unroll
	for (int distance = 16; distance > 0; distance /= 2)
		sum += __shfl_xor_sync(~0u, sum, distance);
	return sum;
}

// 1/√(mean(x²) + eps) of a row from the shares of its warps.
__device__ inline float norm_scale(const float (&shares)[NORM_WARPS], int cols, float eps)
{
	float sum = 0;
	for (int warp = 0; warp < NORM_WARPS; warp++)
		sum += shares[warp];
	return 1.0f / sqrtf(sum / cols + eps);
}

// Elements 4i … 4i+3 of x·scale·norm.
__device__ inline float4 normed4(const float *row, const float *norm, float scale, int i, int cols)
{
	float4 v = load4(row, i, cols), n = load4(norm, i, cols);
	return make_float4(v.x * scale * n.x, v.y * scale * n.y, v.z * scale * n.z, v.w * scale * n.w);
}

} // namespace
