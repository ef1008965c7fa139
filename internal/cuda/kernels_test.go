//go:build cuda && linux && cgo

package cuda

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// kernelBench is a device for a test of kernels, which ends at the first error.
type kernelBench struct {
	*workbench
	t testing.TB
	k *kernelSet // nil for tests of attention
}

func newKernelBench(t testing.TB) *kernelBench {
	return &kernelBench{t: t, workbench: newWorkbench(open(t))}
}

// openKernels is a kernelBench with all kernels but attention.
func openKernels(t testing.TB) *kernelBench {
	b := newKernelBench(t)
	b.do(func() (err error) {
		b.k, err = b.d.loadKernels(nil)
		return err
	})
	b.check()
	return b
}

// check ends the test if something is wrong.
func (b *kernelBench) check() {
	b.t.Helper()
	require.NoError(b.t, b.err, b.at)
	require.Empty(b.t, b.wrong)
}

func (b *kernelBench) alloc(size int) array {
	b.t.Helper()
	defer b.check()
	return b.workbench.alloc(size)
}

func upload[T any](b *kernelBench, s []T) array {
	b.t.Helper()
	defer b.check()
	return toDevice(b.workbench, s)
}

func download[T any](b *kernelBench, a array) []T {
	b.t.Helper()
	defer b.check()
	return fromDevice[T](b.workbench, a)
}

func (b *kernelBench) run() {
	b.t.Helper()
	b.workbench.run("")
	b.check()
}

// stored rounds x to what is stored in type e, and gives its value.
func stored(e elementType, x float64) (bits uint16, value float64) {
	significant, lowest := 8, -126 // of a bfloat16: significant bits, least exponent
	if e == typeF16 {
		significant, lowest = 11, -14
	}
	_, exponent := math.Frexp(x)
	ulp := math.Ldexp(1, max(exponent, lowest+1)-significant)
	value = math.RoundToEven(x/ulp) * ulp
	if e == typeBF16 {
		return uint16(math.Float32bits(float32(value)) >> 16), value
	}
	magnitude := math.Abs(value)
	if _, exponent = math.Frexp(magnitude); magnitude == 0 || exponent <= lowest {
		bits = uint16(magnitude * (1 << 24))
	} else {
		bits = uint16(exponent+14)<<10 | uint16(math.Ldexp(magnitude, 11-exponent))&0x3ff
	}
	if math.Signbit(value) {
		bits |= 0x8000
	}
	return bits, value
}

// dots are the dot products of rows of x and rows of w in float64, and the sums of their terms' magnitudes.
func dots(x, w []float64, tokens, rows, k int) (dot, size []float64) {
	dot, size = make([]float64, tokens*rows), make([]float64, tokens*rows)
	parallel(tokens, func(t int) {
		for r := range rows {
			var d, s float64
			for i, v := range x[t*k:][:k] {
				p := v * w[r*k+i]
				d += p
				s += math.Abs(p)
			}
			dot[t*rows+r], size[t*rows+r] = d, s
		}
	})
	return dot, size
}

// requireNear wants every got to be within tolerance(i) of want.
func requireNear(
	t testing.TB, name string, want []float64, got func(i int) float64, tolerance func(i int) float64,
) {
	t.Helper()
	for i, w := range want {
		if g := got(i); !(math.Abs(g-w) <= tolerance(i)) {
			require.FailNow(t, name, "element %d is %g, want %g ± %g", i, g, w, tolerance(i))
		}
	}
}
