// Kernels for conformance_test.go, which show what a device's instructions do. They are not part of the
// program.
#include "args.h"
#include "gpu.h"

using namespace gpu;

// d = c + a·bᵀ for 64 rows, in 128 threads. Each sum takes k in ascending order, 16 at a time.
enum { SUM_ROWS = 64, SUM_THREADS = 128 };
typedef struct {
	DEVICE(float) d;           // [SUM_ROWS, columns]
	DEVICE(const bf16_bits) a; // [SUM_ROWS, k]
	DEVICE(const bf16_bits) b; // [columns, k]
	DEVICE(const float) c;     // [SUM_ROWS, columns]
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

// Where this lane's number i of 8 columns lies in rows of columns numbers: its warp has 16 rows.
static __device__ int place(int i, int columns)
{
	int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
	return (warp * 16 + lane / 4 + i / 2 * 8) * columns + lane % 4 * 2 + i % 2;
}

// With mma.sync; 8 columns.
extern "C" __global__ void sum_mma(KERNEL_ARGS(SumArgs) args)
{
	int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
	const bf16_bits *a = args.a + warp * 16 * args.k, *b = args.b + (lane / 4) * args.k + 2 * (lane % 4);
	float d[4];
	for (int i = 0; i < 4; i++)
		d[i] = args.c[place(i, 8)];
	for (int k = 0; k < args.k; k += 16) {
		uint32_t ra[4], rb[2] = {pair(b + k), pair(b + k + 8)};
		load_a(ra, a + k, args.k);
		mma_bf16(d, ra, rb);
	}
	for (int i = 0; i < 4; i++)
		args.d[place(i, 8)] = d[i];
}

// The same with wgmma, which only compute capability 9.0 has.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A matrix for wgmma in shared memory. 8 consecutive rows of 16 bytes are a core matrix. Here all rows of
// the first 8 columns come first, then all rows of the last 8. There is no swizzle.
template <int ROWS> struct Operand {
	__align__(128) bf16_bits core[2][ROWS][8];

	// Distances of core matrices in units of 16 bytes: along k from bit 16 on, along the rows from bit 32 on.
	__device__ uint64_t descriptor() const
	{
		return (shared_address(core) & 0x3ffff) / 16 | (uint64_t)ROWS << 16 | (uint64_t)8 << 32;
	}

	// Takes 16 columns of a matrix [ROWS, k].
	__device__ void copy(const bf16_bits *from, int k)
	{
		for (int i = (int)threadIdx.x; i < ROWS * 16; i += SUM_THREADS)
			core[i % 16 / 8][i / 16][i % 8] = from[i / 16 * k + i % 16];
	}
};

#define D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define D24(i) D4(i), D4(i + 1), D4(i + 2), D4(i + 3), D4(i + 4), D4(i + 5)
#define D96 D24(0), D24(6), D24(12), D24(18)
#define D96_NAMES \
	"{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
	"%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
	"%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71," \
	"%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95}"
#define A_REGISTERS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

// d += a·bᵀ for 16 columns of k. The numbers after the operands mean: add to d; do not negate a or b; do
// not transpose those in memory.
static __device__ void wgmma(float (&d)[1][4], const uint32_t (&a)[4], uint64_t b)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3},{%4,%5,%6,%7},%8,1,1,1,0;"
	             : D4(0)
	             : A_REGISTERS, "l"(b)
	             : "memory");
}

static __device__ void wgmma(float (&d)[1][4], uint64_t a, uint64_t b)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3},%4,%5,1,1,1,0,0;"
	             : D4(0)
	             : "l"(a), "l"(b)
	             : "memory");
}

static __device__ void wgmma(float (&d)[24][4], const uint32_t (&a)[4], uint64_t b)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " D96_NAMES
	             ",{%96,%97,%98,%99},%100,1,1,1,0;"
	             : D96
	             : A_REGISTERS, "l"(b)
	             : "memory");
}

static __device__ void wgmma(float (&d)[24][4], uint64_t a, uint64_t b)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " D96_NAMES ",%96,%97,1,1,1,0,0;"
	             : D96
	             : "l"(a), "l"(b)
	             : "memory");
}

template <int COLUMNS, bool A_IN_SHARED_MEMORY> static __device__ void sum_wgmma(const SumArgs &args)
{
	Operand<SUM_ROWS> &shared_a = shared<Operand<SUM_ROWS>>();
	Operand<COLUMNS> &shared_b = shared<Operand<COLUMNS>>();
	const bf16_bits *a = args.a + (int)threadIdx.x / 32 * 16 * args.k;
	float d[COLUMNS / 8][4];
#pragma unroll
	for (int n = 0; n < COLUMNS / 8; n++)
		for (int i = 0; i < 4; i++)
			d[n][i] = args.c[8 * n + place(i, COLUMNS)];
	for (int k = 0; k < args.k; k += 16) {
		if (A_IN_SHARED_MEMORY)
			shared_a.copy(args.a + k, args.k);
		shared_b.copy(args.b + k, args.k);
		// wgmma reads shared memory through another path than stores write it.
		asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
		__syncthreads();
		uint32_t r[4];
		load_a(r, a + k, args.k);
		asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
		if constexpr (A_IN_SHARED_MEMORY)
			wgmma(d, shared_a.descriptor(), shared_b.descriptor());
		else
			wgmma(d, r, shared_b.descriptor());
		asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
		asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
		__syncthreads(); // before the next tiles replace these
	}
#pragma unroll
	for (int n = 0; n < COLUMNS / 8; n++)
		for (int i = 0; i < 4; i++)
			args.d[8 * n + place(i, COLUMNS)] = d[n][i];
}

#define SUM_WGMMA(name, columns, a_in_shared_memory)                                 \
	extern "C" __global__ void __launch_bounds__(SUM_THREADS) name(KERNEL_ARGS(SumArgs) args) \
	{                                                                                \
		sum_wgmma<columns, a_in_shared_memory>(args);                                \
	}
SUM_WGMMA(sum_wgmma_8_registers, 8, false)
SUM_WGMMA(sum_wgmma_8_shared, 8, true)
SUM_WGMMA(sum_wgmma_192_registers, 192, false)
SUM_WGMMA(sum_wgmma_192_shared, 192, true)
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

// Two groups of asynchronous copies. The first is waited for while the second may still be in flight.
// Each thread reads what its neighbour copied.
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

typedef struct {
	DEVICE(float) out;     // [n]
	DEVICE(const float) x; // [n]
	int32_t n;
} PowerArgs;

// exp2_approx of every x.
extern "C" __global__ void powers(KERNEL_ARGS(PowerArgs) args)
{
	for (int i = (int)threadIdx.x; i < args.n; i += (int)blockDim.x)
		args.out[i] = exp2_approx(args.x[i]);
}
