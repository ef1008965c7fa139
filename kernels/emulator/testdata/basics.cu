// Kernels whose results the emulator must compute correctly.
#include "emulator/testdata/args.h"
#include "gpu.h"
using namespace gpu;

#define TEST_KERNEL(name) extern "C" __global__ void name(KERNEL_ARGS(TestArgs) args)

// One warp. out[which·32 + lane] is the result of each kind of shuffle or vote.
TEST_KERNEL(shuffles)
{
	const unsigned lane = threadIdx.x % 32, v = args.in[lane], half = lane < 16 ? 0x0000ffff : 0xffff0000;
	args.out[lane] = __shfl_sync(~0u, v, 5);
	args.out[32 + lane] = __shfl_sync(~0u, v, 5, 8);
	args.out[64 + lane] = __shfl_xor_sync(~0u, v, 3);
	args.out[96 + lane] = __shfl_down_sync(~0u, v, 3, 16);
	args.out[128 + lane] = __shfl_up_sync(~0u, v, 3, 16);
	args.out[160 + lane] = __shfl_sync(half, v, (int)lane ^ 1);
	args.out[192 + lane] = __ballot_sync(~0u, v % 3 == 0);
	args.out[224 + lane] = (unsigned)(__any_sync(~0u, v == 7) * 4 + __all_sync(~0u, v > 7) * 2 +
	                                  __all_sync(half, v != 100 + 31));
	args.out[256 + lane] = (unsigned)(__shfl_sync(~0u, (uint64_t)v << 32 | lane, 31) >> 32);
	if (lane < 8)
		args.out[288 + lane] = __shfl_xor_sync(0xffu, v, 7);
	__syncwarp();
}

// One block for each tile. in: tiles of a [16, 16] and the transpose of b [8, 16], bfloat16, and d [16,
// 8], float. out: d + a·b of each. The layout is that of the PTX manual.
TEST_KERNEL(mma)
{
	const uint32_t *a = args.in + blockIdx.x * (128 + 64 + 128), *b = a + 128; // pairs
	const float *c = (const float *)(b + 64);
	const int g = (int)threadIdx.x / 4, t = (int)threadIdx.x % 4;
	uint32_t fa[4], fb[2];
	float d[4];
	for (int i = 0; i < 4; i++) {
		fa[i] = a[(i == 1 || i == 3 ? g + 8 : g) * 8 + t + (i >= 2 ? 4 : 0)];
		d[i] = c[(i < 2 ? g : g + 8) * 8 + t * 2 + (i & 1)];
	}
	for (int i = 0; i < 2; i++)
		fb[i] = b[g * 8 + t + i * 4];
	mma_bf16(d, fa, fb);
	for (int i = 0; i < 4; i++)
		((float *)args.out)[blockIdx.x * 128 + (i < 2 ? g : g + 8) * 8 + t * 2 + (i & 1)] = d[i];
}

// in: four matrices [8, 8] of 16 bits. out: each lane's registers from x4, x4_trans, x2, x2_trans.
TEST_KERNEL(load_matrices)
{
	uint4 *rows = (uint4 *)dynamic_shared(); // in reverse order, so that the pointers matter
	rows[31 - threadIdx.x] = ((const uint4 *)args.in)[threadIdx.x];
	__syncwarp();
	uint32_t r[4], *out = args.out + threadIdx.x * 12;
	const void *row = rows + 31 - threadIdx.x, *row2 = threadIdx.x < 16 ? row : nullptr;
	ldmatrix_x4(r, row);
	out[0] = r[0], out[1] = r[1], out[2] = r[2], out[3] = r[3];
	ldmatrix_x4_trans(r, row);
	out[4] = r[0], out[5] = r[1], out[6] = r[2], out[7] = r[3];
	uint32_t s[2];
	ldmatrix_x2(s, row2);
	out[8] = s[0], out[9] = s[1];
	ldmatrix_x2_trans(s, row2);
	out[10] = s[0], out[11] = s[1];
}

// Sums the columns of in [n/4/blockDim, blockDim, 4]. The rows pass through a ring of three, and row 1
// becomes zeros.
TEST_KERNEL(ring)
{
	uint4 *stages = (uint4 *)dynamic_shared();
	const unsigned rows = (unsigned)args.n / 4 / blockDim.x;
	uint4 sum = {};
	for (unsigned i = 0; i < rows + 2; i++) {
		if (i < rows)
			cp_async_16(stages + i % 3 * blockDim.x + threadIdx.x,
			            (const uint4 *)args.in + i * blockDim.x + threadIdx.x, i != 1);
		cp_async_commit();
		if (i < 2)
			continue;
		cp_async_wait<2>();
		const uint4 v = stages[(i - 2) % 3 * blockDim.x + threadIdx.x];
		sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
	}
	((uint4 *)args.out)[threadIdx.x] = sum;
}

// Each block sums a part of in. The last one to finish adds the sums in order.
TEST_KERNEL(last_block_merges)
{
	struct Shared {
		unsigned sums[64], last;
	};
	Shared &s = shared<Shared>();
	s.sums[threadIdx.x] = args.in[blockIdx.x * blockDim.x + threadIdx.x];
	__syncthreads();
	if (threadIdx.x < 2) { // two halves, so that more than the fencing thread has written
		unsigned sum = 0;
		for (unsigned i = 0; i < blockDim.x / 2; i++)
			sum += s.sums[threadIdx.x * blockDim.x / 2 + i];
		args.out[1 + blockIdx.x * 2 + threadIdx.x] = sum;
	}
	__syncthreads(); // MERGE barrier
	if (threadIdx.x == 0) {
		__threadfence(); // MERGE release
		s.last = atomicAdd(args.scratch, 1u) == gridDim.x - 1; // MERGE arrive
		__threadfence(); // MERGE acquire
	}
	__syncthreads(); // MERGE told
	if (!s.last)
		return;
	if (threadIdx.x == 0) {
		unsigned sum = 0;
		for (unsigned i = 0; i < gridDim.x * 2; i++)
			sum += args.out[1 + i];
		args.out[0] = sum;
		args.scratch[0] = 0;
	}
}

// Every atomic operation, by all threads.
TEST_KERNEL(atomics)
{
	const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
	atomicAdd(args.scratch, i);
	atomicMax(args.scratch + 1, i);
	atomicMin((int *)args.scratch + 2, -(int)i);
	atomicInc(args.scratch + 3, 99u);
	atomicCAS(args.scratch + 4, i, i + 1);
	atomicExch(args.scratch + 5, 5u);
	__threadfence();
	__syncthreads();
	if (threadIdx.x != 0 || atomicAdd(args.scratch + 6, 1u) != gridDim.x - 1)
		return;
	__threadfence();
	for (int k = 0; k < 6; k++)
		args.out[k] = atomicAdd(args.scratch + k, 0u);
}

// in: floats. out: the results of the conversions.
TEST_KERNEL(conversions)
{
	const float x = ((const float *)args.in)[threadIdx.x];
	uint32_t *out = args.out + threadIdx.x * 4;
	out[0] = float_to_bf16(x);
	out[1] = pack_bf16(x, 1);
	out[2] = __float_as_uint(exp2_approx(x));
	out[3] =
		__float_as_uint(half_to_float((uint16_t)threadIdx.x * 1024 + 1)) ^ __float_as_uint(bf16_to_float(0));
}

TEST_KERNEL(prefetches)
{
	prefetch_l2(args.in + (blockIdx.x * blockDim.x + threadIdx.x) * 8, 32);
	if (blockIdx.x + threadIdx.x == 0)
		args.out[0] = 1;
}

#define BASIC_KERNELS(KERNEL) \
	KERNEL(shuffles)          \
	KERNEL(mma)               \
	KERNEL(load_matrices)     \
	KERNEL(ring)              \
	KERNEL(last_block_merges) \
	KERNEL(atomics)           \
	KERNEL(conversions)       \
	KERNEL(prefetches)
