// What does a barrier of the whole grid cost?
//
// Each multiprocessor has one block. In a barrier every block adds one to a counter in global memory and
// spins until all blocks have. The figure is microseconds for each barrier. A persistent kernel for a
// whole token needs five barriers a layer, 160 a token. It can only pay off if 160 barriers cost less
// than the gaps between 160 kernels (empty.cu).
//
// The launch is cooperative, so the driver refuses a grid whose blocks cannot all run at once.
#include "experiment.cuh"

enum { BARRIER_THREADS = 256 };
typedef struct {
	DEVICE(uint32_t) counter; // [1], 0
	DEVICE(uint32_t) stamps;  // [gridDim.x], 0 at first: each block's round, for the checked form
	DEVICE(uint32_t) wrong;   // [1]: how often a block was in a wrong round
	int32_t rounds;
} BarrierArgs;

namespace {

// Waits until all blocks have arrived here round times. The first round is 1.
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

// After the barrier of a round every other block is in that round or in the next.
extern "C" __global__ void __launch_bounds__(BARRIER_THREADS)
	grid_barriers_checked(KERNEL_ARGS(BarrierArgs) args)
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
