// The arguments of every kernel, one struct for each, passed by value. Both the kernels (nvcc, or g++ for the
// emulator) and the Go backend (cgo) read this file, so names, types and offsets cannot differ.
//
// Matrices are row-major. "tokens" is the number of new tokens in a step, over all its sequences.
// Weights are [out, in].
#pragma once
#include <stdint.h>

#ifdef PHI3_HOST
#define DEVICE(T) uint64_t // an address on the device, which the host must not dereference
#else
#define DEVICE(T) T *
#endif

typedef uint16_t bf16_bits; // a bfloat16

// How a weight is stored. From TYPE_QUANTIZED on, the types are the quantized formats of GGUF files, in which
// a row is a whole number of blocks of 32 or 256 weights. internal/weight describes them. quants_layout.h
// says how a matrix of them lies in memory.
enum {
	TYPE_BF16,
	TYPE_F16,
	TYPE_F32,
	TYPE_QUANTIZED,
	TYPE_Q4_0 = TYPE_QUANTIZED,
	TYPE_Q4_1,
	TYPE_Q5_0,
	TYPE_Q5_1,
	TYPE_Q8_0,
	TYPE_Q2_K,
	TYPE_Q3_K,
	TYPE_Q4_K,
	TYPE_Q5_K,
	TYPE_Q6_K,
	TYPE_Q8_K,
	TYPE_IQ4_NL,
	TYPE_IQ4_XS,
};

enum {
	KV_CHUNK = 128, // positions in a block of the KV cache, and keys that attention processes at once

	// Matrix products cut K into at most K_SEGMENTS segments of K_STEP·⌈⌈K/K_STEP⌉/K_SEGMENTS⌉ columns.
	// Each segment is summed from zero in ascending order of k. The segments are added to zero in
	// ascending order. Because of this fixed order a logit has the same bits in prefill and in decode.
	K_SEGMENTS = 8,
	K_STEP = 64,

	DECODE_TOKENS = 8, // most tokens of the decode kernels: the columns of one tensor-core tile
	BATCH_TOKENS = 64, // most tokens of the batch kernels: 8 tiles
};

// One sequence's part of a step.
typedef struct {
	int32_t start;    // its first row in the step
	int32_t len;      // its number of rows, ≥ 1
	int32_t position; // the position of its first row
	int32_t table;    // where its block table starts in block_table
} Span;

// One work item of attention, in sequence seq. In decode, first is the number of a chunk of keys.
// In prefill, first is the first query of the item.
typedef struct {
	int32_t seq, first;
} Work;

// embed: x[t] = table[ids[t]], widened. One block of EMBED_THREADS for each token. A negative id counts as
// 0: where argmax gives one to the next step, the host drops that step.
enum { EMBED_THREADS = 256 };
typedef struct {
	DEVICE(float) x;           // [tokens, cols]
	DEVICE(const void) table;  // [vocab, cols] of type
	DEVICE(const int32_t) ids; // [tokens]
	int32_t cols, type;
} EmbedArgs;

// copy_rows: y[i] = x[rows[i]]. One block of COPY_ROWS_THREADS for each row.
enum { COPY_ROWS_THREADS = 256 };
typedef struct {
	DEVICE(float) y;            // [*, cols]
	DEVICE(const float) x;      // [*, cols]
	DEVICE(const int32_t) rows; // [gridDim.x]
	int32_t cols;
} CopyRowsArgs;

// rms_norm: y = x / √(mean(x²) + eps) · norm, stored as TYPE_F32 or rounded to TYPE_BF16.
// One block of RMS_NORM_THREADS for each token.
enum { RMS_NORM_THREADS = 256 };
typedef struct {
	DEVICE(void) y;           // [tokens, cols] of type
	DEVICE(const float) x;    // [tokens, cols]
	DEVICE(const float) norm; // [cols]
	int32_t cols, type;
	float eps;
} RMSNormArgs;

// The matrix products, for bf16 and f16 weights (suffix _bf16, _f16), and for weights of any quantized type
// (suffix _quantized), which become bfloat16 before they are multiplied. Sums are float32. k is a multiple of
// 8, and of 32 or 256 for quantized weights. For gate_up, "rows" counts the outputs, and w has 2·rows rows,
// gates first; for decode with quantized weights rows is then a multiple of 8.
//
// Up to DECODE_TOKENS tokens. The grid may have any number of blocks, which share the row tiles.
// A block has LINEAR_DECODE_THREADS threads:
//
//   kernel               result              x         y
//   linear_decode        y = x·wᵀ            bfloat16  float32
//   linear_add_decode    y = y + x·wᵀ        bfloat16  float32
//   gate_up_decode       y = SiLU(g)·u       bfloat16  bfloat16
//   norm_linear_decode   y = n·wᵀ            float32   float32    n = RMSNorm(x)·norm
//   norm_gate_up_decode  y = SiLU(g)·u of n  float32   bfloat16
//
// Their dynamic shared memory is LINEAR_DECODE_SHARED(stages) bytes. The norm_ kernels need
// NORMED_BYTES(tokens, k) more; where that is too much, rms_norm followed by the kernel without norm_ gives
// the same bits.
//
// Up to BATCH_TOKENS tokens: linear_batch, linear_add_batch and gate_up_batch, with the same x, y and bits as
// the decode kernels without norm_. The grid may have any number of blocks of LINEAR_BATCH_THREADS, which
// share the row tiles. Dynamic shared memory: LINEAR_BATCH_SHARED(tokens, stages).
//
// Any number of tokens: linear_prefill, linear_add_prefill and gate_up_prefill, with the same x, y and bits.
// Their grid is (⌈tokens/LINEAR_PREFILL_TOKENS⌉, ⌈weight rows/LINEAR_PREFILL_ROWS⌉), of blocks of
// LINEAR_PREFILL_THREADS threads and LINEAR_PREFILL_SHARED bytes of dynamic shared memory.
enum {
	LINEAR_DECODE_THREADS = 256,
	LINEAR_DECODE_TILE = 16, // weight rows that a block takes at once; for gate_up 8 gates and their 8 ups
	// Stages of a ring. With 4 stages, two blocks fit on a multiprocessor with 164 KB of shared memory. With
	// 6 stages, a block of each of two kernels fits on one with 228 KB, with the normed x of one token.
	LINEAR_DECODE_STAGES = 4,
	LINEAR_DECODE_WIDE_STAGES = 6, // not for quantized weights
	LINEAR_DECODE_SUMS = 2 * K_SEGMENTS * LINEAR_DECODE_TILE * DECODE_TOKENS * 4, // bytes: of two tiles
	LINEAR_PREFILL_THREADS = 256,
	LINEAR_PREFILL_TOKENS = 128,
	LINEAR_PREFILL_ROWS = 128, // weight rows; for gate_up 64 gates and 64 ups
	LINEAR_PREFILL_STAGES = 3,
	// Bytes: 96 KB.
	LINEAR_PREFILL_SHARED =
		LINEAR_PREFILL_STAGES * (LINEAR_PREFILL_TOKENS + LINEAR_PREFILL_ROWS) * K_STEP * 2,
};
// Bytes: rings of 64 or 96 KB, and the segments' sums; 72 or 104 KB in all.
#define LINEAR_DECODE_RING(stages) (K_SEGMENTS * (stages) * LINEAR_DECODE_TILE * K_STEP * 2)
#define LINEAR_DECODE_SHARED(stages) (LINEAR_DECODE_RING(stages) + LINEAR_DECODE_SUMS)
// Rows of the normed x, each followed by 8 zeros, which avoid bank conflicts where k is a multiple of 64.
#define NORMED_BYTES(tokens, k) ((tokens) * ((k) + 8) * 2)
// The batch kernels take tokens as tiles of 8, and weight rows as tiles of 16. A block takes 2 or 4 row tiles
// at once. For gate_up each is 8 gates and their 8 ups.
#define LINEAR_BATCH_TOKEN_TILES(tokens) ((tokens) > 32 ? 8 : 4)
#define LINEAR_BATCH_ROW_TILES(tokens) ((tokens) > 32 ? 4 : 2)
// A stage is LINEAR_BATCH_COLS columns of each segment of K, of a block's weight rows and of all tokens. The
// ring has 2, 4, 6 or 8 stages: the host chooses as many as fit.
enum { LINEAR_BATCH_THREADS = 256, LINEAR_BATCH_COLS = 16, LINEAR_BATCH_MAX_STAGES = 8 };
#define LINEAR_BATCH_STAGE(tokens) \
	(K_SEGMENTS * LINEAR_BATCH_COLS * 2 * \
	 (16 * LINEAR_BATCH_ROW_TILES(tokens) + 8 * LINEAR_BATCH_TOKEN_TILES(tokens)))
// Of one row tile.
#define LINEAR_BATCH_SUMS(tokens) (K_SEGMENTS * LINEAR_BATCH_TOKEN_TILES(tokens) * 16 * 8 * 4)
// KB of a stage, of the sums, and in all with the ring that fits in 99, 163 and 227 KB:
//
//   tokens   stage   sums       stages and KB
//     ≤ 32      16     16    4: 80    8: 144   8: 144
//     ≤ 64      32     32    2: 96    4: 160   6: 224
#define LINEAR_BATCH_SHARED(tokens, stages) \
	((stages) * LINEAR_BATCH_STAGE(tokens) + LINEAR_BATCH_SUMS(tokens))
typedef struct {
	DEVICE(void) y;           // [tokens, rows]
	DEVICE(const void) x;     // [tokens, k]
	DEVICE(const float) norm; // [k], for the norm_ kernels
	DEVICE(const void) w;     // [rows, k], or [2·rows, k] for gate_up
	int32_t tokens, rows, k;
	float eps;    // for the norm_ kernels
	int32_t type; // of w, for the _quantized kernels
	// The weights of the next product, whose first next_bytes the decode and batch kernels prefetch into the
	// L2 cache. next_bytes is a multiple of 16, and 0 where there is no next product.
	DEVICE(const void) next;
	int32_t next_bytes;
	// Of the ring: LINEAR_DECODE_STAGES or LINEAR_DECODE_WIDE_STAGES; 2, 4, 6 or 8 in the batch kernels.
	int32_t stages;
} LinearArgs;

// The KV cache, as kv_append and attention see it. The key of position p and kv head g is row p %
// KV_CHUNK of block b = block_table[span.table + p / KV_CHUNK]. The keys of this layer in block b start
// at kv + b·block_stride, as [kv_heads, KV_CHUNK, head_dim]. The values follow the keys.
//
// kv_append: rotates the keys of qkv by their positions (spec 3.2) and appends keys and values to the
// cache, as bfloat16 or, with type TYPE_F32, as float32. One block of KV_APPEND_THREADS for each token.
// block_stride counts elements of that type.
enum { KV_APPEND_THREADS = 128 };
typedef struct {
	DEVICE(void) kv;                   // the layer's keys in block 0
	DEVICE(const float) qkv;           // [tokens, (heads + 2·kv_heads)·head_dim]
	DEVICE(const float) cos;           // [tokens, rope_half]
	DEVICE(const float) sin;           // [tokens, rope_half]
	DEVICE(const Span) spans;          // [seqs]
	DEVICE(const int32_t) block_table; // of all sequences
	int64_t block_stride;
	int32_t seqs, heads, kv_heads, head_dim, rope_half, type;
} KVAppendArgs;

// Attention. The fast kernels exist for heads of 64, 80, 96, 128 and 256 dimensions; the number ends
// their names. All add in the same order: the elements of a head in ascending order, the keys in chunks.
//
// attention_decode_*, for any number of sequences of up to DECODE_TOKENS tokens: RoPE, the append of the new
// keys and values, and softmax(q·kᵀ/√head_dim)·v over the keys that each query may see. A work item is one
// chunk of keys of one sequence. A sequence's work items are all chunks that its queries see, one after
// another. The grid may have any number of blocks of ATTENTION_DECODE_THREADS; they share all pairs (work
// item, kv head). Each chunk is processed separately, and the block that finishes last joins the chunks in
// ascending order. If there is only one chunk, its block stores the result itself.
//
// attention_prefill_*: the same without the append; kv_append must run first. A work item is up to
// ATTENTION_PREFILL_ROWS / (heads / kv_heads) queries. The grid is (work items,
// kv_heads·ATTENTION_PREFILL_SPLITS), of ATTENTION_PREFILL_THREADS threads a block.
//
// reference_attention: float32 everywhere, also in the cache; heads of any width. One warp for each
// (token, head), in a grid of (tokens, heads).
//
// Dynamic shared memory: ATTENTION_DECODE_SHARED, ATTENTION_PREFILL_SHARED, REFERENCE_ATTENTION_SHARED of
// head_dim.
enum {
	ATTENTION_DECODE_THREADS = 128,
	ATTENTION_PREFILL_THREADS = 256,
	ATTENTION_PREFILL_ROWS = 128,
};
// Some GPUs allow a block only 99 KB. So in decode the widest heads have one tile, for the keys and then
// for the values, and in prefill they bring keys and values in parts of 64 columns.
#define ATTENTION_DECODE_TILES(head_dim) ((head_dim) > 128 ? 1 : 2)
#define ATTENTION_PREFILL_PART(head_dim) ((head_dim) > 128 ? 64 : (head_dim))
// Blocks that share the columns of a result.
#define ATTENTION_PREFILL_SPLITS(head_dim) ((head_dim) > 128 ? 2 : 1)
// Keys, values, 16 rows of queries; 16 rows of weights, each 16 bytes longer than a power of two; 64
// maxima and a flag. On a multiprocessor of 228 KB, where each block costs 1 KB more:
//
//   head_dim                  64   80   96   128   256
//   KB                      38.5   47 55.5  72.5  76.5
//   blocks that fit            5    4    4     3     2
#define ATTENTION_DECODE_SHARED(head_dim) \
	((ATTENTION_DECODE_TILES(head_dim) * KV_CHUNK + 16) * (head_dim) * 2 + 16 * (KV_CHUNK + 8) * 2 + 65 * 4)
// Queries, and two tiles of keys or values: 48, 60, 72, 96 and 96 KB.
#define ATTENTION_PREFILL_SHARED(head_dim) \
	((ATTENTION_PREFILL_ROWS * (head_dim) + 2 * KV_CHUNK * ATTENTION_PREFILL_PART(head_dim)) * 2)
#define REFERENCE_ATTENTION_SHARED(head_dim) (((head_dim) + KV_CHUNK) * 4) // a query, and a chunk's weights
typedef struct {
	DEVICE(void) out;                  // [tokens, heads·head_dim] bfloat16; float32 for the reference
	DEVICE(const float) qkv;           // [tokens, (heads + 2·kv_heads)·head_dim]
	DEVICE(void) kv;                   // as in kv_append
	DEVICE(const float) cos;           // [tokens, rope_half]
	DEVICE(const float) sin;           // [tokens, rope_half]
	DEVICE(const Span) spans;          // [seqs]
	DEVICE(const int32_t) block_table; // of all sequences
	DEVICE(const Work) work;           // [*works]
	// For decode:
	DEVICE(const int32_t) works; // [1]: how many work items; in memory because a graph repeats its arguments
	DEVICE(float) partial;       // [*works, DECODE_TOKENS, heads, head_dim + 2]: for the chunks of a sequence
	                             // all weighted sums of values, then all greatest scores and sums of weights
	DEVICE(int32_t) arrived;     // [seqs, kv_heads]: chunks done; 0 before and after

	int64_t block_stride;              // elements
	int32_t seqs, heads, kv_heads, head_dim, rope_half;
	int32_t window; // 0: none; otherwise query q sees key k if q - window < k ≤ q
	float scale;    // log2(e)/√head_dim, because the kernels use powers of two
} AttentionArgs;

// argmax: next[i] = the lowest id among the greatest logits of row i, or ~id of the first logit that is
// NaN or infinite. One block of ARGMAX_THREADS for each row.
enum { ARGMAX_THREADS = 1024 };
typedef struct {
	DEVICE(int32_t) next;       // [gridDim.x]
	DEVICE(const float) logits; // [gridDim.x, vocab]
	int32_t vocab;
} ArgmaxArgs;

// reference_linear: y = x·wᵀ or, with add, y + x·wᵀ. Nothing is rounded: x, sums, and w of any type, are
// float32. Only quantized weights are bfloat16, as in all kernels. reference_gate_up: y = SiLU(g)·u, also in
// float32. One thread for each (row, token), in a grid of (⌈rows/REFERENCE_THREADS⌉, tokens).
enum { REFERENCE_THREADS = 128 };
typedef struct {
	DEVICE(float) y;       // [tokens, rows]
	DEVICE(const float) x; // [tokens, k]
	DEVICE(const void) w;  // [rows, k] of type; [2·rows, k] for gate_up
	int32_t rows, k, type, add;
} ReferenceLinearArgs;
