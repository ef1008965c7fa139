// Instructions that only the experiments use. As in gpu.h, each function is one PTX instruction. Those of
// compute capability 9.0 exist only when compiling for it or newer.
#pragma once
#include "args.h"
#include "gpu.h"

#ifdef __CUDACC__
namespace {
using namespace gpu;

// Loads 16 bytes past the L1 cache. The compiler keeps the order of such loads.
__device__ inline uint4 load_16(const uint4 *p)
{
	uint4 v;
	asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
	             : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	             : "l"(p));
	return v;
}

// Stops a kernel that waits too long: after about two seconds it ends with an error of the driver.
// Without this it would hang the GPU.
struct Patience {
	long long start = clock64();
	__device__ void check() const
	{
		if (clock64() - start > 4'000'000'000)
			__trap();
	}
};

#if __CUDA_ARCH__ >= 900

// An mbarrier in shared memory completes a phase when count threads and all announced bytes have arrived.
// A wait names the parity of the phase that must be complete. The first phase has parity 0; in a new
// barrier the phase of parity 1 counts as complete.
__device__ inline void barrier_init(uint64_t *b, unsigned count)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}

// Makes new barriers visible to bulk copies. Other threads see them after a __syncthreads.
__device__ inline void barrier_init_fence()
{
	asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void barrier_arrive(uint64_t *b)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(shared_address(b)) : "memory");
}

__device__ inline void barrier_arrive_expect(uint64_t *b, unsigned bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(shared_address(b)), "r"(bytes)
	             : "memory");
}

__device__ inline bool barrier_complete(uint64_t *b, unsigned parity)
{
	unsigned complete;
	asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
	             : "=r"(complete)
	             : "r"(shared_address(b)), "r"(parity)
	             : "memory");
	return complete;
}

__device__ inline void barrier_wait(uint64_t *b, unsigned parity)
{
	if (barrier_complete(b, parity))
		return;
	const Patience patience;
	while (!barrier_complete(b, parity))
		patience.check();
}

// Starts copying bytes, a multiple of 16, from global to shared memory. The barrier counts them.
__device__ inline void bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *b)
{
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(
	                     shared_address(to)),
	             "l"(from), "r"(bytes), "r"(shared_address(b))
	             : "memory");
}

#endif // __CUDA_ARCH__ >= 900
} // namespace

#else // the emulator
namespace {
using namespace gpu;
inline uint4 load_16(const uint4 *p) { return *p; }
} // namespace
#endif

// Whether a kernel can start before the kernel before it has ended.
#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 900
#define HAVE_PDL
#endif
