// What does it cost to start a kernel after another one?
//
// 160 kernels that do nothing, as many as a token of Phi-3-mini has, run one after another: by the
// stream, by a graph, and both with programmatic dependent launch (pdl, from compute capability 9.0 on),
// each with one block and with two blocks a multiprocessor. The figure is microseconds for each kernel.
// 160 times the figure is the least that a token of the decode graph pays for its launches. What pdl
// saves of it is the least that overlapping the decode kernels would gain.
//
// in_order checks the order: launch number i of a chain must find the counter at i, and sets it to i + 1.
#include "experiment.cuh"

enum { EMPTY_THREADS = 256 };
typedef struct {
	DEVICE(int32_t) counter; // [2]: the counter, and how many launches found it wrong
	int32_t number;
} EmptyArgs;

namespace {

__device__ inline void count(const EmptyArgs &args)
{
	if (blockIdx.x || threadIdx.x)
		return;
	if (args.counter[0] != args.number)
		args.counter[1]++;
	args.counter[0] = args.number + 1;
}

} // namespace

extern "C" __global__ void __launch_bounds__(EMPTY_THREADS) empty(KERNEL_ARGS(EmptyArgs)) {}
extern "C" __global__ void __launch_bounds__(EMPTY_THREADS) in_order(KERNEL_ARGS(EmptyArgs) args)
{
	count(args);
}

#ifdef HAVE_PDL

extern "C" __global__ void __launch_bounds__(EMPTY_THREADS) empty_pdl(KERNEL_ARGS(EmptyArgs))
{
	launch_dependents();
	wait_for_predecessor();
}

extern "C" __global__ void __launch_bounds__(EMPTY_THREADS) in_order_pdl(KERNEL_ARGS(EmptyArgs) args)
{
	launch_dependents();
	wait_for_predecessor();
	count(args);
}

#endif
