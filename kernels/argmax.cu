#include "args.h"
#include "gpu.h"

namespace {
using namespace gpu;

enum { NO_ID = 0x7fffffff }; // above every id

// The greatest finite logit of some, and the first of them that is not finite.
struct Greatest {
	float value; // -∞ if there is none
	int id;      // NO_ID if there is none
	int broken;  // id of the first NaN or infinity; NO_ID if there is none

	__device__ void join(float other_value, int other_id, int other_broken)
	{
		if (other_value > value || (other_value == value && other_id < id)) {
			value = other_value;
			id = other_id;
		}
		broken = min(broken, other_broken);
	}

	// Joins the values of all lanes of the warp. Every lane gets the result.
	__device__ void join_warp()
	{
#pragma unroll
		for (int distance = 16; distance > 0; distance /= 2) {
			const float other_value = __shfl_xor_sync(~0u, value, distance);
			const int other_id = __shfl_xor_sync(~0u, id, distance);
			const int other_broken = __shfl_xor_sync(~0u, broken, distance);
			join(other_value, other_id, other_broken);
		}
	}
};

} // namespace

extern "C" __global__ void __launch_bounds__(ARGMAX_THREADS) argmax(KERNEL_ARGS(ArgmaxArgs) args)
{
	struct Shared {
		Greatest warps[ARGMAX_THREADS / 32];
	};
	static_assert(ARGMAX_THREADS / 32 == 32, "one warp joins the warps");
	Shared &sm = shared<Shared>();
	launch_dependents();
	wait_for_predecessor();
	const float *logits = args.logits + (size_t)blockIdx.x * args.vocab;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	const uint32_t infinity = 0x7f800000; // as bits; a NaN has these bits set, and others

	Greatest g = {-__uint_as_float(infinity), NO_ID, NO_ID};
#pragma unroll 8
	for (int id = threadIdx.x; id < args.vocab; id += ARGMAX_THREADS) {
		const float v = logits[id];
		if ((__float_as_uint(v) & infinity) == infinity)
			g.broken = min(g.broken, id);
		else
			g.join(v, id, NO_ID);
	}
	g.join_warp();
	if (lane == 0)
		sm.warps[warp] = g;
	__syncthreads();
	if (warp != 0)
		return;
	g = sm.warps[lane];
	g.join_warp();
	if (lane == 0)
		args.next[blockIdx.x] = g.broken < NO_ID ? ~g.broken : g.id;
}
