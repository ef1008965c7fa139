//go:build cuda && linux && cgo

package cuda

/*
#include "args.h"

// bfloat16 columns that NORMED_BYTES adds to a row.
enum { NORMED_PADDING = NORMED_BYTES(1, 0) / 2 };
*/
import "C"

import (
	"gorgonia.org/cu"
)

// linearKernels are the matrix products, RMSNorm and argmax of a loaded module. What they compute stands in
// kernels/args.h.
type linearKernels struct {
	// By the weight's type, typeBF16 or typeF16.
	normLinearDecodeF, normGateUpDecodeF, linearDecodeF, gateUpDecodeF, linearAddDecodeF [2]function
	linearPrefillF, gateUpPrefillF, linearAddPrefillF                                    [2]function

	rmsNormF, argmaxF, referenceLinearF, referenceGateUpF function

	maxShared int // bytes of dynamic shared memory that a block can have
	resident  linearResident
}

// linearResident is how many blocks of each decode product a multiprocessor runs at once, by the weight's
// type and the number of tokens, which decides how much shared memory the products with a norm take.
type linearResident struct {
	normLinear, normGateUp    [2][decodeTokens + 1]int
	linear, gateUp, linearAdd [2]int
}

func (d *device) loadLinearKernels(m cu.Module) (*linearKernels, error) {
	k := &linearKernels{maxShared: d.maxShared}
	for _, l := range []struct {
		name   string
		shared int
		f      []function // of one kernel, or of its two forms for types of weights
	}{
		{"norm_linear_decode", d.maxShared, k.normLinearDecodeF[:]},
		{"norm_gate_up_decode", d.maxShared, k.normGateUpDecodeF[:]},
		{"linear_decode", C.LINEAR_DECODE_SHARED, k.linearDecodeF[:]},
		{"gate_up_decode", C.LINEAR_DECODE_SHARED, k.gateUpDecodeF[:]},
		{"linear_add_decode", C.LINEAR_DECODE_SHARED, k.linearAddDecodeF[:]},
		{"linear_prefill", C.LINEAR_PREFILL_SHARED, k.linearPrefillF[:]},
		{"gate_up_prefill", C.LINEAR_PREFILL_SHARED, k.gateUpPrefillF[:]},
		{"linear_add_prefill", C.LINEAR_PREFILL_SHARED, k.linearAddPrefillF[:]},
	} {
		for t, suffix := range [2]string{typeBF16: "_bf16", typeF16: "_f16"} {
			var err error
			if l.f[t], err = d.function(m, l.name+suffix); err != nil {
				return nil, err
			}
			if err = d.allowShared(l.f[t], l.shared); err != nil {
				return nil, err
			}
		}
	}
	for name, f := range map[string]*function{
		"rms_norm":          &k.rmsNormF,
		"argmax":            &k.argmaxF,
		"reference_linear":  &k.referenceLinearF,
		"reference_gate_up": &k.referenceGateUpF,
	} {
		var err error
		if *f, err = d.function(m, name); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// countResident asks the device how many blocks of the decode products it runs at once. hidden is the k of
// the products with a norm.
func (l *linearKernels) countResident(d *device, hidden int) (err error) {
	count := func(f function, shared int) int {
		n, e := d.residentBlocks(f, C.LINEAR_DECODE_THREADS, shared)
		if err == nil {
			err = e
		}
		return n
	}
	r := &l.resident
	for t := range 2 { // typeBF16, typeF16
		for tokens := 1; tokens <= decodeTokens && l.normFits(tokens, hidden); tokens++ {
			shared := normedDecodeShared(tokens, hidden)
			r.normLinear[t][tokens] = count(l.normLinearDecodeF[t], shared)
			r.normGateUp[t][tokens] = count(l.normGateUpDecodeF[t], shared)
		}
		r.linear[t] = count(l.linearDecodeF[t], C.LINEAR_DECODE_SHARED)
		r.gateUp[t] = count(l.gateUpDecodeF[t], C.LINEAR_DECODE_SHARED)
		r.linearAdd[t] = count(l.linearAddDecodeF[t], C.LINEAR_DECODE_SHARED)
	}
	return err
}

// product is the operands of a matrix product, as LinearArgs has them: y [tokens, rows], x [tokens, k], norm
// [k], w [rows, k], or [2·rows, k] for gateUp.
type product struct {
	y, x, norm, w   devicePtr // norm only for the kernels that normalise
	weight          elementType
	tokens, rows, k int
	eps             float32
}

func (p *product) args() *C.LinearArgs {
	return &C.LinearArgs{
		y: C.uint64_t(p.y), x: C.uint64_t(p.x), norm: C.uint64_t(p.norm), w: C.uint64_t(p.w),
		tokens: C.int32_t(p.tokens), rows: C.int32_t(p.rows), k: C.int32_t(p.k), eps: C.float(p.eps),
	}
}

func normedDecodeShared(tokens, k int) int {
	return C.LINEAR_DECODE_SHARED + tokens*(k+C.NORMED_PADDING)*2
}

// normFits reports whether the decode products that normalise their own input can hold so many tokens of k
// columns.
func (l *linearKernels) normFits(tokens, k int) bool {
	return normedDecodeShared(tokens, k) <= l.maxShared
}

// decodeTiles is how many blocks of a decode product with so many outputs find work.
func decodeTiles(rows int) int {
	return ceilDiv(rows, C.LINEAR_DECODE_TILE)
}

func gateUpDecodeTiles(rows int) int {
	return ceilDiv(rows, C.LINEAR_DECODE_TILE/2)
}

// The products of up to DECODE_TOKENS tokens, on any number of blocks: the results do not depend on it.

func (l *linearKernels) normLinearDecode(q *queue, p product, blocks int) {
	add(q, l.normLinearDecodeF[p.weight], blocks, 1, C.LINEAR_DECODE_THREADS,
		normedDecodeShared(p.tokens, p.k), p.args())
}

func (l *linearKernels) normGateUpDecode(q *queue, p product, blocks int) {
	add(q, l.normGateUpDecodeF[p.weight], blocks, 1, C.LINEAR_DECODE_THREADS,
		normedDecodeShared(p.tokens, p.k), p.args())
}

func (l *linearKernels) linearDecode(q *queue, p product, blocks int) {
	add(q, l.linearDecodeF[p.weight], blocks, 1, C.LINEAR_DECODE_THREADS, C.LINEAR_DECODE_SHARED, p.args())
}

func (l *linearKernels) gateUpDecode(q *queue, p product, blocks int) {
	add(q, l.gateUpDecodeF[p.weight], blocks, 1, C.LINEAR_DECODE_THREADS, C.LINEAR_DECODE_SHARED, p.args())
}

func (l *linearKernels) linearAddDecode(q *queue, p product, blocks int) {
	add(q, l.linearAddDecodeF[p.weight], blocks, 1, C.LINEAR_DECODE_THREADS, C.LINEAR_DECODE_SHARED, p.args())
}

// The products of any number of tokens.

func (l *linearKernels) linearPrefill(q *queue, p product) {
	l.prefill(q, l.linearPrefillF, p, C.LINEAR_PREFILL_ROWS)
}

func (l *linearKernels) gateUpPrefill(q *queue, p product) {
	l.prefill(q, l.gateUpPrefillF, p, C.LINEAR_PREFILL_ROWS/2)
}

func (l *linearKernels) linearAddPrefill(q *queue, p product) {
	l.prefill(q, l.linearAddPrefillF, p, C.LINEAR_PREFILL_ROWS)
}

func (l *linearKernels) prefill(q *queue, f [2]function, p product, outputs int) {
	add(q, f[p.weight], ceilDiv(p.tokens, C.LINEAR_PREFILL_TOKENS), ceilDiv(p.rows, outputs),
		C.LINEAR_PREFILL_THREADS,
		C.LINEAR_PREFILL_SHARED, p.args())
}

// rmsNorm sets y = RMSNorm(x)·norm, stored as bfloat16 or float32.
func (l *linearKernels) rmsNorm(
	q *queue, y devicePtr, stored elementType, x, norm devicePtr, tokens, cols int, eps float32,
) {
	add(q, l.rmsNormF, tokens, 1, C.RMS_NORM_THREADS, 0, &C.RMSNormArgs{
		y: C.uint64_t(y), x: C.uint64_t(x), norm: C.uint64_t(norm), cols: C.int32_t(cols), _type: C.int32_t(stored), eps: C.float(eps),
	})
}

// argmax sets next[i], an int32, to the lowest id among the greatest of row i of logits, or to ^id of its
// first NaN or infinity.
func (l *linearKernels) argmax(q *queue, next, logits devicePtr, rows, vocab int) {
	add(q, l.argmaxF, rows, 1, C.ARGMAX_THREADS, 0, &C.ArgmaxArgs{
		next: C.uint64_t(next), logits: C.uint64_t(logits), vocab: C.int32_t(vocab),
	})
}

// referenceLinear sets y = x·wᵀ, or adds that to y, in float32 throughout. Here w may be of any type.
func (l *linearKernels) referenceLinear(q *queue, p product, addToY bool) {
	l.reference(q, l.referenceLinearF, p, addToY)
}

// referenceGateUp sets y = SiLU(g)·u likewise, y being float32.
func (l *linearKernels) referenceGateUp(q *queue, p product) {
	l.reference(q, l.referenceGateUpF, p, false)
}

func (l *linearKernels) reference(q *queue, f function, p product, addToY bool) {
	args := &C.ReferenceLinearArgs{
		y: C.uint64_t(p.y), x: C.uint64_t(p.x), w: C.uint64_t(p.w), rows: C.int32_t(p.rows), k: C.int32_t(p.k), _type: C.int32_t(p.weight),
	}
	if addToY {
		args.add = 1
	}
	add(q, f, ceilDiv(p.rows, C.REFERENCE_THREADS), p.tokens, C.REFERENCE_THREADS, 0, args)
}
