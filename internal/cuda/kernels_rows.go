//go:build cuda && linux && cgo

package cuda

// #include "args.h"
import "C"

import "gorgonia.org/cu"

// rowKernels process rows of the residual stream and of the logits: embed, copy_rows, rms_norm, argmax.
type rowKernels struct {
	embedF, copyRowsF, rmsNormF, argmaxF function
}

func (d *device) loadRowKernels(m cu.Module) (k rowKernels, err error) {
	for name, f := range map[string]*function{
		"embed":     &k.embedF,
		"copy_rows": &k.copyRowsF,
		"rms_norm":  &k.rmsNormF,
		"argmax":    &k.argmaxF,
	} {
		if *f, err = d.function(m, name); err != nil {
			return k, err
		}
	}
	return k, nil
}

// embed sets x [tokens, cols] float32 to the rows ids [tokens] of table [vocab, cols].
func (k *rowKernels) embed(q *queue, x devicePtr, table parameter, ids devicePtr, tokens, cols int) {
	addWaiting(q, k.embedF, grid{tokens, 1, C.EMBED_THREADS, 0}, &C.EmbedArgs{
		x: C.uint64_t(x), table: C.uint64_t(table.ptr), ids: C.uint64_t(ids),
		cols: C.int32_t(cols), _type: C.int32_t(table.typ),
	})
}

// copyRows sets row i of y [rows, cols] to row at[i] of x. at is int32.
func (k *rowKernels) copyRows(q *queue, y, x, at devicePtr, rows, cols int) {
	addWaiting(q, k.copyRowsF, grid{rows, 1, C.COPY_ROWS_THREADS, 0}, &C.CopyRowsArgs{
		y: C.uint64_t(y), x: C.uint64_t(x), rows: C.uint64_t(at), cols: C.int32_t(cols),
	})
}

// rowNorm is the operands of an RMSNorm, as RMSNormArgs has them: y and x [tokens, cols], norm [cols].
type rowNorm struct {
	y            devicePtr
	typ          elementType // of y: typeBF16 or typeF32
	x, norm      devicePtr   // float32
	tokens, cols int
	eps          float32
}

// rmsNorm sets y = RMSNorm(x)·norm.
func (k *rowKernels) rmsNorm(q *queue, n rowNorm) {
	addWaiting(q, k.rmsNormF, grid{n.tokens, 1, C.RMS_NORM_THREADS, 0}, &C.RMSNormArgs{
		y: C.uint64_t(n.y), x: C.uint64_t(n.x), norm: C.uint64_t(n.norm),
		cols: C.int32_t(n.cols), _type: C.int32_t(n.typ), eps: C.float(n.eps),
	})
}

// argmax sets next[i], an int32, to the lowest id among the greatest of row i of logits. If the row has a
// NaN or an infinity, next[i] is ^id of the first one.
func (k *rowKernels) argmax(q *queue, next, logits devicePtr, rows, vocab int) {
	addWaiting(q, k.argmaxF, grid{rows, 1, C.ARGMAX_THREADS, 0}, &C.ArgmaxArgs{
		next: C.uint64_t(next), logits: C.uint64_t(logits), vocab: C.int32_t(vocab),
	})
}
