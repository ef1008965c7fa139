// Kernels that ask a chip what its instructions do, for conformance_test.go. They are no part of the program.
#include "args.h"
#include "gpu.h"

using namespace gpu;

typedef struct {
	DEVICE(float) d;           // [rows, 8]
	DEVICE(const bf16_bits) a; // [rows, k]
	DEVICE(const bf16_bits) b; // [8, k]
	int32_t k;                 // a multiple of 16
} SumArgs;

static __device__ uint32_t pair(const bf16_bits *p)
{
	return *(const uint32_t *)p;
}

// This lane's part of 16 rows and 16 columns of a, as gpu.h describes it.
static __device__ void load_a(uint32_t (&r)[4], const bf16_bits *a, int k)
{
	int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
	const bf16_bits *upper = a + g * k + 2 * t, *lower = upper + 8 * k;
	r[0] = pair(upper), r[1] = pair(lower), r[2] = pair(upper + 8), r[3] = pair(lower + 8);
}

static __device__ void store_d(float *d, const float (&r)[4])
{
	int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
	d[g * 8 + 2 * t] = r[0], d[g * 8 + 2 * t + 1] = r[1];
	d[(g + 8) * 8 + 2 * t] = r[2], d[(g + 8) * 8 + 2 * t + 1] = r[3];
}

// d = a·bᵀ, k in ascending order, with mma.sync. A warp for every 16 rows.
extern "C" __global__ void sum_mma(KERNEL_ARGS(SumArgs) args)
{
	int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
	const bf16_bits *a = args.a + warp * 16 * args.k, *b = args.b + (lane / 4) * args.k + 2 * (lane % 4);
	float d[4] = {0, 0, 0, 0};
	for (int k = 0; k < args.k; k += 16) {
		uint32_t ra[4], rb[2] = {pair(b + k), pair(b + k + 8)};
		load_a(ra, a + k, args.k);
		mma_bf16(d, ra, rb);
	}
	store_d(args.d + warp * 16 * 8, d);
}

// The same for 64 rows with wgmma, which compute capability 9.0 alone has.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
extern "C" __global__ void sum_wgmma(KERNEL_ARGS(SumArgs) args)
{
	// b's 8 rows of 16 columns, as two matrices of 8×8, one after the other.
	struct Tile {
		__align__(128) bf16_bits b[2][8][8];
	};
	Tile &tile = shared<Tile>();
	// The matrices lie 128 bytes apart along k. Along n there is one only, so the second distance does not matter. No swizzle.
	uint64_t descriptor = shared_address(&tile) / 16 | (uint64_t)(128 / 16) << 16 | (uint64_t)(128 / 16) << 32;
	int warp = (int)threadIdx.x / 32;
	const bf16_bits *a = args.a + warp * 16 * args.k;
	float d[4] = {0, 0, 0, 0};
	for (int k = 0; k < args.k; k += 16) {
		int row = (int)threadIdx.x / 16, column = (int)threadIdx.x % 16;
		tile.b[column / 8][row][column % 8] = args.b[row * args.k + k + column];
		asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); // wgmma reads through another path than stores take
		__syncthreads();
		uint32_t r[4];
		load_a(r, a + k, args.k);
		asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
		asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3},{%4,%5,%6,%7},%8,1,1,1,0;"
		             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		             : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "l"(descriptor)
		             : "memory");
		asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
		asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
		__syncthreads(); // before the next tile replaces this one
	}
	store_d(args.d + warp * 16 * 8, d);
}
#endif

typedef struct {
	DEVICE(uint32_t) out;        // [4 forms, 32 lanes, 4 registers]
	DEVICE(const uint16_t) rows; // [32, 8]
} LdmatrixArgs;

// Every form of ldmatrix on the same four matrices: x4, x4 transposed, x2, x2 transposed. One warp.
extern "C" __global__ void load_matrices(KERNEL_ARGS(LdmatrixArgs) args)
{
	struct Tile {
		__align__(16) uint16_t rows[32][8];
	};
	Tile &tile = shared<Tile>();
	int lane = (int)threadIdx.x;
	for (int i = 0; i < 8; i++)
		tile.rows[lane][i] = args.rows[lane * 8 + i];
	__syncthreads();
	uint32_t x4[4], x2[2];
	uint32_t *out = args.out + lane * 4;
	ldmatrix_x4(x4, tile.rows[lane]);
	for (int i = 0; i < 4; i++)
		out[i] = x4[i];
	ldmatrix_x4_trans(x4, tile.rows[lane]);
	for (int i = 0; i < 4; i++)
		out[128 + i] = x4[i];
	ldmatrix_x2(x2, tile.rows[lane]);
	out[256] = x2[0], out[257] = x2[1];
	ldmatrix_x2_trans(x2, tile.rows[lane]);
	out[384] = x2[0], out[385] = x2[1];
}

typedef struct {
	DEVICE(uint4) out;      // [2, blockDim.x]
	DEVICE(const uint4) in; // [2, blockDim.x]
	int32_t valid;          // threads below this one copy, the others get zeros
} CopyArgs;

// Two groups of asynchronous copies; the first is waited for while the second may still be under way. Each thread reads what its
// neighbour copied.
extern "C" __global__ void copy_async(KERNEL_ARGS(CopyArgs) args)
{
	struct Tile {
		uint4 chunk[2][64];
	};
	Tile &tile = shared<Tile>();
	int n = (int)blockDim.x, thread = (int)threadIdx.x, neighbour = (thread + 1) % n;
	for (int group = 0; group < 2; group++) {
		cp_async_16(&tile.chunk[group][thread], &args.in[group * n + thread], thread < args.valid);
		cp_async_commit();
	}
	cp_async_wait<1>();
	__syncthreads();
	args.out[thread] = tile.chunk[0][neighbour];
	cp_async_wait<0>();
	__syncthreads();
	args.out[n + thread] = tile.chunk[1][neighbour];
}

typedef struct {
	DEVICE(uint32_t) out;  // [n, 3]
	DEVICE(const float) x; // [n]
	int32_t n;
} ConvertArgs;

// What float_to_bf16, pack_bf16 and half_to_float make of the same bits.
extern "C" __global__ void convert(KERNEL_ARGS(ConvertArgs) args)
{
	for (int i = (int)threadIdx.x; i < args.n; i += (int)blockDim.x) {
		args.out[3 * i] = float_to_bf16(args.x[i]);
		args.out[3 * i + 1] = pack_bf16(args.x[i], -args.x[i]);
		args.out[3 * i + 2] = __float_as_uint(half_to_float((uint16_t)(__float_as_uint(args.x[i]) >> 16)));
	}
}
