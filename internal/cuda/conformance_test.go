//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/tensorcore"
	"phi3/kernels/emulator"
)

// The emulator can stand in for a GPU because its mma, ldmatrix and cp.async do what a GPU's do. These tests
// check both, with the kernels of testdata/conformance.cu. TestMain adds them to the emulator; `make
// test-gpu` compiles them for a GPU.

//go:embed testdata/conformance.cu
var conformanceSource []byte

// conformanceKernels are those that run on every device.
var conformanceKernels = emulator.Extra{
	Name: "conformance.cu", Text: conformanceSource,
	Kernels: []string{"sum_mma", "load_matrices", "copy_async", "convert", "powers"},
}

// conformance is a device with those kernels loaded.
type conformance struct {
	*device
	t      *testing.T
	module cu.Module
	stream cu.Stream
}

func openConformance(t *testing.T) *conformance {
	image := []byte("the emulator takes any image")
	if onGPU {
		var err error
		if image, err = os.ReadFile("testdata/conformance.fatbin"); errors.Is(err, fs.ErrNotExist) {
			t.Skip("the test's kernels are not compiled: run make " +
				"internal/cuda/testdata/conformance.fatbin with nvcc")
		}
		require.NoError(t, err)
	}
	d := open(t)
	c := &conformance{device: d, t: t}
	require.NoError(t, d.do(func() (err error) {
		if c.module, err = d.loadModule(image); err != nil {
			return err
		}
		c.stream, err = d.newStream()
		return err
	}))
	return c
}

// onEach runs a test on the GPU, or on emulated ones of each compute capability.
func onEach(t *testing.T, test func(t *testing.T, c *conformance)) {
	if onGPU {
		test(t, openConformance(t))
		return
	}
	for _, compute := range []string{"8.0", "8.6", "8.9", "9.0", "10.0", "12.0"} {
		t.Run("compute "+compute, func(t *testing.T) {
			emulate(t, "compute="+compute)
			test(t, openConformance(t))
		})
	}
}

// run runs one block of a kernel whose arguments are an output, which it returns, inputs, and at last an
// int32.
func run[Out any](c *conformance, kernel string, threads, outputs int, number int32, inputs ...any) []Out {
	c.t.Helper()
	out := make([]Out, outputs)
	require.NoError(c.t, c.do(func() error {
		f, err := c.function(c.module, kernel)
		if err != nil {
			return err
		}
		var args bytes.Buffer
		var taken []devicePtr
		put := func(data any) (devicePtr, error) {
			host := encode(data)
			p, err := c.alloc(len(host))
			if err != nil {
				return 0, err
			}
			taken = append(taken, p)
			args.Write(encode(uint64(p)))
			return p, c.copyToDevice(p, host, c.stream)
		}
		result, err := put(out)
		if err != nil {
			return err
		}
		for _, in := range inputs {
			if _, err := put(in); err != nil {
				return err
			}
		}
		args.Write(encode(number))
		l := launch{function: f, grid: [3]uint32{1, 1, 1}, block: uint32(threads), size: uint32(args.Len())}
		copy(l.args[:], args.Bytes())
		if err := c.launchAll(c.stream, []launch{l}); err != nil {
			return err
		}
		back := make([]byte, binary.Size(out))
		if err := c.copyToHost(back, result, c.stream); err != nil {
			return err
		}
		if err := c.sync(c.stream); err != nil {
			return err
		}
		for _, p := range taken {
			if err := c.free(p); err != nil {
				return err
			}
		}
		_, err = binary.Decode(back, binary.LittleEndian, out)
		return err
	}))
	return out
}

func encode(data any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, data)
	if err != nil {
		panic(err) // the tests' types are all of fixed size
	}
	return b
}

const sumRows = 64 // of the kernels sum_…

// sum is one comparison of sums.
type sum struct {
	name  string
	input func() tensorcore.Inputs // drawn when first asked for: a test may end before
}

// sums are all comparisons: each kind of numbers, in chains of instructions of several lengths that start
// from c or from 0.
func sums(columns int, depths ...int) (all []sum) {
	for i, kind := range tensorcore.Kinds {
		for _, k := range depths {
			fromC := sync.OnceValue(func() tensorcore.Inputs {
				return kind.Draw(rand.New(rand.NewPCG(uint64(i), uint64(k))), sumRows, columns, k)
			})
			from0 := func() tensorcore.Inputs {
				in := fromC()
				in.C = make([]float32, len(in.C))
				return in
			}
			name := fmt.Sprintf("%s, K = %d", kind.Name, k)
			all = append(all, sum{name + ", from c", fromC}, sum{name + ", from 0", from0})
		}
	}
	return all
}

// requireSums compares a kernel's sums with the right ones, bit by bit.
func (c *conformance) requireSums(
	t *testing.T, instruction, kernel, kind string, in tensorcore.Inputs, want []float32,
) {
	t.Helper()
	columns := len(want) / sumRows
	got := run[float32](c, kernel, 128, len(want), int32(in.K), in.A, in.B, in.C)
	differ, first, farthest := 0, 0, 0.0
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			if differ == 0 {
				first = i
			}
			differ++
			if difference := math.Abs(float64(want[i]) - float64(got[i])); difference > farthest { // not NaN
				farthest = difference
			}
		}
	}
	if differ > 0 {
		t.Errorf("%s on %s (compute capability %d.%d) does not add as internal/tensorcore's %s; %s: "+
			"%d of %d sums differ, by up to %.3g. The first is row %d, column %d: %g (%08x), not %g (%08x)",
			instruction, c.Name, c.Major, c.Minor, tensorcore.For(c.Major), kind,
			differ, len(want), farthest, first/columns, first%columns,
			got[first], math.Float32bits(got[first]), want[first], math.Float32bits(want[first]))
	}
}

// TestConformanceMMA: mma.sync gives the bits that internal/tensorcore computes for the device's generation.
func TestConformanceMMA(t *testing.T) {
	all := sums(8, 16, 3072, 8192)
	want := map[tensorcore.Arch][][]float32{}
	onEach(t, func(t *testing.T, c *conformance) {
		arch := tensorcore.For(c.Major)
		for i, s := range all {
			t.Run(s.name, func(t *testing.T) {
				in := s.input()
				if want[arch] == nil {
					want[arch] = make([][]float32, len(all))
				}
				if want[arch][i] == nil {
					want[arch][i] = arch.Multiply(in)
				}
				c.requireSums(t, "mma.sync m16n8k16", "sum_mma", s.name, in, want[arch][i])
			})
		}
	})
}

// On integers a tensor core has nothing to round, so plain loops know every bit.
func TestConformanceMMAOfIntegers(t *testing.T) {
	const columns, k = 8, 96
	rng := rand.New(rand.NewPCG(1, 1))
	integers := func(n int) (values []float32, encoded []uint16) {
		for range n {
			v := float32(rng.IntN(257) - 128) // a bfloat16 exactly, and every sum stays below 2²⁴
			values, encoded = append(values, v), append(encoded, uint16(math.Float32bits(v)>>16))
		}
		return values, encoded
	}
	a, aBits := integers(sumRows * k)
	b, bBits := integers(columns * k)
	want, zeros := make([]float32, sumRows*columns), make([]float32, sumRows*columns)
	for r := range sumRows {
		for col := range columns {
			for i := range k {
				want[r*columns+col] += a[r*k+i] * b[col*k+i]
			}
		}
	}
	onEach(t, func(t *testing.T, c *conformance) {
		require.Equal(t, want, run[float32](c, "sum_mma", 128, len(want), k, aBits, bBits, zeros))
	})
}

// TestConformanceWGMMA: on Hopper each form of wgmma gives the bits of mma.sync. A prefill with wgmma and a
// decode with mma.sync could then agree.
func TestConformanceWGMMA(t *testing.T) {
	if !onGPU {
		t.Skip("the emulator has no wgmma")
	}
	c := openConformance(t)
	if c.Major != 9 || c.Minor != 0 {
		t.Skipf("wgmma needs compute capability 9.0, this GPU has %d.%d", c.Major, c.Minor)
	}
	for _, shape := range []struct {
		columns int
		depths  []int
	}{{8, []int{16, 3072, 8192}}, {192, []int{16, 1024}}} {
		for _, s := range sums(shape.columns, shape.depths...) {
			in := s.input()
			want := tensorcore.Hopper.Multiply(in)
			for _, from := range []string{"registers", "shared"} {
				form := fmt.Sprintf("wgmma m64n%dk16 with A from %s", shape.columns, from)
				kernel := fmt.Sprintf("sum_wgmma_%d_%s", shape.columns, from)
				t.Run(form+", "+s.name, func(t *testing.T) {
					c.requireSums(t, form, kernel, s.name, in, want)
				})
			}
		}
	}
}
