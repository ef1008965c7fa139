// CUDA's words and gpu.h's functions on the CPU. A CUDA thread is a fiber (threads.cc) that runs until it
// has to wait for others. Barriers, shuffles and tensor-core instructions keep their meaning, and every
// order of threads is one that a GPU could choose.
//
// Every function that waits passes on its source line, for the report if the others never arrive.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define KERNEL_ARGS(T) const T

struct uint3 {
	unsigned x, y, z;
};
struct dim3 {
	unsigned x, y, z;
};
struct alignas(8) int2 {
	int x, y;
};
struct alignas(16) int4 {
	int x, y, z, w;
};
struct alignas(8) uint2 {
	unsigned x, y;
};
struct alignas(16) uint4 {
	unsigned x, y, z, w;
};
struct alignas(8) float2 {
	float x, y;
};
struct alignas(16) float4 {
	float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline uint32_t __float_as_uint(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
inline float __uint_as_float(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
inline float __int_as_float(int i) { return __uint_as_float((uint32_t)i); }
// Byte i of the result is the byte of y:x whose number is bits 4i … 4i+2 of s, or with bit 4i+3 its highest
// bit, eight times.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s)
{
	const uint64_t bytes = (uint64_t)y << 32 | x;
	unsigned result = 0;
	for (int i = 0; i < 4; i++) {
		const unsigned select = s >> 4 * i & 15, byte = bytes >> (select & 7) * 8 & 255;
		result |= (select < 8 ? byte : byte < 128 ? 0 : 255) << 8 * i;
	}
	return result;
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
// CUDA's min and max of floats ignore a NaN.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
// Hints about caches. Here they are plain loads and stores.
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> void __stcg(T *p, T v) { *p = v; }
template <class T> void __stcs(T *p, T v) { *p = v; }

// The indices of the fiber that is running on this thread of the operating system.
extern __thread uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulator {

struct Site { // a place in the source
	const char *file;
	int line;
};
#define SITE emulator::Site site = {__builtin_FILE(), __builtin_LINE()}

void block_sync(Site);
void warp_sync(unsigned mask, Site);
// The value of lane source, which must take part. A thread's own lane is always allowed.
uint64_t shuffle(const char *what, unsigned mask, uint64_t value, int source, Site);
unsigned ballot(const char *what, unsigned mask, bool vote, Site);
void fence();
void *shared_object(const void *type, size_t size, size_t align, Site);
unsigned char *dynamic_shared();
void mma_bf16(float *d, const uint32_t *a, const uint32_t *b, Site);
void ldmatrix(uint32_t *r, int matrices, bool transposed, const void *row, Site);
void cp_async(void *dst, const void *src, bool valid, Site);
void cp_async_commit();
void cp_async_wait(int pending);
void prefetch_l2(const void *p, unsigned bytes, Site);
void launch_dependents(Site);
void wait_for_predecessor(Site);
void touch_atomic(void *p, size_t size, const void *caller); // tells a checked build of an atomic access

inline int lane() { return (int)(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }

template <class T> T shuffle(const char *what, unsigned mask, T value, int source, Site site)
{
	static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
	uint64_t bits = 0;
	memcpy(&bits, &value, sizeof(T));
	bits = shuffle(what, mask, bits, source, site);
	memcpy(&value, &bits, sizeof(T));
	return value;
}

// Replaces *p by next(*p) in one step and returns the old value. touch_atomic tells a checked build,
// which does not watch these loads and stores.
template <class T, class F> __attribute__((no_sanitize("thread"), noinline)) T atomic(T *p, F next)
{
	touch_atomic(p, sizeof(T), __builtin_return_address(0));
	T old = *p;
	*p = next(old);
	return old;
}

} // namespace emulator

inline void __syncthreads(SITE) { emulator::block_sync(site); }
inline void __syncwarp(unsigned mask = ~0u, SITE) { emulator::warp_sync(mask, site); }
template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32, SITE)
{
	return emulator::shuffle("__shfl_sync", mask, v, (emulator::lane() & -width) | (source & (width - 1)),
	                         site);
}
// A source outside the thread's group of width lanes means the thread's own lane.
template <class T> T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32, SITE)
{
	int lane = emulator::lane(), source = lane ^ x;
	return emulator::shuffle("__shfl_xor_sync", mask, v, source > (lane | (width - 1)) ? lane : source, site);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, SITE)
{
	int lane = emulator::lane(), source = lane + (int)delta;
	return emulator::shuffle("__shfl_down_sync", mask, v, source > (lane | (width - 1)) ? lane : source,
	                         site);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, SITE)
{
	int lane = emulator::lane(), source = lane - (int)delta;
	return emulator::shuffle("__shfl_up_sync", mask, v, source < (lane & -width) ? lane : source, site);
}
inline unsigned __ballot_sync(unsigned mask, int vote, SITE)
{
	return emulator::ballot("__ballot_sync", mask, vote != 0, site);
}
inline int __any_sync(unsigned mask, int vote, SITE)
{
	return emulator::ballot("__any_sync", mask, vote != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int vote, SITE)
{
	return emulator::ballot("__all_sync", mask, vote == 0, site) == 0;
}
inline void __threadfence() { emulator::fence(); }
inline void __threadfence_block() {} // nothing to do: fibers see each other's stores at once

// Inlined even without optimization, like the copies and loads below, because reports name the place of
// the call.
template <class T> __forceinline__ T atomicAdd(T *p, T v)
{
	return emulator::atomic(p, [=](T old) { return (T)(old + v); });
}
template <class T> __forceinline__ T atomicSub(T *p, T v)
{
	return emulator::atomic(p, [=](T old) { return (T)(old - v); });
}
template <class T> __forceinline__ T atomicMax(T *p, T v)
{
	return emulator::atomic(p, [=](T old) { return old < v ? v : old; });
}
template <class T> __forceinline__ T atomicMin(T *p, T v)
{
	return emulator::atomic(p, [=](T old) { return v < old ? v : old; });
}
template <class T> __forceinline__ T atomicExch(T *p, T v)
{
	return emulator::atomic(p, [=](T) { return v; });
}
template <class T> __forceinline__ T atomicCAS(T *p, T expect, T v)
{
	return emulator::atomic(p, [=](T old) { return old == expect ? v : old; });
}
__forceinline__ unsigned atomicInc(unsigned *p, unsigned last)
{
	return emulator::atomic(p, [=](unsigned old) { return old >= last ? 0 : old + 1; });
}

namespace gpu {

template <class T> T &shared(SITE)
{
	static const char type = 0;
	return *(T *)emulator::shared_object(&type, sizeof(T), alignof(T), site);
}
inline unsigned char *dynamic_shared() { return emulator::dynamic_shared(); }
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SITE)
{
	emulator::mma_bf16(d, a, b, site);
}
__forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row, SITE)
{
	emulator::ldmatrix(r, 4, false, row, site);
}
__forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, SITE)
{
	emulator::ldmatrix(r, 4, true, row, site);
}
__forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void *row, SITE)
{
	emulator::ldmatrix(r, 2, false, row, site);
}
__forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row, SITE)
{
	emulator::ldmatrix(r, 2, true, row, site);
}
__forceinline__ void cp_async_16(void *dst, const void *src, bool valid, SITE)
{
	emulator::cp_async(dst, src, valid, site);
}
inline void cp_async_commit() { emulator::cp_async_commit(); }
template <int N> void cp_async_wait() { emulator::cp_async_wait(N); }
__forceinline__ void prefetch_l2(const void *p, unsigned bytes, SITE)
{
	emulator::prefetch_l2(p, bytes, site);
}
inline void launch_dependents(SITE) { emulator::launch_dependents(site); }
inline void wait_for_predecessor(SITE) { emulator::wait_for_predecessor(site); }

inline float exp2_approx(float x)
{
	float y = exp2f(x);
	return y < FLT_MIN ? 0 : y; // NaN stays NaN
}
inline float bf16_to_float(uint16_t bits) { return __uint_as_float((uint32_t)bits << 16); }
inline uint16_t float_to_bf16(float x)
{
	uint32_t u = __float_as_uint(x);
	return x != x ? 0x7fff : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline uint32_t pack_bf16(float lo, float hi)
{
	return float_to_bf16(lo) | (uint32_t)float_to_bf16(hi) << 16;
}
inline float half_to_float(uint16_t bits)
{
	_Float16 h;
	memcpy(&h, &bits, 2);
	return (float)h;
}

} // namespace gpu
