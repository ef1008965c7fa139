// How fast does this GPU read its memory, with which instruction, and with how many bytes in flight?
//
// Each multiprocessor has one block, which keeps a given number of KB in flight and adds up all the words it
// reads. It reads by plain 16-byte loads (ldg), by cp.async, or by bulk copies (cp.async.bulk, from compute
// capability 9.0 on). The best figure in GB/s is the ceiling for every kernel that reads weights. Where a
// method's figures stop growing, more requests do not help: if cp.async is as fast with 64 KB as with 192 KB,
// then the decode kernels' ring of 64 KB a block is deep enough.
#include "experiment.cuh"

enum { READ_THREADS = 512, READ_ROW = READ_THREADS * 16 /* bytes that a block reads at once */ };
typedef struct {
	DEVICE(uint32_t) sum;     // [1]: the sum of all words is added to it
	DEVICE(const uint4) data; // [rows, READ_THREADS]
	int64_t rows;             // a multiple of 24·gridDim.x, so that no variant has a remainder
} ReadArgs;

namespace {

__device__ inline uint32_t words_sum(uint4 v) { return v.x + v.y + v.z + v.w; }

__device__ inline void add_to_sum(const ReadArgs &args, uint32_t sum)
{
#pragma unroll
	for (int distance = 16; distance > 0; distance /= 2)
		sum += __shfl_xor_sync(~0u, sum, distance);
	if (threadIdx.x % 32 == 0)
		atomicAdd(args.sum, sum);
}

// The KB in flight are in registers. Each register is requested again as soon as its words are added.
template <int KB> __device__ inline void read_ldg(const ReadArgs &args)
{
	constexpr int LOADS = KB * 1024 / READ_ROW;
	const int64_t stride = (int64_t)gridDim.x * READ_THREADS;
	const uint4 *from = args.data + (int64_t)blockIdx.x * READ_THREADS + threadIdx.x;
	uint4 v[LOADS];
	uint32_t sum = 0;
#pragma unroll
	for (int j = 0; j < LOADS; j++, from += stride)
		v[j] = load_16(from);
	for (int64_t row = (int64_t)gridDim.x * LOADS; row < args.rows; row += (int64_t)gridDim.x * LOADS) {
#pragma unroll
		for (int j = 0; j < LOADS; j++, from += stride) {
			sum += words_sum(v[j]);
			v[j] = load_16(from);
		}
	}
#pragma unroll
	for (int j = 0; j < LOADS; j++)
		sum += words_sum(v[j]);
	add_to_sum(args, sum);
}

// Each thread reads only what it copied itself, so no barrier is needed.
template <int KB> __device__ inline void read_cp_async(const ReadArgs &args)
{
	constexpr int STAGES = KB * 1024 / READ_ROW;
	uint4 *ring = reinterpret_cast<uint4 *>(dynamic_shared()) + threadIdx.x; // [STAGES, READ_THREADS]
	const int64_t stride = (int64_t)gridDim.x * READ_THREADS;
	const uint4 *from = args.data + (int64_t)blockIdx.x * READ_THREADS + threadIdx.x;
	const uint4 *end = args.data + args.rows * READ_THREADS;
	for (int i = 0; i < STAGES; i++, from += stride) {
		cp_async_16(ring + i * READ_THREADS, from, true);
		cp_async_commit();
	}
	uint32_t sum = 0;
	int slot = 0;
	for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
		cp_async_wait<STAGES - 1>();
		sum += words_sum(ring[slot * READ_THREADS]);
		if (from < end)
			cp_async_16(ring + slot * READ_THREADS, from, true);
		cp_async_commit(); // at the end an empty group, so that the wait above still counts right
		from += stride;
		slot = slot + 1 == STAGES ? 0 : slot + 1;
	}
	add_to_sum(args, sum);
}

} // namespace

#define READ_KERNELS(KB) \
	extern "C" __global__ void __launch_bounds__(READ_THREADS, 1) read_ldg_##KB(KERNEL_ARGS(ReadArgs) args) \
	{ \
		read_ldg<KB>(args); \
	} \
	extern "C" __global__ void __launch_bounds__(READ_THREADS, 1) \
		read_cp_async_##KB(KERNEL_ARGS(ReadArgs) args) \
	{ \
		read_cp_async<KB>(args); \
	}
READ_KERNELS(16)
READ_KERNELS(32)
READ_KERNELS(64)
READ_KERNELS(96)
READ_KERNELS(192)

#if defined(__CUDACC__) && __CUDA_ARCH__ >= 900

namespace {

enum { BULK_STAGES = 8, BULK_CONSUMERS = 8 /* warps */, BULK_THREADS = 32 * (1 + BULK_CONSUMERS) };

// One thread requests and eight warps add up. Dynamic shared memory: the ring, then BULK_STAGES·2 barriers.
template <int KB> __device__ inline void read_bulk(const ReadArgs &args)
{
	constexpr int STAGE = KB * 1024 / BULK_STAGES; // bytes
	unsigned char *ring = dynamic_shared();
	uint64_t *full = reinterpret_cast<uint64_t *>(ring + BULK_STAGES * STAGE), *empty = full + BULK_STAGES;
	if (threadIdx.x == 0) {
		for (int i = 0; i < BULK_STAGES; i++) {
			barrier_init(&full[i], 1);
			barrier_init(&empty[i], BULK_CONSUMERS);
		}
		barrier_init_fence();
	}
	__syncthreads();
	const int64_t pieces = args.rows * READ_ROW / STAGE;
	int slot = 0;
	unsigned phase = 0;
	uint32_t sum = 0;
	if (threadIdx.x / 32 == BULK_CONSUMERS) {
		for (int64_t piece = blockIdx.x; piece < pieces && threadIdx.x % 32 == 0; piece += gridDim.x) {
			barrier_wait(&empty[slot], phase ^ 1);
			barrier_arrive_expect(&full[slot], STAGE);
			bulk_copy(ring + slot * STAGE, reinterpret_cast<const unsigned char *>(args.data) + piece * STAGE,
			          STAGE, &full[slot]);
			if (++slot == BULK_STAGES)
				slot = 0, phase ^= 1;
		}
		return;
	}
	for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
		barrier_wait(&full[slot], phase);
		const uint4 *stage = reinterpret_cast<const uint4 *>(ring + slot * STAGE);
		for (int i = threadIdx.x; i < STAGE / 16; i += 32 * BULK_CONSUMERS)
			sum += words_sum(stage[i]);
		__syncwarp();
		if (threadIdx.x % 32 == 0)
			barrier_arrive(&empty[slot]);
		if (++slot == BULK_STAGES)
			slot = 0, phase ^= 1;
	}
	add_to_sum(args, sum);
}

} // namespace

#define READ_BULK_KERNEL(KB) \
	extern "C" __global__ void __launch_bounds__(BULK_THREADS, 1) read_bulk_##KB(KERNEL_ARGS(ReadArgs) args) \
	{ \
		read_bulk<KB>(args); \
	}
READ_BULK_KERNEL(16)
READ_BULK_KERNEL(32)
READ_BULK_KERNEL(64)
READ_BULK_KERNEL(96)
READ_BULK_KERNEL(192)

#endif
