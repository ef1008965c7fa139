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
	"github.com/x448/float16"
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

func TestConformanceLdmatrix(t *testing.T) {
	c := openConformance(t)
	var rows [32][8]uint16
	for i := range rows {
		for j := range rows[i] {
			rows[i][j] = uint16(i<<8 | j)
		}
	}
	// Element (row, column) of matrix m, and the two neighbours in a row, or in a column, that a lane gets.
	plain := func(m, lane int) uint32 {
		row, col := 8*m+lane/4, 2*(lane%4)
		return uint32(rows[row][col]) | uint32(rows[row][col+1])<<16
	}
	transposed := func(m, lane int) uint32 {
		row, col := 8*m+2*(lane%4), lane/4
		return uint32(rows[row][col]) | uint32(rows[row+1][col])<<16
	}
	var want []uint32
	for _, form := range []struct {
		matrices int
		element  func(m, lane int) uint32
	}{{4, plain}, {4, transposed}, {2, plain}, {2, transposed}} {
		for lane := range 32 {
			var registers [4]uint32 // those a form does not use stay 0
			for m := range form.matrices {
				registers[m] = form.element(m, lane)
			}
			want = append(want, registers[:]...)
		}
	}
	require.Equal(t, want, run[uint32](c, "load_matrices", 32, len(want), 0, rows))
}

func TestConformanceCopyAsync(t *testing.T) {
	c := openConformance(t)
	const threads, valid = 64, 41
	in := make([][4]uint32, 2*threads)
	for i := range in {
		for j := range in[i] {
			in[i][j] = uint32(1 + 4*i + j)
		}
	}
	want := make([][4]uint32, 2*threads)
	for group := range 2 {
		for thread := range threads {
			if from := (thread + 1) % threads; from < valid {
				want[group*threads+thread] = in[group*threads+from]
			}
		}
	}
	require.Equal(t, want, run[[4]uint32](c, "copy_async", threads, 2*threads, valid, in))
}

func TestConformanceConversions(t *testing.T) {
	c := openConformance(t)
	rng := rand.New(rand.NewPCG(1, 1))
	x := []uint32{
		0, 1 << 31, 1, 0x7fffff, 0x800000, // zeros and subnormals
		0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, // ties and their neighbours
		0x7f7fffff, 0x7f7f8000, 0x7f7f7fff, 0x7f800000, 0xff800000, // overflow, infinities
		0x7f800001, 0x7fc00000, 0xffffffff, // NaN
	}
	for range 10_000 {
		x = append(x, rng.Uint32())
	}
	got := run[[3]uint32](c, "convert", 256, len(x), int32(len(x)), x)
	for i, u := range x {
		v := math.Float32frombits(u)
		nearest := (u + 0x7fff + u>>16&1) >> 16
		half := float16.Frombits(uint16(u >> 16)).Float32()
		if !math.IsNaN(float64(v)) {
			require.Equal(t, nearest, got[i][0], "float_to_bf16(%v), bits %x", v, u)
			require.Equal(t, nearest|(nearest^0x8000)<<16, got[i][1], "pack_bf16(%v, %v), bits %x", v, -v, u)
		} else {
			for _, b := range []uint32{got[i][0], got[i][1], got[i][1] >> 16} {
				require.Greater(t, b&0x7fff, uint32(0x7f80), "NaN, bits %x, became %x", u, b)
			}
		}
		if !math.IsNaN(float64(half)) {
			require.Equal(t, math.Float32bits(half), got[i][2], "half_to_float(%x)", u>>16)
		} else {
			require.Greater(t, got[i][2]&0x7fffffff, uint32(0x7f800000), "half_to_float(%x)", u>>16)
		}
	}
}

// TestConformanceExp2: exp2_approx is within 2 units in the last place of 2ˣ where that is a normal float32,
// and 0 where it is less. Attention and SiLU rely on that. Its bits may differ between a GPU and the
// emulator.
func TestConformanceExp2(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	special := []struct{ x, want float32 }{
		{0, 1},
		{float32(math.Copysign(0, -1)), 1}, // what softmax takes of the greatest score is exactly 1
		{math.SmallestNonzeroFloat32, 1},
		{-0x1p-127, 1},
		{inf, inf},
		{-inf, 0},
		{128, inf},
		{1000, inf},
		{math.MaxFloat32, inf},
		{-126.5, 0},
		{-130, 0},
		{-149, 0},
		{-1000, 0},
		{-math.MaxFloat32, 0}, // less than any normal float32
	}
	x := []float32{nan, -nan}
	for _, s := range special {
		x = append(x, s.x)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	first := len(x)
	for i := range 100_000 {
		switch i % 4 {
		case 0: // over the whole range
			x = append(x, -126+254*rng.Float32())
		case 1: // where most of attention's and SiLU's are
			x = append(x, float32(10*rng.NormFloat64()))
		case 2: // around 0
			x = append(x, float32(math.Ldexp(rng.NormFloat64(), -rng.IntN(30))))
		default: // around whole numbers
			x = append(x, float32(rng.IntN(254)-126)*(1+float32(rng.IntN(5)-2)*0x1p-23))
		}
	}
	c := openConformance(t)
	got := run[float32](c, "powers", 256, len(x), int32(len(x)), x)
	require.True(t, got[0] != got[0] && got[1] != got[1], "of NaN")
	for i, s := range special {
		require.Equal(t, math.Float32bits(s.want), math.Float32bits(got[2+i]),
			"exp2_approx(%g) is %g, not %g", s.x, got[2+i], s.want)
	}
	most := 0.0
	for i, x := range x[first:] {
		got, exact := float64(got[first+i]), math.Exp2(float64(x))
		if exact < 0x1p-126 {
			require.Zero(t, got, "exp2_approx(%g)", x)
			continue
		}
		units := math.Abs(got-exact) / math.Ldexp(1, math.Ilogb(exact)-23)
		require.LessOrEqual(t, units, 2.0, "exp2_approx(%g) is %g, not %g", x, got, exact)
		most = max(most, units)
	}
	t.Logf("greatest error: %.3f units in the last place", most)
}
