// The arguments of every kernel: one struct a kernel, passed by value. The same file is read by the kernels (nvcc, or g++ for the
// emulator) and by the Go backend (cgo), so the two sides cannot disagree about a name, a type or an offset.
//
// Matrices are row-major. "tokens" counts the new tokens of a step, over all its sequences. Weights are [out, in].
#pragma once
#include <stdint.h>

#ifdef PHI3_HOST
#define DEVICE(T) uint64_t // an address on the device; the host must not follow it
#else
#define DEVICE(T) T *
#endif

typedef uint16_t bf16_bits; // a bfloat16

// How a weight is stored.
enum { TYPE_BF16, TYPE_F16, TYPE_F32 };

enum {
	KV_CHUNK = 128, // positions in a block of the KV cache, and keys that attention takes at once

	// Matrix products split K into at most K_SEGMENTS stretches of K_STEP·⌈⌈K/K_STEP⌉/K_SEGMENTS⌉ columns, sum each from zero in
	// ascending order of k, and add the stretches in ascending order to zero. This is what makes a logit the same in prefill and decode.
	K_SEGMENTS = 8,
	K_STEP = 64,

	DECODE_TOKENS = 8, // most tokens of the decode kernels: the columns of one tensor-core tile
};

// One sequence's part of a step.
typedef struct {
	int32_t start;    // its first row in the step
	int32_t len;      // its rows, ≥ 1
	int32_t position; // of its first row
	int32_t table;    // where its block table starts in block_table
} Span;

// A piece of attention's work: of sequence seq, in decode the chunk of keys number first; in prefill the queries from first on.
typedef struct {
	int32_t seq, first;
} Work;

// embed: x[t] = table[ids[t]], widened. A block of EMBED_THREADS a token.
enum { EMBED_THREADS = 256 };
typedef struct {
	DEVICE(float) x;           // [tokens, cols]
	DEVICE(const void) table;  // [vocab, cols] of type
	DEVICE(const int32_t) ids; // [tokens]
	int32_t cols, type;
} EmbedArgs;

// copy_rows: y[i] = x[rows[i]]. A block of COPY_ROWS_THREADS a row.
enum { COPY_ROWS_THREADS = 256 };
typedef struct {
	DEVICE(float) y;            // [*, cols]
	DEVICE(const float) x;      // [*, cols]
	DEVICE(const int32_t) rows; // [gridDim.x]
	int32_t cols;
} CopyRowsArgs;

// rms_norm: y = x / √(mean(x²) + eps) · norm, stored as TYPE_F32 or rounded to TYPE_BF16. A block of RMS_NORM_THREADS a token.
enum { RMS_NORM_THREADS = 256 };
typedef struct {
	DEVICE(void) y;           // [tokens, cols] of type
	DEVICE(const float) x;    // [tokens, cols]
	DEVICE(const float) norm; // [cols]
	int32_t cols, type;
	float eps;
} RMSNormArgs;

// The matrix products, for bf16 and f16 weights (suffix _bf16, _f16). Inputs are bfloat16, sums float32. k is a multiple of 8.
//
// Up to DECODE_TOKENS tokens, on any grid (the blocks share the row tiles), LINEAR_DECODE_THREADS threads a block:
//   norm_linear_decode    y = (RMSNorm(x)·norm)·wᵀ    x float32; dynamic shared memory: LINEAR_DECODE_SHARED + NORMED_BYTES(tokens, k);
//                                                     where that is too much, rms_norm and linear_decode come to the same bits
//   norm_gate_up_decode   y = SiLU(g)·u of the same   likewise; y bfloat16 [tokens, rows]
//   linear_decode         y = x·wᵀ                    x bfloat16; dynamic shared memory: LINEAR_DECODE_SHARED
//   gate_up_decode        y = SiLU(g)·u               likewise; y bfloat16 [tokens, rows]
//   linear_add_decode     y = y + x·wᵀ                likewise
// More tokens: a grid of (⌈tokens/LINEAR_PREFILL_TOKENS⌉, ⌈weight rows/LINEAR_PREFILL_ROWS⌉), LINEAR_PREFILL_THREADS threads a block,
// LINEAR_PREFILL_SHARED bytes of dynamic shared memory, x bfloat16:
//   linear_prefill, gate_up_prefill, linear_add_prefill
// Both give the same bits. For gate_up, rows counts the outputs; w has 2·rows rows, gates first.
enum {
	LINEAR_DECODE_THREADS = 256,
	LINEAR_DECODE_TILE = 16, // weight rows a block takes at once; for gate_up 8 gates and the 8 ups that belong to them
	LINEAR_DECODE_STAGES = 4,
	LINEAR_DECODE_RING = K_SEGMENTS * LINEAR_DECODE_STAGES * LINEAR_DECODE_TILE * K_STEP * 2, // bytes: 64 KB
	LINEAR_DECODE_SUMS = 2 * K_SEGMENTS * LINEAR_DECODE_TILE * DECODE_TOKENS * 4,             // bytes: the segments' sums of two tiles
	LINEAR_DECODE_SHARED = LINEAR_DECODE_RING + LINEAR_DECODE_SUMS,                           // bytes: 72 KB
	LINEAR_PREFILL_THREADS = 256,
	LINEAR_PREFILL_TOKENS = 128,
	LINEAR_PREFILL_ROWS = 128, // weight rows; for gate_up 64 gates and 64 ups
	LINEAR_PREFILL_STAGES = 3,
	LINEAR_PREFILL_SHARED = LINEAR_PREFILL_STAGES * (LINEAR_PREFILL_TOKENS + LINEAR_PREFILL_ROWS) * K_STEP * 2, // bytes: 96 KB
};
#define NORMED_BYTES(tokens, k) ((tokens) * ((k) + 8) * 2) // rows of normed x and 8 zeros: no bank conflicts where k is a multiple of 64
typedef struct {
	DEVICE(void) y;           // [tokens, rows] float32, or bfloat16 for gate_up
	DEVICE(const void) x;     // [tokens, k]
	DEVICE(const float) norm; // [k], for the kernels named norm_
	DEVICE(const void) w;     // [rows, k], or [2·rows, k] for gate_up
	int32_t tokens, rows, k;
	float eps; // for norm
} LinearArgs;

// What attention and kv_append know of the cache. Key of position p, kv head g: p is row p % KV_CHUNK of block
// block_table[span.table + p / KV_CHUNK]; block b's keys of this layer start at kv + b·block_stride, as [kv_heads, KV_CHUNK, head_dim];
// its values follow its keys.
//
// kv_append: rotates the keys of qkv by their positions (spec 3.2) and appends keys and values to the cache, as bfloat16 or, with
// type TYPE_F32, as float32. A block of KV_APPEND_THREADS a token. block_stride counts elements of that type.
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

// The kernels of attention are made for heads of 64, 80, 96, 128 and 256 dimensions, which end their names. Those of any width add in the
// same order: elements of a head in ascending order, keys in chunks.
// attention_decode_* (up to DECODE_TOKENS tokens): RoPE, append of the new keys and values, and softmax(q·kᵀ/√head_dim)·v over the
// keys each query may see. Any grid; the blocks, of ATTENTION_DECODE_THREADS, share the work: every (work item, kv head). An item is one
// chunk of keys of one sequence; chunks are attended to apart and the last to finish merges them in ascending order.
// attention_prefill_*: the same without the append, which kv_append has done before. A grid of (work items,
// kv_heads·ATTENTION_PREFILL_SPLITS), ATTENTION_PREFILL_THREADS threads a block; an item is up to ATTENTION_PREFILL_ROWS / (heads / kv_heads)
// queries.
// reference_attention: float32 throughout, cache included; one warp for every (token, head), a grid of (tokens, heads).
// Dynamic shared memory: ATTENTION_DECODE_SHARED, ATTENTION_PREFILL_SHARED, REFERENCE_ATTENTION_SHARED of head_dim.
enum {
	ATTENTION_DECODE_THREADS = 128,
	ATTENTION_PREFILL_THREADS = 256,
	ATTENTION_PREFILL_ROWS = 128,
};
// The least that a GPU lets a block have is 99 KB: so the widest heads have one tile for keys and values in turn, and in prefill take
// them in parts of 64 columns.
#define ATTENTION_DECODE_TILES(head_dim) ((head_dim) > 128 ? 1 : 2)
#define ATTENTION_PREFILL_PART(head_dim) ((head_dim) > 128 ? 64 : (head_dim))
#define ATTENTION_PREFILL_SPLITS(head_dim) ((head_dim) > 128 ? 2 : 1) // blocks that share the columns of a result
// Keys, values, 16 rows of queries; 16 rows of weights, 16 bytes apart from a power of two; 64 maxima and a flag. 38.5, 47, 55.5, 72.5 and
// 76.5 KB for heads of 64, 80, 96, 128 and 256, so that 5, 4, 4, 3 and 2 blocks fit a multiprocessor of 228 KB, of which each block costs
// 1 KB more.
#define ATTENTION_DECODE_SHARED(head_dim) \
	((ATTENTION_DECODE_TILES(head_dim) * KV_CHUNK + 16) * (head_dim) * 2 + 16 * (KV_CHUNK + 8) * 2 + 65 * 4)
// Queries, and two tiles of keys or values: 48, 60, 72, 96 and 96 KB.
#define ATTENTION_PREFILL_SHARED(head_dim) ((ATTENTION_PREFILL_ROWS * (head_dim) + 2 * KV_CHUNK * ATTENTION_PREFILL_PART(head_dim)) * 2)
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
	DEVICE(const int32_t) works;       // [1] number of work items, for decode: a graph is replayed with another number
	DEVICE(float) partial;             // decode: [tokens·heads, max_chunks, head_dim + 2] weighted sum of values, maximum, sum of exponentials
	DEVICE(int32_t) arrived;           // decode: [seqs, kv_heads] chunks done; 0 before and after
	int64_t block_stride;              // elements
	int32_t seqs, heads, kv_heads, head_dim, rope_half;
	int32_t window;     // 0: none; else key k is visible to query q iff q - window < k ≤ q
	int32_t max_chunks; // row length of partial
	float scale;        // log2(e)/√head_dim: the kernels use powers of two
} AttentionArgs;

// argmax: next[i] = the lowest id among the greatest logits of row i, or ~id of the first logit that is NaN or infinite.
// A block of ARGMAX_THREADS a row.
enum { ARGMAX_THREADS = 1024 };
typedef struct {
	DEVICE(int32_t) next;       // [gridDim.x]
	DEVICE(const float) logits; // [gridDim.x, vocab]
	int32_t vocab;
} ArgmaxArgs;

// reference_linear: y = x·wᵀ or, with add, y + x·wᵀ, where nothing is rounded: x, w (any type, widened) and sums are float32.
// reference_gate_up: y = SiLU(g)·u likewise. A thread for every (row, token): a grid of (⌈rows/REFERENCE_THREADS⌉, tokens).
enum { REFERENCE_THREADS = 128 };
typedef struct {
	DEVICE(float) y;       // [tokens, rows]
	DEVICE(const float) x; // [tokens, k]
	DEVICE(const void) w;  // [rows, k] of type; [2·rows, k] for gate_up
	int32_t rows, k, type, add;
} ReferenceLinearArgs;
