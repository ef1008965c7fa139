// The GPU instructions that kernels use. Under nvcc each function is one PTX instruction. Under g++
// emulator/src/device.h does the same on the CPU, and also defines CUDA's own words (threadIdx,
// __syncthreads, …).
//
// Rules for kernels:
//   - shared memory only through shared<T>() and dynamic_shared(), so that the emulator can fill it with NaNs
//   - no inline PTX
//   - no loop that waits for another thread
//
// Shapes of the tensor-core instructions, for lane l of a warp, with g = l / 4 and t = l % 4:
//
//   mma_bf16   d[16, 8] += a[16, 16]·b[16, 8]. A register holds two elements of a or b; the one of the
//              lower column (a) or row (b) is in the lower half:
//              a[0] (g, 2t)   a[1] (g+8, 2t)   a[2] (g, 2t+8)   a[3] (g+8, 2t+8)
//              b[0] (2t, g)   b[1] (2t+8, g)
//              d[0] (g, 2t)   d[1] (g, 2t+1)   d[2] (g+8, 2t)   d[3] (g+8, 2t+1)
//   ldmatrix   Lanes 8i … 8i+7 point at the rows (16 bytes, aligned) of matrix i, which is 8×8 elements of
//              16 bits. r[i] receives this lane's elements (g, 2t) and (g, 2t+1) of it, or with _trans
//              (2t, g) and (2t+1, g). x2 uses the pointers of lanes 0 … 15 only.
#pragma once
#include <stdint.h>

// Whether one prefetch_l2 can bring many bytes. Hopper and newer GPUs have an instruction for that, which
// compilers know from CUDA 12 on. Otherwise an instruction brings one line of the cache.
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 900 && __CUDACC_VER_MAJOR__ >= 12
#define BULK_PREFETCH 1
#else
#define BULK_PREFETCH 0
#endif
enum { CACHE_LINE = 128 }; // bytes

#ifndef __CUDACC__
#include "emulator/src/device.h"
#else

// A kernel's only parameter, read in place from constant memory and not copied to the thread's stack.
#define KERNEL_ARGS(T) const __grid_constant__ T

#ifdef __CUDACC_RTC__ // which has no <math.h>
#define INFINITY __int_as_float(0x7f800000)
#endif

namespace gpu {

#define GPU_FUNCTION static __device__ __forceinline__

// The block's object of type T in shared memory. There is one object for each type, at most 48 KB together.
template <class T> GPU_FUNCTION T &shared()
{
	__shared__ T object;
	return object;
}

// The shared memory that the launch asks for, aligned to 1024 bytes.
GPU_FUNCTION unsigned char *dynamic_shared()
{
	extern __shared__ __align__(1024) unsigned char gpu_dynamic_shared[];
	return gpu_dynamic_shared;
}

GPU_FUNCTION unsigned shared_address(const void *p)
{
	return (unsigned)__cvta_generic_to_shared(p);
}

GPU_FUNCTION void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
	             "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

GPU_FUNCTION void ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(shared_address(row))
	             : "memory");
}

GPU_FUNCTION void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(shared_address(row))
	             : "memory");
}

GPU_FUNCTION void ldmatrix_x2(uint32_t (&r)[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];"
	             : "=r"(r[0]), "=r"(r[1])
	             : "r"(shared_address(row))
	             : "memory");
}

GPU_FUNCTION void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1},[%2];"
	             : "=r"(r[0]), "=r"(r[1])
	             : "r"(shared_address(row))
	             : "memory");
}

// Starts copying 16 bytes from global to shared memory, past the L1 cache. If !valid it writes zeros and does
// not read src. A copy that misses the L2 cache loads the whole line of 128 bytes there, because other copies
// will soon ask for the rest.
GPU_FUNCTION void cp_async_16(void *dst, const void *src, bool valid)
{
	asm volatile("cp.async.cg.shared.global.L2::128B [%0],[%1],16,%2;" ::"r"(shared_address(dst)), "l"(src),
	             "r"(valid ? 16 : 0)
	             : "memory");
}

// Ends this thread's group of copies. The next copy begins a new group.
GPU_FUNCTION void cp_async_commit()
{
	asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most N of this thread's ended groups are unfinished. Other threads see the bytes after the
// next barrier.
template <int N> GPU_FUNCTION void cp_async_wait()
{
	asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Asks for bytes of global memory to be loaded into the L2 cache; without BULK_PREFETCH at most a CACHE_LINE.
// p and bytes are multiples of 16. Nothing is read into the program, so no other thread needs to wait for it.
GPU_FUNCTION void prefetch_l2(const void *p, unsigned bytes)
{
#if BULK_PREFETCH
	asm volatile("cp.async.bulk.prefetch.L2.global [%0],%1;" ::"l"(p), "r"(bytes) : "memory");
#else
	asm volatile("prefetch.global.L2 [%0];" ::"l"(p) : "memory");
#endif
}

// Programmatic dependent launch, from compute capability 9.0 on. Before, and in a kernel that is launched
// without it, both functions do nothing.
//
// The next kernel of the stream may start when every block of this one has called launch_dependents or ended.
GPU_FUNCTION void launch_dependents()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits until the kernel before has ended and its writes are visible. Until then a thread may read only
// memory that no unfinished kernel writes, and may write only to shared memory. Every thread of every block
// must wait: otherwise this kernel could end before its predecessor, and the next one would start too early.
GPU_FUNCTION void wait_for_predecessor()
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// 2ˣ within about 2 units in the last place; 0 where the result would be subnormal.
GPU_FUNCTION float exp2_approx(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
	return y;
}

GPU_FUNCTION float bf16_to_float(uint16_t bits)
{
	return __uint_as_float((uint32_t)bits << 16);
}

// Rounds to the nearest bfloat16, ties to even. NaN stays NaN.
GPU_FUNCTION uint16_t float_to_bf16(float x)
{
	uint16_t bits;
	asm("cvt.rn.bf16.f32 %0,%1;" : "=h"(bits) : "f"(x));
	return bits;
}

// Rounds both as float_to_bf16 does. lo goes to the lower half.
GPU_FUNCTION uint32_t pack_bf16(float lo, float hi)
{
	uint32_t bits;
	asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(bits) : "f"(hi), "f"(lo));
	return bits;
}

GPU_FUNCTION float half_to_float(uint16_t bits)
{
	float x;
	asm("cvt.f32.f16 %0,%1;" : "=f"(x) : "h"(bits));
	return x;
}

} // namespace gpu
#endif // __CUDACC__
