//go:build cuda && linux && cgo

package cuda

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"math/rand"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"gorgonia.org/cu"
)

// The emulator stands in for a GPU because its mma, ldmatrix and cp.async do what a GPU's do. Here a real one is asked, with the
// kernels of testdata/conformance.cu, which `make test-gpu` compiles. On integers a tensor core has nothing to round, so plain loops
// know every bit.

// conformance is the chip with those kernels loaded.
type conformance struct {
	*device
	t      *testing.T
	module cu.Module
	stream cu.Stream
}

func openConformance(t *testing.T) *conformance {
	if !onGPU {
		t.Skip("this test asks a real GPU: make test-gpu")
	}
	image, err := os.ReadFile("testdata/conformance.fatbin")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("its kernels are not compiled, for want of an nvcc: make internal/cuda/testdata/conformance.fatbin")
	}
	require.NoError(t, err)
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

// run runs one block of a kernel whose arguments are an output, which it returns, inputs, and at last an int32.
func run[Out any](c *conformance, kernel string, threads, outputs int, number int32, inputs ...any) []Out {
	c.t.Helper()
	out := make([]Out, outputs)
	require.NoError(c.t, c.do(func() error {
		f, err := c.function(c.module, kernel)
		if err != nil {
			return err
		}
		var args bytes.Buffer
		put := func(data any) (devicePtr, error) {
			host := encode(data)
			p, err := c.alloc(len(host))
			if err != nil {
				return 0, err
			}
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

// bits are x as a bfloat16, cut off.
func bits(x float32) uint16 { return uint16(math.Float32bits(x) >> 16) }

func TestConformanceMMA(t *testing.T) {
	c := openConformance(t)
	const rows, columns, k = 64, 8, 96
	rng := rand.New(rand.NewSource(1))
	integers := func(n int) (values []float32, encoded []uint16) {
		for range n {
			v := float32(rng.Intn(257) - 128) // a bfloat16 exactly, and every sum stays below 2²⁴
			values, encoded = append(values, v), append(encoded, bits(v))
		}
		return values, encoded
	}
	a, aBits := integers(rows * k)
	b, bBits := integers(columns * k)
	want := make([]float32, rows*columns)
	for r := range rows {
		for col := range columns {
			for i := range k {
				want[r*columns+col] += a[r*k+i] * b[col*k+i]
			}
		}
	}
	require.Equal(t, want, run[float32](c, "sum_mma", 128, rows*columns, k, aBits, bBits))
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
	rng := rand.New(rand.NewSource(1))
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

// Whether mma.sync and wgmma give the same bits decides whether prefill could use wgmma and decode mma.sync. The answer is a fact about
// a chip and no test of ours: it is logged.
func TestConformanceWGMMASums(t *testing.T) {
	c := openConformance(t)
	if c.Major != 9 || c.Minor != 0 {
		t.Skipf("wgmma needs compute capability 9.0, this GPU has %d.%d", c.Major, c.Minor)
	}
	const rows, columns = 64, 8
	rng := rand.New(rand.NewSource(1))
	for _, k := range []int{16, 3072, 8192} {
		random := func(n int) []uint16 {
			values := make([]uint16, n)
			for i := range values {
				values[i] = bits(float32(rng.NormFloat64()))
			}
			return values
		}
		a, b := random(rows*k), random(columns*k)
		mma := run[float32](c, "sum_mma", 128, rows*columns, int32(k), a, b)
		wgmma := run[float32](c, "sum_wgmma", 128, rows*columns, int32(k), a, b)
		same, farthest := 0, 0.0
		for i := range mma {
			if mma[i] == wgmma[i] {
				same++
			}
			farthest = max(farthest, math.Abs(float64(mma[i]-wgmma[i])))
		}
		require.Less(t, farthest, 1e-3*float64(k), "K = %d: these are not the same sums at all", k)
		t.Logf("K = %d: mma.sync and wgmma give the same bits in %d of %d sums; greatest difference %.3g", k, same, len(mma), farthest)
	}
}
