// Each kernel has one mistake. The report must name the line marked FAULT.

struct Words {
	uint32_t word[64];
};

// 64 words of shared memory, zeros.
static __device__ uint32_t *words()
{
	uint32_t *w = shared<Words>().word;
	w[threadIdx.x] = 0;
	__syncthreads();
	return w;
}

TEST_KERNEL(global_read_out_of_bounds)
{
	args.out[threadIdx.x] = args.in[threadIdx.x + 1]; // FAULT
}

TEST_KERNEL(global_write_out_of_bounds)
{
	args.out[threadIdx.x + blockIdx.x * 1000000000] = 0; // FAULT
}

TEST_KERNEL(shared_out_of_bounds)
{
	shared<Words>().word[threadIdx.x + 1] = 0; // FAULT
}

TEST_KERNEL(dynamic_shared_out_of_bounds)
{
	dynamic_shared()[threadIdx.x * 8 + 7] = 1; // FAULT
}

TEST_KERNEL(misaligned_load)
{
	*(uint4 *)args.out = *(const uint4 *)(args.in + 1); // FAULT
}

TEST_KERNEL(misaligned_copy)
{
	cp_async_16(dynamic_shared(), args.in + 1, true); // FAULT
}

TEST_KERNEL(misaligned_ldmatrix)
{
	uint32_t r[4];
	ldmatrix_x4(r, dynamic_shared() + threadIdx.x * 16 + 4); // FAULT
	args.out[threadIdx.x] = r[0];
}

TEST_KERNEL(unwritten_shared)
{
	uint32_t *w = shared<Words>().word;
	if (threadIdx.x < 63)
		w[threadIdx.x] = 0;
	__syncthreads();
	args.out[threadIdx.x] = w[63 - threadIdx.x]; // FAULT
}

TEST_KERNEL(unwritten_global)
{
	args.scratch[threadIdx.x] = args.out[threadIdx.x]; // FAULT
}

TEST_KERNEL(unwritten_ldmatrix)
{
	uint4 *rows = (uint4 *)dynamic_shared();
	if (threadIdx.x < 31)
		rows[threadIdx.x] = {};
	__syncthreads();
	uint32_t r[4];
	ldmatrix_x4(r, rows + threadIdx.x); // FAULT
	args.out[threadIdx.x] = r[0];
}

TEST_KERNEL(race_in_a_warp)
{
	uint32_t *w = words();
	w[threadIdx.x] = 1;
	args.out[threadIdx.x] = w[threadIdx.x ^ 1]; // FAULT
}

TEST_KERNEL(race_between_warps)
{
	uint32_t *w = words();
	w[threadIdx.x] = 1;
	__syncwarp();
	args.out[threadIdx.x] = w[threadIdx.x ^ 32]; // FAULT
}

TEST_KERNEL(race_write_after_read)
{
	uint32_t *w = words();
	args.out[threadIdx.x] = w[threadIdx.x ^ 32];
	w[threadIdx.x] = 1; // FAULT
}

TEST_KERNEL(race_same_value)
{
	shared<Words>().word[0] = 7; // FAULT
}

TEST_KERNEL(race_global_in_a_block)
{
	args.scratch[threadIdx.x] = 1;
	args.out[threadIdx.x] = args.scratch[threadIdx.x ^ 32]; // FAULT
}

TEST_KERNEL(race_between_blocks)
{
	if (threadIdx.x == 0)
		args.out[0] = blockIdx.x; // FAULT
}

TEST_KERNEL(race_with_an_atomic)
{
	if (threadIdx.x == 0)
		atomicAdd(args.scratch, 1u);
	else
		args.out[threadIdx.x] = args.scratch[0]; // FAULT
}

TEST_KERNEL(copy_not_waited_for)
{
	uint4 *rows = (uint4 *)dynamic_shared();
	cp_async_16(rows + threadIdx.x, (const uint4 *)args.in + threadIdx.x % 4, true);
	cp_async_commit();
	__syncthreads();
	args.out[threadIdx.x] = rows[threadIdx.x].x; // FAULT
}

TEST_KERNEL(copy_without_barrier)
{
	uint4 *rows = (uint4 *)dynamic_shared();
	rows[threadIdx.x] = {};
	__syncthreads();
	cp_async_16(rows + threadIdx.x, (const uint4 *)args.in + threadIdx.x % 4, true);
	cp_async_commit();
	cp_async_wait<0>();
	args.out[threadIdx.x] = rows[threadIdx.x ^ 1].x; // FAULT
}

TEST_KERNEL(copy_over_a_read)
{
	uint4 *rows = (uint4 *)dynamic_shared();
	rows[threadIdx.x] = {};
	__syncthreads();
	args.out[threadIdx.x] = rows[threadIdx.x ^ 32].x;
	cp_async_16(rows + threadIdx.x, (const uint4 *)args.in + threadIdx.x % 4, true); // FAULT
}

TEST_KERNEL(divergent_barrier)
{
	if (threadIdx.x < 32)
		__syncthreads(); // FAULT
	else
		__syncthreads();
}

TEST_KERNEL(deadlock)
{
	if (threadIdx.x == 40)
		__syncwarp();
	else
		__syncthreads(); // FAULT
}

TEST_KERNEL(divergent_warp)
{
	if (threadIdx.x % 2)
		args.out[threadIdx.x] = __shfl_sync(~0u, threadIdx.x, 0); // FAULT
	else
		args.out[threadIdx.x] = __shfl_sync(~0u, threadIdx.x, 1);
}

TEST_KERNEL(mask_without_own_lane)
{
	args.out[threadIdx.x] = __shfl_sync(0x7fffffffu, threadIdx.x, 0); // FAULT
}

TEST_KERNEL(shuffle_from_outside_the_mask)
{
	if (threadIdx.x < 16)
		args.out[threadIdx.x] = __shfl_xor_sync(0xffffu, threadIdx.x, 16); // FAULT
}

TEST_KERNEL(mma_without_all_lanes)
{
	if (threadIdx.x % 32 == 31)
		return;
	float d[4] = {};
	mma_bf16(d, {}, {}); // FAULT
	args.out[threadIdx.x] = __float_as_uint(d[0]);
}

TEST_KERNEL(too_much_static_shared)
{
	struct Big {
		uint32_t word[12289];
	};
	shared<Big>().word[threadIdx.x] = 0; // FAULT
}

TEST_KERNEL(prefetch_beyond_the_end)
{
	prefetch_l2(args.in, 272); // FAULT
}

#define FAULT_KERNELS(KERNEL)             \
	KERNEL(global_read_out_of_bounds)     \
	KERNEL(global_write_out_of_bounds)    \
	KERNEL(shared_out_of_bounds)          \
	KERNEL(dynamic_shared_out_of_bounds)  \
	KERNEL(misaligned_load)               \
	KERNEL(misaligned_copy)               \
	KERNEL(misaligned_ldmatrix)           \
	KERNEL(unwritten_shared)              \
	KERNEL(unwritten_global)              \
	KERNEL(unwritten_ldmatrix)            \
	KERNEL(race_in_a_warp)                \
	KERNEL(race_between_warps)            \
	KERNEL(race_write_after_read)         \
	KERNEL(race_same_value)               \
	KERNEL(race_global_in_a_block)        \
	KERNEL(race_between_blocks)           \
	KERNEL(race_with_an_atomic)           \
	KERNEL(copy_not_waited_for)           \
	KERNEL(copy_without_barrier)          \
	KERNEL(copy_over_a_read)              \
	KERNEL(divergent_barrier)             \
	KERNEL(deadlock)                      \
	KERNEL(divergent_warp)                \
	KERNEL(mask_without_own_lane)         \
	KERNEL(shuffle_from_outside_the_mask) \
	KERNEL(mma_without_all_lanes)         \
	KERNEL(too_much_static_shared)        \
	KERNEL(prefetch_beyond_the_end)
