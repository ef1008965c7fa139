//go:build cuda && linux && cgo

package cuda

/*
#include "args.h"

static int attention_decode_shared(int head_dim) { return ATTENTION_DECODE_SHARED(head_dim); }
static int attention_prefill_shared(int head_dim) { return ATTENTION_PREFILL_SHARED(head_dim); }
static int attention_prefill_splits(int head_dim) { return ATTENTION_PREFILL_SPLITS(head_dim); }
static int reference_attention_shared(int head_dim) { return REFERENCE_ATTENTION_SHARED(head_dim); }
*/
import "C"

import (
	"fmt"
	"math"

	"gorgonia.org/cu"
)

// attentionKernels append to the KV cache and attend over it, for models of one shape. kernels/args.h
// says what they compute.
type attentionKernels struct {
	attentionShape
	cache elementType // how the cache stores keys and values: typeBF16 or typeF32
	// decodeF and prefillF are for a bfloat16 cache, referenceF for a float32 one.
	kvAppendF, decodeF, prefillF, referenceF     function
	decodeShared, prefillShared, referenceShared int // bytes of dynamic shared memory
	prefillSplits                                int // blocks of prefill that share a result's columns
	decodeResident                               int // blocks of decode that a multiprocessor runs at once
}

func (d *device) loadAttentionKernels(
	m cu.Module, shape attentionShape, cache elementType,
) (*attentionKernels, error) {
	k := &attentionKernels{
		attentionShape:  shape,
		cache:           cache,
		decodeShared:    int(C.attention_decode_shared(C.int(shape.headDim))),
		prefillShared:   int(C.attention_prefill_shared(C.int(shape.headDim))),
		prefillSplits:   int(C.attention_prefill_splits(C.int(shape.headDim))),
		referenceShared: int(C.reference_attention_shared(C.int(shape.headDim))),
	}
	type kernel struct {
		name   string
		shared int
		f      *function
	}
	list := []kernel{{"kv_append", 0, &k.kvAppendF}}
	if cache == typeF32 {
		list = append(list, kernel{"reference_attention", k.referenceShared, &k.referenceF})
	} else { // one of headDims, see Plan
		list = append(list,
			kernel{fmt.Sprint("attention_decode_", shape.headDim), k.decodeShared, &k.decodeF},
			kernel{fmt.Sprint("attention_prefill_", shape.headDim), k.prefillShared, &k.prefillF})
	}
	for _, l := range list {
		var err error
		if *l.f, err = d.function(m, l.name); err != nil {
			return nil, err
		}
		if err := d.allowShared(*l.f, l.shared); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", l.name, err)
		}
	}
	if cache != typeF32 {
		var err error
		if k.decodeResident, err = d.residentBlocks(k.decodeF, C.ATTENTION_DECODE_THREADS,
			k.decodeShared); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// attention is the operands of one layer's attention in a step, as AttentionArgs and KVAppendArgs have them.
type attention struct {
	out               devicePtr // [tokens, heads·headDim], of the cache's type
	qkv               devicePtr // [tokens, (heads+2·kvHeads)·headDim] float32
	kv                devicePtr // the layer's keys in block 0 of the cache
	cos, sin          devicePtr // [tokens, ropeHalf] float32
	spans, blockTable devicePtr // [seqs] span; [*] int32
	work              devicePtr // [*] workItem, from decodeWork or prefillWork
	works             devicePtr // decode: [1] int32, the number of work items
	partial           devicePtr // decode: partialBytes of the number of work items
	arrived           devicePtr // decode: [seqs, kvHeads] int32, all 0
	blockStride       int       // elements of the cache from one block to the next
	seqs              int
}

// args returns a struct and not a pointer, which would be garbage in every layer.
func (k *attentionKernels) args(a *attention) C.AttentionArgs {
	return C.AttentionArgs{
		out: C.uint64_t(a.out), qkv: C.uint64_t(a.qkv), kv: C.uint64_t(a.kv),
		cos: C.uint64_t(a.cos), sin: C.uint64_t(a.sin),
		spans: C.uint64_t(a.spans), block_table: C.uint64_t(a.blockTable),
		work: C.uint64_t(a.work), works: C.uint64_t(a.works),
		partial: C.uint64_t(a.partial), arrived: C.uint64_t(a.arrived),
		block_stride: C.int64_t(a.blockStride),
		seqs:         C.int32_t(a.seqs), heads: C.int32_t(k.heads), kv_heads: C.int32_t(k.kvHeads),
		head_dim: C.int32_t(k.headDim), rope_half: C.int32_t(k.ropeHalf), window: C.int32_t(k.window),
		scale: C.float(math.Log2E / math.Sqrt(float64(k.headDim))),
	}
}

// kvAppend queues the append of a step's rotated keys and values to the cache. decode does this itself.
func (k *attentionKernels) kvAppend(q *queue, a *attention, tokens int) {
	addWaiting(q, k.kvAppendF, grid{tokens, 1, C.KV_APPEND_THREADS, 0}, &C.KVAppendArgs{
		kv: C.uint64_t(a.kv), qkv: C.uint64_t(a.qkv), cos: C.uint64_t(a.cos), sin: C.uint64_t(a.sin),
		spans: C.uint64_t(a.spans), block_table: C.uint64_t(a.blockTable),
		block_stride: C.int64_t(a.blockStride),
		seqs:         C.int32_t(a.seqs), heads: C.int32_t(k.heads), kv_heads: C.int32_t(k.kvHeads),
		head_dim: C.int32_t(k.headDim), rope_half: C.int32_t(k.ropeHalf), _type: C.int32_t(k.cache),
	})
}

// decodes says whether the attention of a sequence runs as decode, which processes the sequence's chunks in
// parallel. Decode has room for decodeTokens tokens of a sequence. Prefill needs many of them to keep the
// device busy.
func (k *attentionKernels) decodes(s span) bool { return k.cache != typeF32 && s.len <= decodeTokens }

// decode queues attention of the sequences that decode, on any number of blocks: the results do not depend on
// it.
func (k *attentionKernels) decode(q *queue, a *attention, blocks int) {
	args := k.args(a)
	addWaiting(q, k.decodeF, grid{blocks, 1, C.ATTENTION_DECODE_THREADS, k.decodeShared}, &args)
}

// prefill queues attention of the sequences that do not decode. kvAppend must run first.
func (k *attentionKernels) prefill(q *queue, a *attention, works int) {
	args := k.args(a)
	addWaiting(q, k.prefillF,
		grid{works, k.kvHeads * k.prefillSplits, C.ATTENTION_PREFILL_THREADS, k.prefillShared}, &args)
}

func (k *attentionKernels) reference(q *queue, a *attention, tokens int) {
	args := k.args(a)
	add(q, k.referenceF, grid{tokens, k.heads, 32, k.referenceShared}, &args)
}

// decodeWork appends the work items of a sequence that decodes: every chunk of keys that its queries see.
func (s *attentionShape) decodeWork(work []workItem, seq int, of span) []workItem {
	last := int(of.position+of.len-1) / C.KV_CHUNK
	for chunk := s.oldestVisible(int(of.position)) / C.KV_CHUNK; chunk <= last; chunk++ {
		work = append(work, workItem{seq: C.int32_t(seq), first: C.int32_t(chunk)})
	}
	return work
}

// prefillWork appends the work items of a sequence that does not decode: groups of its queries. The last
// queries see the most keys and come first, so that no long item starts at the end.
func (s *attentionShape) prefillWork(work []workItem, seq int, of span) []workItem {
	queries := prefillRows / (s.heads / s.kvHeads)
	for first := (int(of.len) - 1) / queries * queries; first >= 0; first -= queries {
		work = append(work, workItem{seq: C.int32_t(seq), first: C.int32_t(first)})
	}
	return work
}

// oldestVisible is the first position that a query at the given one sees.
func (s *attentionShape) oldestVisible(position int) int {
	if s.window == 0 {
		return 0
	}
	return max(0, position-s.window+1)
}
