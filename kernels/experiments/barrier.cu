// What does a barrier of the whole grid cost?
//
// One block a multiprocessor, a counter in global memory: every block adds one and spins until all have. The figure is microseconds a
// barrier. A persistent kernel for a token needs five a layer, 160 a token: it can only gain where 160 of these cost less than the gaps
// between 160 kernels (empty.cu).
//
// The launch is cooperative, so that the driver refuses a grid that does not run all at once.
#include "experiment.cuh"

enum { BARRIER_THREADS = 256 };
typedef struct {
	DEVICE(uint32_t) counter; // [1], 0
	DEVICE(uint32_t) stamps;  // [gridDim.x], 0: the round that each block is in, for the checked form
	DEVICE(uint32_t) wrong;   // [1]: how often a block was found in another round
	int32_t rounds;
} BarrierArgs;

namespace {

// Waits until all blocks have come here round times, the first being 1.
__device__ inline void grid_barrier(uint32_t *counter, uint32_t round)
{
	__syncthreads();
	if (threadIdx.x == 0) {
		uint32_t seen;
		asm volatile("atom.add.release.gpu.global.u32 %0,[%1],1;" : "=r"(seen) : "l"(counter) : "memory");
		const Patience patience;
		do {
			asm volatile("ld.acquire.gpu.global.u32 %0,[%1];" : "=r"(seen) : "l"(counter) : "memory");
			patience.check();
		} while (seen < round * gridDim.x);
	}
	__syncthreads();
}

} // namespace

extern "C" __global__ void __launch_bounds__(BARRIER_THREADS) grid_barriers(KERNEL_ARGS(BarrierArgs) args)
{
	for (int round = 1; round <= args.rounds; round++)
		grid_barrier(args.counter, (uint32_t)round);
}

// After the barrier of a round every other block has begun it; it may have gone on by one.
extern "C" __global__ void __launch_bounds__(BARRIER_THREADS) grid_barriers_checked(KERNEL_ARGS(BarrierArgs) args)
{
	for (int round = 1; round <= args.rounds; round++) {
		if (threadIdx.x == 0)
			args.stamps[blockIdx.x] = (uint32_t)round;
		grid_barrier(args.counter, (uint32_t)round);
		for (unsigned i = threadIdx.x; i < gridDim.x; i += BARRIER_THREADS) {
			const uint32_t stamp = *(volatile uint32_t *)&args.stamps[i];
			if (stamp != (uint32_t)round && stamp != (uint32_t)round + 1)
				atomicAdd(args.wrong, 1u);
		}
	}
}
