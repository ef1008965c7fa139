// Makes data for the other experiments on the GPU, because uploading gigabytes takes seconds. The host
// can compute every value.
#include "experiment.cuh"

// fill_words: data[i] = i·FILL_FACTOR + seed. The sum of any range has a closed form.
//
// fill_bf16: data[i] = scale·u, rounded to bfloat16, where u is a pseudo-random multiple of 2⁻²³ with -1
// ≤ u < 1. With k > 0 the data are a matrix [n/k, k] stored as atoms (see wgmma.cu), and i still counts
// its elements in row-major order. n < 2³².
enum { FILL_THREADS = 256 };
#define FILL_FACTOR 0x9e3779b1u
typedef struct {
	DEVICE(void) data; // [n] uint32 or bfloat16
	int64_t n;
	uint32_t seed;
	float scale;
	int32_t k; // a multiple of 64, n/k a multiple of 8; or 0
} FillArgs;

namespace {

__device__ inline uint16_t random_bf16(uint32_t i, uint32_t seed, float scale)
{
	uint32_t h = i + seed * FILL_FACTOR; // mixed like the end of MurmurHash3
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	h ^= h >> 16;
	return float_to_bf16((float)((int32_t)(h >> 8) - (1 << 23)) * (1.0f / (1 << 23)) * scale);
}

// The number of the matrix element, in a matrix [rows, k], that the atoms store at place i. There are
// [k/64][rows/8] atoms of 8 rows and 64 columns.
__device__ inline uint32_t atom_element(uint32_t i, uint32_t rows, uint32_t k)
{
	const uint32_t in_atom = i % 512, atom = i / 512, row = in_atom / 64, unit = in_atom / 8 % 8 ^ row;
	return (atom % (rows / 8) * 8 + row) * k + atom / (rows / 8) * 64 + unit * 8 + i % 8;
}

} // namespace

extern "C" __global__ void __launch_bounds__(FILL_THREADS) fill_words(KERNEL_ARGS(FillArgs) args)
{
	for (int64_t i = (int64_t)blockIdx.x * FILL_THREADS + threadIdx.x; i < args.n;
	     i += (int64_t)gridDim.x * FILL_THREADS)
		static_cast<uint32_t *>(args.data)[i] = (uint32_t)i * FILL_FACTOR + args.seed;
}

extern "C" __global__ void __launch_bounds__(FILL_THREADS) fill_bf16(KERNEL_ARGS(FillArgs) args)
{
	const uint32_t rows = args.k ? (uint32_t)(args.n / args.k) : 0;
	for (int64_t i = (int64_t)blockIdx.x * FILL_THREADS + threadIdx.x; i < args.n;
	     i += (int64_t)gridDim.x * FILL_THREADS)
		static_cast<uint16_t *>(args.data)[i] =
			random_bf16(args.k ? atom_element((uint32_t)i, rows, (uint32_t)args.k) : (uint32_t)i, args.seed,
			            args.scale);
}
