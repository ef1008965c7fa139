// How fast does Hopper's wgmma multiply with phi3's order of sums, and with which tile size?
//
// The four products of a layer of Phi-3-mini run for 64, 512 and 2,048 tokens, in tiles of 128 weight
// rows by 96, 128 or 192 tokens. With segments, K is summed in 8 segments that are added in order, like
// every product of phi3 (args.h); each segment is added from one set of registers to another. Without,
// one sum runs through all of K. The figures are TFLOP/s, of the layer and of each product. The
// difference between the two is the cost of phi3's equal bits. The best N at each number of tokens is the
// tile to build. The host compares sums with float64 and counts how many have the bits of
// internal/tensorcore's model of Hopper.
//
// A block has three warpgroups and takes tile after tile. One thread requests stages of K_STEP columns by
// bulk copies into a ring, and two warpgroups multiply 64 weight rows each. Matrices [rows, k] are stored
// as atoms of 1 KB, which are 8 rows of 64 columns, in the order [k/64][rows/8]. In an atom, the 16-byte
// unit c of row r is at place c ^ r, which is wgmma's swizzle of 128 bytes. So a tile's rows of one step
// are contiguous, and are copied to shared memory unchanged.
#include "experiment.cuh"

enum { WGMMA_THREADS = 3 * 128, WGMMA_ROWS = 128, WGMMA_STAGES = 5, ATOM = 8 * K_STEP * 2 /* bytes */ };
typedef struct {
	DEVICE(float) y;           // [tokens, rows]
	DEVICE(const bf16_bits) x; // atoms of [8·groups, k], and 24 KB more that the last tile may read
	DEVICE(const bf16_bits) w; // atoms of [rows, k]
	int32_t tokens, rows, k;   // rows a multiple of WGMMA_ROWS, k of K_STEP
	int32_t groups;            // of 8 tokens: ⌈tokens/8⌉
} WgmmaArgs;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

namespace {

// The descriptor of a matrix in shared memory for wgmma: columns run along K, rows of 128 bytes are
// swizzled, and 8 rows are an atom of 1 KB.
__device__ inline uint64_t swizzled(const void *p)
{
	return (uint64_t)(shared_address(p) / 16) | (uint64_t)1 << 16 | (uint64_t)(ATOM / 16) << 32 |
	       (uint64_t)1 << 62;
}

#define SUMS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS_16(d, i) SUMS_4(d, i), SUMS_4(d, i + 4), SUMS_4(d, i + 8), SUMS_4(d, i + 12)

// d += a·bᵀ, or d = a·bᵀ, for 64 rows of a, the tile's tokens of b and 16 columns. a and b are descriptors.
__device__ inline void multiply(float (&d)[48], uint64_t a, uint64_t b, int add)
{
	asm volatile(
		"{.reg .pred p; setp.ne.b32 p,%50,0; wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		"%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		"%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
		"},%48,%49,p,1,1,0,0;}"
		: SUMS_16(d, 0),
		  SUMS_16(d, 16),
		  SUMS_16(d, 32)
		: "l"(a), "l"(b), "r"(add));
}

__device__ inline void multiply(float (&d)[64], uint64_t a, uint64_t b, int add)
{
	asm volatile(
		"{.reg .pred p; setp.ne.b32 p,%66,0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		"%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		"%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		"%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
		"},%64,%65,p,1,1,0,0;}"
		: SUMS_16(d, 0),
		  SUMS_16(d, 16),
		  SUMS_16(d, 32),
		  SUMS_16(d, 48)
		: "l"(a), "l"(b), "r"(add));
}

__device__ inline void multiply(float (&d)[96], uint64_t a, uint64_t b, int add)
{
	asm volatile(
		"{.reg .pred p; setp.ne.b32 p,%98,0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		"%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		"%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		"%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
		"%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
		"%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
		"},%96,%97,p,1,1,0,0;}"
		: SUMS_16(d, 0),
		  SUMS_16(d, 16),
		  SUMS_16(d, 32),
		  SUMS_16(d, 48),
		  SUMS_16(d, 64),
		  SUMS_16(d, 80)
		: "l"(a), "l"(b), "r"(add));
}

__device__ inline void multiply_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void multiply_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups of multiplications are unfinished.
template <int PENDING> __device__ inline void multiply_wait()
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Sums must not be read before the wait above. This tells the compiler that they change here.
template <int COUNT> __device__ inline void sums_ready(float (&d)[COUNT])
{
#pragma unroll
	for (int i = 0; i < COUNT; i++)
		asm volatile("" : "+f"(d[i])::"memory");
}

template <int N> struct WgmmaShared { // dynamic
	struct {
		unsigned char w[WGMMA_ROWS / 8 * ATOM], x[N / 8 * ATOM];
	} stages[WGMMA_STAGES];
	uint64_t full[WGMMA_STAGES], empty[WGMMA_STAGES];
};

struct Place { // in the ring
	int slot;
	unsigned phase;
	__device__ void next()
	{
		if (++slot == WGMMA_STAGES)
			slot = 0, phase ^= 1;
	}
};

// The function is long because both roles, the warp that loads and the warps that multiply, share its
// barriers.
template <int N, bool SEGMENTS> __device__ inline void wgmma_product(const WgmmaArgs &args)
{
	WgmmaShared<N> &sm = *reinterpret_cast<WgmmaShared<N> *>(dynamic_shared());
	const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
	if (threadIdx.x == 0) {
		for (int i = 0; i < WGMMA_STAGES; i++) {
			barrier_init(&sm.full[i], 1);
			barrier_init(&sm.empty[i], 8); // the warps that multiply
		}
		barrier_init_fence();
	}
	__syncthreads();

	const int steps = args.k / K_STEP, columns = (args.tokens + N - 1) / N;
	const int tiles = args.rows / WGMMA_ROWS * columns;
	const int segment = SEGMENTS ? (steps + K_SEGMENTS - 1) / K_SEGMENTS : steps;
	Place at = {0, 0};
	if (group == 2) {
		asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
		if (warp != 0 || lane != 0)
			return;
		for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
			const int row_group = tile / columns * (WGMMA_ROWS / 8), token_group = tile % columns * (N / 8);
			for (int step = 0; step < steps; step++, at.next()) {
				auto &stage = sm.stages[at.slot];
				barrier_wait(&sm.empty[at.slot], at.phase ^ 1);
				barrier_arrive_expect(&sm.full[at.slot], sizeof(stage));
				bulk_copy(stage.w, args.w + ((size_t)step * (args.rows / 8) + row_group) * (ATOM / 2),
				          sizeof(stage.w), &sm.full[at.slot]);
				bulk_copy(stage.x, args.x + ((size_t)step * args.groups + token_group) * (ATOM / 2),
				          sizeof(stage.x), &sm.full[at.slot]);
			}
		}
		return;
	}

	asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
	float sum[N / 2];
	for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
		float total[SEGMENTS ? N / 2 : 1] = {};
		for (int from = 0; from < steps; from += segment) {
			int before = 0; // the slot of the step before
			for (int step = from; step < min(from + segment, steps); step++, at.next()) {
				auto &stage = sm.stages[at.slot];
				barrier_wait(&sm.full[at.slot], at.phase);
				const uint64_t w = swizzled(stage.w + group * (64 / 8) * ATOM), x = swizzled(stage.x);
				multiply_begin();
#pragma unroll
				for (int i = 0; i < K_STEP / 16; i++) // 16 columns are 32 bytes, 2 in a descriptor
					multiply(sum, w + 2 * i, x + 2 * i, step > from || i > 0);
				multiply_commit();
				if (step > from) {
					multiply_wait<1>(); // the step before is done with its stage
					if (lane == 0)
						barrier_arrive(&sm.empty[before]);
				}
				before = at.slot;
			}
			multiply_wait<0>();
			sums_ready(sum);
			if (lane == 0)
				barrier_arrive(&sm.empty[before]);
			if constexpr (SEGMENTS)
#pragma unroll
				for (int i = 0; i < N / 2; i++)
					total[i] += sum[i];
		}

		const float(&result)[N / 2] = [&]() -> const float(&)[N / 2] {
			if constexpr (SEGMENTS)
				return total;
			else
				return sum;
		}();
		const int row = tile / columns * WGMMA_ROWS + group * 64 + warp * 16 + lane / 4;
		const int token = tile % columns * N + lane % 4 * 2;
		float *y = args.y + (size_t)token * args.rows + row;
#pragma unroll
		for (int i = 0; i < N / 8; i++)
#pragma unroll
			for (int j = 0; j < 2; j++)
				if (token + i * 8 + j < args.tokens) {
					y[(size_t)(i * 8 + j) * args.rows] = result[i * 4 + j];
					y[(size_t)(i * 8 + j) * args.rows + 8] = result[i * 4 + 2 + j];
				}
	}
}

} // namespace

#define WGMMA_KERNELS(N) \
	extern "C" __global__ void __launch_bounds__(WGMMA_THREADS, 1) wgmma_##N(KERNEL_ARGS(WgmmaArgs) args) \
	{ \
		wgmma_product<N, false>(args); \
	} \
	extern "C" __global__ void __launch_bounds__(WGMMA_THREADS, 1) \
		wgmma_##N##_segments(KERNEL_ARGS(WgmmaArgs) args) \
	{ \
		wgmma_product<N, true>(args); \
	}
WGMMA_KERNELS(96)
WGMMA_KERNELS(128)
WGMMA_KERNELS(192)

#endif // __CUDA_ARCH_FEAT_SM90_ALL
