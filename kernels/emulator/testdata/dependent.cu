// Kernels for chains of dependent launches, with 64 threads in all. Thread i writes word i, and reads what
// another block of the launch before wrote.

static __device__ unsigned word()
{
	return blockIdx.x * blockDim.x + threadIdx.x;
}

TEST_KERNEL(begin)
{
	launch_dependents();
	wait_for_predecessor();
	args.scratch[word()] = args.in[word()] + 1;
}

// Its ring is filled before the wait, and its threads wait on both sides of a barrier.
TEST_KERNEL(to_out)
{
	launch_dependents();
	uint32_t *in = (uint32_t *)dynamic_shared();
	if (threadIdx.x % 4 == 0)
		cp_async_16(in + threadIdx.x, args.in + word(), true);
	cp_async_commit();
	if (threadIdx.x == 5)
		wait_for_predecessor();
	__syncthreads();
	if (threadIdx.x != 5)
		wait_for_predecessor();
	cp_async_wait<0>();
	__syncwarp();
	args.out[word()] = args.scratch[63 - word()] * 3 + in[threadIdx.x];
}

TEST_KERNEL(to_scratch)
{
	uint32_t &first = shared<Words>().word[0];
	if (threadIdx.x == 0)
		first = args.in[0];
	__syncthreads();
	launch_dependents();
	wait_for_predecessor();
	args.scratch[word()] = args.out[63 - word()] * 5 + first;
}

TEST_KERNEL(adds_one)
{
	wait_for_predecessor(); // ORDER
	launch_dependents();
	args.out[word()] = args.in[word()] + 1;
}

TEST_KERNEL(reads_before)
{
	launch_dependents();
	const uint32_t v = args.scratch[63 - word()]; // FAULT
	wait_for_predecessor();
	args.out[64 + word()] = v;
}

TEST_KERNEL(writes_before)
{
	launch_dependents();
	args.out[64 + word()] = 7; // FAULT
	wait_for_predecessor();
}

TEST_KERNEL(counts_before)
{
	launch_dependents();
	atomicAdd(args.scratch, 1u); // FAULT
	wait_for_predecessor();
}

TEST_KERNEL(some_never_wait)
{
	launch_dependents();
	if (word() != 40)
		wait_for_predecessor();
}

#define DEPENDENT_KERNELS(KERNEL) \
	KERNEL(begin)                 \
	KERNEL(to_out)                \
	KERNEL(to_scratch)            \
	KERNEL(adds_one)              \
	KERNEL(reads_before)          \
	KERNEL(writes_before)         \
	KERNEL(counts_before)         \
	KERNEL(some_never_wait)
