//go:build cgo

package main

/*
#cgo CFLAGS: -DPHI3_HOST -I${SRCDIR}/../../kernels
#include "args.h"
#include "quants_layout.h"

static int linear_decode_shared(int stages) { return LINEAR_DECODE_SHARED(stages); }
static int linear_decode_ring(int stages) { return LINEAR_DECODE_RING(stages); }
static int normed_bytes(int tokens, int k) { return NORMED_BYTES(tokens, k); }
static int attention_decode_shared(int head_dim) { return ATTENTION_DECODE_SHARED(head_dim); }
static int attention_decode_tiles(int head_dim) { return ATTENTION_DECODE_TILES(head_dim); }
static int attention_prefill_shared(int head_dim) { return ATTENTION_PREFILL_SHARED(head_dim); }
static int batch_shared(int tokens, int stages) { return LINEAR_BATCH_SHARED(tokens, stages); }
static int batch_row_tiles(int tokens) { return LINEAR_BATCH_ROW_TILES(tokens); }
static int batch_token_tiles(int tokens) { return LINEAR_BATCH_TOKEN_TILES(tokens); }
static int reference_attention_shared(int head_dim) { return REFERENCE_ATTENTION_SHARED(head_dim); }
*/
import "C"

import (
	"fmt"
	"strconv"
	"strings"
)

// launch is how the program launches a kernel for Phi-3-mini.
type launch struct {
	threads, shared int // of a block; bytes of dynamic shared memory
	most            int // blocks on a multiprocessor that the program launches; 0: as many as fit
	inFlight        int // bytes of weights, or of keys and values, that a block requests ahead; 0: few
	// Of a matrix product: tiles of 8 tokens by which a loaded weight is multiplied; 0 for other kernels.
	tokenTiles int
	// weightBits is 0 if the kernel takes the format as an argument.
	weightBits int
	// mmasOfTile multiply 16×16 weights by 8 tokens: two for float16, which is split into two bfloat16.
	mmasOfTile int

	// A kernel may have several rows in the table, for loops or launches of its own.
	variant string // what the row is for, after the kernel's name
	// mark is a constant in this row's loop, and otherMarks are constants that are not in it.
	mark       string
	otherMarks []string
	loopMMAs   int // tensor-core instructions in an iteration; 0: as many as are found
}

const hidden = 3072 // of Phi-3-mini

// launchesOf describes the launches of a kernel on a GPU that the table has a row for, by the kernel's name.
func launchesOf(kernel string, g *gpu) ([]launch, error) {
	has := func(part string) bool { return strings.Contains(kernel, part) }
	switch {
	case has("_batch_"), has("_decode_") && !has("attention"), has("_prefill_") && !has("attention"):
		return productLaunches(kernel, g), nil
	}
	l, err := launchOf(kernel)
	return []launch{l}, err
}

// launchOf describes a kernel that is not a product.
func launchOf(kernel string) (launch, error) {
	number, _ := strconv.Atoi(kernel[strings.LastIndexByte(kernel, '_')+1:])
	dim := C.int(number)
	switch {
	case strings.HasPrefix(kernel, "attention_decode_"):
		return launch{
			threads: C.ATTENTION_DECODE_THREADS, shared: int(C.attention_decode_shared(dim)),
			inFlight: int(C.attention_decode_tiles(dim) * C.KV_CHUNK * dim * 2),
		}, nil
	case strings.HasPrefix(kernel, "attention_prefill_"):
		return launch{threads: C.ATTENTION_PREFILL_THREADS, shared: int(C.attention_prefill_shared(dim))}, nil
	case kernel == "reference_attention":
		return launch{threads: warpSize, shared: int(C.reference_attention_shared(96))}, nil
	case strings.HasPrefix(kernel, "reference_"):
		return launch{threads: C.REFERENCE_THREADS}, nil
	}
	threads, ok := map[string]int{
		"argmax": C.ARGMAX_THREADS, "copy_rows": C.COPY_ROWS_THREADS, "embed": C.EMBED_THREADS,
		"kv_append": C.KV_APPEND_THREADS, "rms_norm": C.RMS_NORM_THREADS,
	}[kernel]
	if !ok {
		return launch{}, fmt.Errorf("tools/kernel-table/launches.go does not say how %s is launched", kernel)
	}
	return launch{threads: threads}, nil
}

func productLaunches(kernel string, g *gpu) []launch {
	has := func(part string) bool { return strings.Contains(kernel, part) }
	l := launch{mmasOfTile: 1, weightBits: 16}
	switch {
	case has("_f16"):
		l.mmasOfTile = 2
	case has("_quantized"):
		l.weightBits = 0
	}
	if has("_batch_") {
		return batchLaunches(l, g)
	}
	if has("_prefill_") {
		l.threads, l.shared = C.LINEAR_PREFILL_THREADS, C.LINEAR_PREFILL_SHARED
		l.tokenTiles = C.LINEAR_PREFILL_TOKENS / C.DECODE_TOKENS
		return []launch{l}
	}
	l.threads, l.tokenTiles = C.LINEAR_DECODE_THREADS, 1
	norm := 0
	if has("norm_") {
		norm = int(C.normed_bytes(1, hidden))
	}
	stages := C.int(C.LINEAR_DECODE_STAGES)
	wide := int(C.linear_decode_shared(C.LINEAR_DECODE_WIDE_STAGES)) + norm
	if g.overlap && !has("_quantized") && 2*(wide+systemShared) <= g.shared { // room for the next product
		stages, l.most = C.LINEAR_DECODE_WIDE_STAGES, 1
	}
	l.shared, l.inFlight = int(C.linear_decode_shared(stages))+norm, int(C.linear_decode_ring(stages))
	if has("_quantized") {
		return quantizedLaunches(l)
	}
	return []launch{l}
}

// quantClasses are the types that share a loop of the decode kernels for quantized weights. A loop is known
// by the constants with which it unpacks. A stage of a warp's ring is two steps of 64 columns of 16 rows, and
// what their scales need (kernels/linear_decode_quantized.cu).
var quantClasses = []struct {
	name          string
	mark          string
	others        []string
	bytes, groups int // most bytes of a stage; groups of columns with a scale in a step
}{
	{"2 bits", "0x30003", []string{"0x40004", "0xf000f"}, 4*C.Q2_K_STEP_BYTES + 2*C.Q2_K_TAIL_BYTES, 4},
	{"3 bits", "0x40004", nil, 4*C.Q3_K_STEP_BYTES + 2*C.Q3_K_TAIL_BYTES, 4},
	{"4 bits", "0xf000f", []string{"0x300030", "0x100010"}, 4*C.Q4_1_STEP_BYTES + 2*C.Q4_1_TAIL_BYTES, 2},
	{"4 bits by table", "0x44444444", nil, 4*C.IQ4_NL_STEP_BYTES + 2*C.IQ4_NL_TAIL_BYTES, 2},
	{"5 bits", "0x100010", nil, 4*C.Q5_1_STEP_BYTES + 2*C.Q5_1_TAIL_BYTES, 2},
	{"6 bits", "0x300030", nil, 4*C.Q6_K_STEP_BYTES + 2*C.Q6_K_TAIL_BYTES, 4},
	{"8 bits", "0xff00ff", []string{"0x44444444"}, 4*C.Q8_0_STEP_BYTES + 2*C.Q8_0_TAIL_BYTES, 2},
}

// quantizedLaunches are those of a decode kernel for quantized weights. A ring has whole requests of a warp,
// and the scales of a stage.
func quantizedLaunches(l launch) (all []launch) {
	const request, most = 16 * warpSize, 8
	ring := l.inFlight
	for _, c := range quantClasses {
		stage := roundUp(c.bytes, request)
		room := ring/C.K_SEGMENTS - 16*2*c.groups*8
		l.variant, l.mark, l.otherMarks = ", "+c.name, c.mark, c.others
		l.inFlight = C.K_SEGMENTS * min(most, room/stage) * stage
		l.loopMMAs = 2 * 4 // of two steps
		all = append(all, l)
	}
	return all
}

// batchLaunches are those for the most tokens of each range that has a way of its own through the main loop.
func batchLaunches(l launch, g *gpu) (all []launch) {
	for _, tokens := range []C.int{C.BATCH_TOKENS / 2, C.BATCH_TOKENS} {
		rowTiles := int(C.batch_row_tiles(tokens))
		l.threads, l.tokenTiles = C.LINEAR_BATCH_THREADS, int(C.batch_token_tiles(tokens))
		l.variant, l.loopMMAs = fmt.Sprintf(", %d tokens", tokens), rowTiles*l.tokenTiles*l.mmasOfTile
		for _, stages := range []int{C.LINEAR_BATCH_MAX_STAGES, 6, 4, 2} {
			l.shared = int(C.batch_shared(tokens, C.int(stages)))
			if l.weightBits != 0 { // quantized weights are loaded one stage at a time
				l.inFlight = stages * C.K_SEGMENTS * rowTiles * 16 * C.LINEAR_BATCH_COLS * 2
			}
			if l.shared+systemShared <= g.shared {
				break
			}
		}
		all = append(all, l)
	}
	return all
}
