// What does it cost to start a kernel after another one?
//
// 160 kernels that do nothing, the number in a token of Phi-3-mini, each after the one before: by the stream, by a graph, and both with
// programmatic dependent launch (pdl, from compute capability 9.0 on), on one block and on two blocks a multiprocessor. The figure is
// microseconds a kernel. Times 160 it is what a token of the decode graph pays at least for its launches; what pdl saves of it is the
// least that overlapping the decode kernels would gain.
//
// in_order proves that the order holds: launch number i of a chain finds the counter at i and leaves it at i + 1.
#include "experiment.cuh"

enum { EMPTY_THREADS = 256 };
typedef struct {
	DEVICE(int32_t) counter; // [2]: the counter; how many launches found it wrong
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
extern "C" __global__ void __launch_bounds__(EMPTY_THREADS) in_order(KERNEL_ARGS(EmptyArgs) args) { count(args); }

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
