//go:build cuda && linux && cgo

package cuda

// #include "args.h"
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/kernels"
)

type (
	span     = C.Span
	workItem = C.Work
)

// newSpan is a sequence's part of a step as the kernels see it; its block table begins at table.
func newSpan(s model.Span, table int) span {
	return span{start: C.int32_t(s.Start), len: C.int32_t(s.Len), position: C.int32_t(s.Position), table: C.int32_t(table)}
}

// plan.go says the same as args.h: an array's length is not the other's otherwise.
var (
	_ [C.DECODE_TOKENS]struct{}           = [decodeTokens]struct{}{}
	_ [C.ATTENTION_PREFILL_ROWS]struct{}  = [prefillRows]struct{}{}
	_ [C.KV_CHUNK]struct{}                = [kvcache.BlockTokens]struct{}{}
	_ [unsafe.Sizeof(span{})]struct{}     = [spanBytes]struct{}{}
	_ [unsafe.Sizeof(workItem{})]struct{} = [workBytes]struct{}{}
)

// elementType is how a kernel finds numbers stored.
type elementType int

const (
	typeBF16 elementType = C.TYPE_BF16
	typeF16  elementType = C.TYPE_F16
	typeF32  elementType = C.TYPE_F32
)

// bytes is the size of an element.
func (t elementType) bytes() int {
	if t == typeF32 {
		return 4
	}
	return 2
}

// kernelSet is the module on the device: a method for every kernel, which takes what the kernel takes and puts a launch on a queue. What
// the kernels compute stands in kernels/args.h, whose structs they share.
type kernelSet struct {
	*linearKernels
	attention         *attentionKernels // once the model is known
	embedF, copyRowsF function
	module            cu.Module
}

// loadKernels loads the compiled kernels. On a GPU that they hold no native code for, the driver compiles them now.
func (d *device) loadKernels() (*kernelSet, error) {
	m, err := d.loadModule(kernels.Image())
	if err != nil {
		return nil, err
	}
	k := &kernelSet{module: m}
	if k.embedF, err = d.function(m, "embed"); err != nil {
		return nil, err
	}
	if k.copyRowsF, err = d.function(m, "copy_rows"); err != nil {
		return nil, err
	}
	k.linearKernels, err = d.loadLinearKernels(m)
	return k, err
}

// embed sets x [tokens, cols] to the rows ids [tokens] of table [vocab, cols].
func (k *kernelSet) embed(q *queue, x, table devicePtr, stored elementType, ids devicePtr, tokens, cols int) {
	add(q, k.embedF, tokens, 1, C.EMBED_THREADS, 0, &C.EmbedArgs{
		x: C.uint64_t(x), table: C.uint64_t(table), ids: C.uint64_t(ids), cols: C.int32_t(cols), _type: C.int32_t(stored),
	})
}

// copyRows sets row i of y [rows, cols] to row at[i] of x, at being int32.
func (k *kernelSet) copyRows(q *queue, y, x, at devicePtr, rows, cols int) {
	add(q, k.copyRowsF, rows, 1, C.COPY_ROWS_THREADS, 0, &C.CopyRowsArgs{
		y: C.uint64_t(y), x: C.uint64_t(x), rows: C.uint64_t(at), cols: C.int32_t(cols),
	})
}
