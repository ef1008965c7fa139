// Package quantize stores weights in fewer bits. For each block of weights it searches for the scale, and the
// minimum if the format has one, with the smallest loss. One core of a cloud machine quantizes about ten
// million weights a second to Q8_0 and Q4_0, six to Q4_1 and IQ4_NL, and four to eight to the formats of 256
// weights a block.
package quantize

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"phi3/internal/weight"
)

// Largest is the largest weight that can be quantized. It is the largest float16: the scales and minimums of
// all formats are float16, so that beyond it some formats would store another number. Weights of real models
// are below 100.
const Largest = 65504

// Tensor returns t in the format that [FormatOf] chooses for f: t itself if nothing changes, otherwise a
// tensor with Data of its own. It uses all cores. The result does not depend on their number. It stops
// between two rows when ctx is done. An error names the tensor: it holds NaN, infinity or a number beyond
// [Largest], is quantized already, or can no longer be read.
func Tensor(ctx context.Context, t *weight.Tensor, f weight.Format) (*weight.Tensor, error) {
	f, err := FormatOf(t, f)
	if err != nil || f == t.Format {
		return t, err
	}
	result := &weight.Tensor{Name: t.Name, Format: f, Shape: t.Shape, File: t.File, Offset: t.Offset}
	result.Data = make([]byte, result.Bytes())
	j := &job{from: t, to: result}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), t.Shape[0]) {
		workers.Go(func() {
			if err := weight.Guard([]*weight.Tensor{t}, func() error { return j.work(ctx) }); err != nil {
				j.fail(err)
			}
		})
	}
	workers.Wait()
	if j.err != nil {
		return nil, j.err
	}
	return result, nil
}

// A job is a tensor that several goroutines quantize.
type job struct {
	from, to *weight.Tensor
	next     atomic.Int64 // the first row that no goroutine has taken
	stop     atomic.Bool

	lock sync.Mutex
	err  error // of the lowest row
	row  int   // the row of err
}

// work quantizes rows until none are left.
func (j *job) work(ctx context.Context) error {
	rows, cols := j.from.Shape[0], j.from.Shape[1]
	from, to := j.from.Format.RowBytes(cols), j.to.Format.RowBytes(cols)
	values, f := make([]float32, cols), new(fitter)
	for !j.stop.Load() {
		if err := ctx.Err(); err != nil {
			return err
		}
		i := int(j.next.Add(1)) - 1
		if i >= rows {
			return nil
		}
		weight.Widen(values, j.from.Data[i*from:][:from], j.from.Format)
		for k, v := range values {
			if !(v >= -Largest && v <= Largest) {
				j.failAt(i, k, v)
				return nil
			}
		}
		f.row(j.to.Data[i*to:][:to], values, j.to.Format)
	}
	return nil
}

// fail records an error that is not about a value.
func (j *job) fail(err error) {
	j.lock.Lock()
	defer j.lock.Unlock()
	j.err, j.row = err, -1
	j.stop.Store(true)
}

// failAt records that a value cannot be quantized. Of several such errors it keeps that of the lowest row:
// rows are taken in order, so all rows below are taken, and their goroutines finish them.
func (j *job) failAt(row, col int, v float32) {
	j.lock.Lock()
	defer j.lock.Unlock()
	if j.err == nil || row < j.row {
		what := "NaN or infinite"
		if v-v == 0 {
			what = fmt.Sprintf("%g, beyond ±%d, the largest float16,", v, Largest)
		}
		j.row = row
		j.err = fmt.Errorf("%s: tensor %q is %s at [%d %d]: phi3 cannot quantize it", j.from.File,
			j.from.Name, what, row, col)
	}
	j.stop.Store(true)
}

// row quantizes a row, which is a whole number of blocks.
func (f *fitter) row(dst []byte, values []float32, format weight.Format) {
	weights, bytes := format.Block()
	quantize := quantizers[format]
	for len(values) > 0 {
		quantize(f, dst[:bytes], values[:weights])
		dst, values = dst[bytes:], values[weights:]
	}
}

// quantizers has a function for each format that phi3 can make. It sets dst, a block, to the values.
var quantizers = map[weight.Format]func(f *fitter, dst []byte, values []float32){
	weight.Q8_0:   quantizeQ8_0,
	weight.Q4_0:   quantizeQ4_0,
	weight.Q4_1:   quantizeQ4_1,
	weight.Q5_0:   quantizeQ5_0,
	weight.Q5_1:   quantizeQ5_1,
	weight.IQ4_NL: quantizeIQ4_NL,
	weight.Q2_K:   quantizeQ2_K,
	weight.Q3_K:   quantizeQ3_K,
	weight.Q4_K:   quantizeQ4_K,
	weight.Q5_K:   quantizeQ5_K,
	weight.Q6_K:   quantizeQ6_K,
	weight.IQ4_XS: quantizeIQ4_XS,
}
