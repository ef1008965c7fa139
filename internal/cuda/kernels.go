//go:build cuda && linux && cgo

package cuda

// #include "args.h"
import "C"

import (
	"errors"
	"strings"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/weight"
	"phi3/kernels"
)

type (
	span     = C.Span
	workItem = C.Work
)

// newSpan is a sequence's part of a step for the kernels. Its block table begins at table.
func newSpan(s model.Span, table int) span {
	return span{
		start: C.int32_t(s.Start), len: C.int32_t(s.Len), position: C.int32_t(s.Position),
		table: C.int32_t(table),
	}
}

// These do not compile unless the constants in plan.go and in args.h are equal.
var (
	_ [C.DECODE_TOKENS]struct{}           = [decodeTokens]struct{}{}
	_ [C.BATCH_TOKENS]struct{}            = [batchTokens]struct{}{}
	_ [C.ATTENTION_PREFILL_ROWS]struct{}  = [prefillRows]struct{}{}
	_ [C.KV_CHUNK]struct{}                = [kvcache.BlockTokens]struct{}{}
	_ [unsafe.Sizeof(span{})]struct{}     = [spanBytes]struct{}{}
	_ [unsafe.Sizeof(workItem{})]struct{} = [workBytes]struct{}{}
)

// elementType is how numbers are stored for a kernel.
type elementType int

const (
	typeBF16      elementType = C.TYPE_BF16
	typeF16       elementType = C.TYPE_F16
	typeF32       elementType = C.TYPE_F32
	typeQuantized elementType = C.TYPE_QUANTIZED // the first of the quantized types, which are the last
)

// elementFormats are the formats of a checkpoint that the types are named after.
var elementFormats = [...]weight.Format{
	C.TYPE_BF16:   weight.BF16,
	C.TYPE_F16:    weight.F16,
	C.TYPE_F32:    weight.F32,
	C.TYPE_Q4_0:   weight.Q4_0,
	C.TYPE_Q4_1:   weight.Q4_1,
	C.TYPE_Q5_0:   weight.Q5_0,
	C.TYPE_Q5_1:   weight.Q5_1,
	C.TYPE_Q8_0:   weight.Q8_0,
	C.TYPE_Q2_K:   weight.Q2_K,
	C.TYPE_Q3_K:   weight.Q3_K,
	C.TYPE_Q4_K:   weight.Q4_K,
	C.TYPE_Q5_K:   weight.Q5_K,
	C.TYPE_Q6_K:   weight.Q6_K,
	C.TYPE_Q8_K:   weight.Q8_K,
	C.TYPE_IQ4_NL: weight.IQ4_NL,
	C.TYPE_IQ4_XS: weight.IQ4_XS,
}

func (t elementType) format() weight.Format { return elementFormats[t] }

// String is the type's name in reports, such as "bf16" or "q4_k".
func (t elementType) String() string { return strings.ToLower(t.format().String()) }

// bytes is the size of an element, which is not quantized.
func (t elementType) bytes() int {
	if t == typeF32 {
		return 4
	}
	return 2
}

// kernelSet is the loaded module. Its methods each append the launch of a kernel to a queue.
// kernels/args.h says what the kernels compute, and defines the structs of arguments.
type kernelSet struct {
	rowKernels
	*linearKernels
	attention *attentionKernels // nil until the model is known
	module    cu.Module
	code      KernelCode
}

// compilingAfter is how long loading PTX may take before the user is told that the driver is compiling
// it. Loading from the driver's cache takes some milliseconds, compiling some seconds.
const compilingAfter = 400 * time.Millisecond

// overlapDriver is the CUDA version of drivers that overlap launches, in the driver's format. Programmatic
// dependent launch is older, but only from CUDA 12.3 on do the edges of a graph have data (CUgraphEdgeData),
// so that a captured graph keeps it. docs/cuda.md names the sources.
const overlapDriver = 12030

var compiledFor = kernels.For // a variable, so that tests can provide native code

// loadCode loads the compiled kernels: native code for this GPU, or PTX if there is none or the driver
// refuses it. compiling, if set, is called while the driver compiles PTX, see [Options].
func (d *device) loadCode(compiling func()) (m cu.Module, code KernelCode, err error) {
	start := time.Now()
	for _, c := range compiledFor(d.Major, d.Minor) {
		if c.Native == "" && compiling != nil {
			said := make(chan struct{})
			timer := time.AfterFunc(compilingAfter, func() { compiling(); close(said) })
			defer func() {
				if !timer.Stop() {
					<-said
				}
			}()
		}
		if m, err = d.loadModule(c.Image); err == nil {
			d.overlap = c.Virtual >= 90 && cu.Version() >= overlapDriver
			return m, KernelCode{c.Native, time.Since(start), code.Refused, nil}, nil
		}
		if c.Native != "" {
			code.Refused = err
		}
	}
	return cu.Module{}, KernelCode{}, err
}

// loadKernels loads the kernels that every model uses.
func (d *device) loadKernels(compiling func()) (*kernelSet, error) {
	m, code, err := d.loadCode(compiling)
	if err != nil {
		return nil, err
	}
	k := &kernelSet{module: m, code: code}
	if k.rowKernels, err = d.loadRowKernels(m); err != nil {
		return nil, err
	}
	if k.linearKernels, err = d.loadLinearKernels(m); err != nil {
		return nil, err
	}
	err = d.tryOverlap(k.linearKernels)
	k.code.OverlapRefused = d.overlapRefused
	return k, err
}

// tryOverlap captures two decode products, which do not run, so that d.overlap is right before the first
// step: the rings and the blocks of products depend on it. If the driver does not capture them without
// overlap either, as it may not capture kernels that it has not loaded yet, the question is left to the first
// graph.
func (d *device) tryOverlap(k *linearKernels) error {
	if !d.overlap {
		return nil
	}
	s, err := d.newStream()
	if err != nil {
		return err
	}
	var q queue
	p := product{tokens: 1, rows: C.LINEAR_DECODE_TILE, k: C.LINEAR_DECODE_TILE}
	k.fit(&p, true)
	k.decode(&q, p, 1)
	k.decode(&q, p, 1)
	if plain, err := d.capture(s, q); err == nil {
		q.overlap(true)
		overlapping, err := d.captureAllowed(s, q)
		if err != nil {
			return err
		}
		if err := errors.Join(d.free(overlapping), d.free(plain)); err != nil {
			return err
		}
	}
	return d.free(s)
}
