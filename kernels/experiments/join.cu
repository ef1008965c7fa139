// What does attention gain from joining its chunks in parallel (B2)?
//
// This is the program's attention for heads of 96 dimensions, compiled from the same file. Only the join
// differs: it is the serial one that B2 replaced. The results have the same bits. The figures are those of
// the question "attention": serial-join minus join is what B2 gains.
//
// The partial results are where the program stores them today. So the serial join reads a chunk's greatest
// score and sum of weights beside those of the next chunk. Before B2 they were behind the chunk's sums of
// values, in another line of the cache for each chunk, so that join may have been slower than this one.
#include "attention.cuh"

namespace {

// A specialization that is declared before its template is defined replaces the template. Two templates of
// attention_decode.cu are replaced: the join, and the kernels for heads of other widths, which do nothing.
struct DecodeHead;
template <int D> struct AttentionDecodeShared;

template <int D>
__device__ inline void join_chunks(const AttentionArgs &args, const DecodeHead &h,
                                   AttentionDecodeShared<D> &sh);
template <>
__device__ inline void join_chunks(const AttentionArgs &args, const DecodeHead &h,
                                   AttentionDecodeShared<96> &sh);

template <int D> __device__ inline void attention_decode(const AttentionArgs &args);
template <> __device__ inline void attention_decode<64>(const AttentionArgs &) {}
template <> __device__ inline void attention_decode<80>(const AttentionArgs &) {}
template <> __device__ inline void attention_decode<128>(const AttentionArgs &) {}
template <> __device__ inline void attention_decode<256>(const AttentionArgs &) {}

} // namespace

// Other names, because the emulator links the experiments with the program's kernels.
#define attention_decode_64 attention_unused_64
#define attention_decode_80 attention_unused_80
#define attention_decode_96 attention_serial_join_96
#define attention_decode_128 attention_unused_128
#define attention_decode_256 attention_unused_256
#include "attention_decode.cu"

namespace {

// Each thread joins the chunks of one column of a row in ascending order. For each chunk it computes two
// exponentials and waits for three loads.
template <>
__device__ inline void join_chunks(const AttentionArgs &args, const DecodeHead &h,
                                   AttentionDecodeShared<96> &)
{
	constexpr int D = 96;
	for (int i = threadIdx.x; i < h.rows.count * D; i += ATTENTION_DECODE_THREADS) {
		const int row = i / D, j = i % D, position = position_of(h.rows, row);
		const int from = oldest_visible(position, args.window) / KV_CHUNK, to = position / KV_CHUNK;
		const Partial p = partial<D>(args, h, row);
		float top = -INFINITY, total = 0, sum = 0;
#pragma unroll 4
		for (int chunk = from - h.first_chunk; chunk <= to - h.first_chunk; chunk++) {
			const float *of_weights = (const float *)&p.tops[chunk]; // two loads, as before B2
			const Factors factors = join_tops(top, of_weights[0]);
			total = join_sums(total, of_weights[1], factors);
			sum = join_sums(sum, p.sums[(int64_t)chunk * D + j], factors);
		}
		out_of<D>(args, h, row)[j] = float_to_bf16(sum * (1 / total));
	}
}

} // namespace
