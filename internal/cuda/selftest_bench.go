//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/x448/float16"
	"gorgonia.org/cu"

	"phi3/internal/weight"
)

// workbench runs single kernels on arrays with poison around them. After a call of the driver has failed,
// all methods do nothing, so users check err only at the end.
type workbench struct {
	d      *device
	stream cu.Stream
	q      queue

	err   error  // of the driver, the first
	at    string // the kernel that was running then, if one was
	wrong string // a mistake that does not show in results, such as a write next to an array
}

func newWorkbench(d *device) *workbench {
	b := &workbench{d: d}
	b.do(func() (err error) {
		b.stream, err = d.newStream()
		return err
	})
	return b
}

// do runs f on the device's thread.
func (b *workbench) do(f func() error) {
	if b.err == nil {
		b.err = b.d.do(f)
	}
}

// run launches the queue, which is launches of a kernel and of those that make its inputs, and waits.
func (b *workbench) run(kernel string) {
	ok := b.err == nil
	b.d.prepare(b.q)
	b.do(func() error { return errors.Join(b.d.launchAll(b.stream, b.q), b.d.sync(b.stream)) })
	if ok && b.err != nil {
		b.at = kernel
	}
	b.q = b.q[:0]
}

// poison fills the bytes before and after every array, and every result before it is written. It is NaN
// in all types.
const poison = 0xff

// guard is the number of poison bytes before and after an array.
const guard = 256

// array is memory on the device that nothing may write around.
type array struct {
	devicePtr
	bytes int
}

func (b *workbench) alloc(size int) array {
	a := array{bytes: size}
	b.do(func() error {
		p, err := b.d.alloc(size + 2*guard)
		if err != nil {
			return err
		}
		a.devicePtr = p + guard
		return b.d.fill(p, poison, size+2*guard, b.stream)
	})
	return a
}

func (b *workbench) free(arrays ...array) {
	for _, a := range arrays {
		b.do(func() error { return b.d.free(a.devicePtr - guard) })
	}
}

func toDevice[T any](b *workbench, s []T) array {
	a := b.alloc(len(bytesOf(s)))
	b.do(func() error { return b.d.copyToDevice(a.devicePtr, bytesOf(s), b.stream) })
	return a
}

// fromDevice reads an array and checks that nothing was written around it.
func fromDevice[T any](b *workbench, a array) []T {
	all := make([]byte, a.bytes+2*guard)
	s := make([]T, a.bytes/int(unsafe.Sizeof(*new(T))))
	b.do(func() error {
		return errors.Join(b.d.copyToHost(all, a.devicePtr-guard, b.stream), b.d.sync(b.stream))
	})
	if b.err != nil {
		return s
	}
	around := append(bytes.Clone(all[:guard]), all[guard+a.bytes:]...)
	if !bytes.Equal(around, bytes.Repeat([]byte{poison}, 2*guard)) {
		b.wrong = "bytes around an array were written"
	}
	copy(bytesOf(s), all[guard:])
	return s
}

// ---- Data ----------------------------------------------------------------------

func normals(random *rand.Rand, n int, deviation float64) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(random.NormFloat64() * deviation)
	}
	return s
}

// stored16 rounds to a 16-bit type. It returns the bits and their values.
func stored16(typ elementType, s []float32) (bits []uint16, values []float32) {
	bits, values = make([]uint16, len(s)), make([]float32, len(s))
	for i, v := range s {
		if typ == typeBF16 {
			bits[i] = weight.ToBF16(v)
			values[i] = weight.FromBF16(bits[i])
		} else {
			half := float16.Fromfloat32(v)
			bits[i], values[i] = half.Bits(), half.Float32()
		}
	}
	return bits, values
}

// typed is a matrix of random numbers of about 1, stored in a type: the bytes, and their values.
func typed(random *rand.Rand, typ elementType, rows, cols int) (data []byte, values []float32) {
	if typ >= typeQuantized {
		data, bits := packed(random, typ.format(), rows, cols, 1)
		return data, widened(bits)
	}
	s := normals(random, rows*cols, 1)
	if typ == typeF32 {
		return bytesOf(s), s
	}
	bits, values := stored16(typ, s)
	return bytesOf(bits), values
}

// repeated is n elements, from s again and again.
func repeated[T any](s []T, n int) []T {
	all := make([]T, n)
	for at := 0; at < n; {
		at += copy(all[at:], s)
	}
	return all
}

// lengths are the Euclidean norms of rows of k.
func lengths(s []float32, k int) []float64 {
	norms := make([]float64, len(s)/k)
	for i := range norms {
		for _, v := range s[i*k:][:k] {
			norms[i] += float64(v) * float64(v)
		}
		norms[i] = math.Sqrt(norms[i])
	}
	return norms
}

func widened(bits []uint16) []float32 {
	s := make([]float32, len(bits))
	for i, v := range bits {
		s[i] = weight.FromBF16(v)
	}
	return s
}

// parallel runs f for 0 … n-1.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

func silu64(x float64) float64 {
	return x / (1 + math.Exp(-x))
}

// distance is ‖x - want‖ / ‖want‖.
func distance[T float32 | float64](x []T, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		d += (float64(x[i]) - w) * (float64(x[i]) - w)
		n += w * w
	}
	return math.Sqrt(d / n)
}

// ---- Verdicts ----------------------------------------------------------------------

// tally is what is known of one kernel so far.
type tally struct {
	KernelResult
	best     Verdict // where nothing is found
	problem  string  // the first that is wrong
	differed bool
	bench    *workbench
}

// ran notes a variant that the kernel ran with.
func (t *tally) ran(format string, args ...any) {
	if variant := fmt.Sprintf(format, args...); !slices.Contains(t.Variants, variant) {
		t.Variants = append(t.Variants, variant)
	}
}

// fail notes what is wrong. After an error of the driver it notes nothing, because results could not be
// read.
func (t *tally) fail(format string, args ...any) {
	if t.problem == "" && t.bench.err == nil {
		t.problem = fmt.Sprintf(format, args...)
	}
}

// bits32 is the bits of a float32. All NaNs have the same.
func bits32(x float32) uint32 {
	if x != x {
		return math.Float32bits(float32(math.NaN()))
	}
	return math.Float32bits(x)
}

// compare counts the values whose bits are not the wanted ones, and finds the first. After an error of
// the driver it counts nothing.
func (t *tally) compare(n int, same func(i int) bool) (other, first int) {
	first = -1
	if t.bench.err != nil {
		return 0, first
	}
	for i := range n {
		if !same(i) {
			other++
			if first < 0 {
				first = i
			}
		}
	}
	t.Values += n
	t.Other += other
	return other, first
}

// same fails unless got is equal to want. what describes want.
func same[T comparable](t *tally, what, where string, got, want []T) {
	equal := func(i int) bool { // NaN is equal to NaN
		return got[i] == want[i] || got[i] != got[i] && want[i] != want[i]
	}
	if other, first := t.compare(len(want), equal); other > 0 {
		t.fail("%s: %d of %d values are not %s; value %d is %v, not %v", where, other, len(want), what, first,
			got[first], want[first])
	}
}

// described notes whether sums have the bits of the published description of tensor cores. Other bits are
// not a failure.
func (t *tally) described(got, want []float32) {
	equal := func(i int) bool { return bits32(got[i]) == bits32(want[i]) }
	if other, _ := t.compare(len(want), equal); other > 0 {
		t.differed = true
	}
}

// near fails unless got is within tolerance(i) of want(i). source describes want.
func (t *tally) near(source, where string, n int, got, want, tolerance func(i int) float64) {
	for i := range n {
		if !t.within(math.Abs(got(i)-want(i)), tolerance(i)) {
			t.fail("%s: value %d is %g, and %s has %g ± %.2g",
				where, i, got(i), source, want(i), tolerance(i))
		}
	}
}

// within records an error relative to its limit, which is the most that rounding explains, and reports
// whether it is within. After an error of the driver it does nothing.
func (t *tally) within(off, limit float64) bool {
	if t.bench.err != nil {
		return true
	}
	share := off / limit
	if off == 0 {
		share = 0
	}
	if !(share <= t.Worst) { // NaN, too
		t.Worst = share
	}
	return share <= 1
}

// differsNote explains [VerdictDiffers] to a user.
const differsNote = "not the bits of the published description of tensor cores; within rounding of the " +
	"reference: results are right, but differ from those of other cards"

// result is the verdict so far.
func (t *tally) result() KernelResult {
	r := t.KernelResult
	switch r.Verdict = t.best; {
	case t.problem != "":
		r.Verdict, r.Note = VerdictFail, t.problem
	case t.differed:
		r.Verdict, r.Note = VerdictDiffers, differsNote
	}
	if math.IsNaN(r.Worst) || math.IsInf(r.Worst, 0) { // which JSON does not have
		r.Worst = math.MaxFloat64
	}
	return r
}
