//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
	"phi3/internal/weight"
)

// requireNearest asserts that no neighbour of got is nearer to x. value widens bits.
func requireNearest(t *testing.T, x float32, got uint16, value func(uint16) float64) {
	t.Helper()
	if math.IsNaN(float64(x)) {
		require.True(t, math.IsNaN(value(got)), "NaN became %#x", got)
		return
	}
	if x == 0 || math.IsInf(float64(x), 0) {
		require.Equal(t, math.Float64bits(float64(x)), math.Float64bits(value(got)))
		return
	}
	require.Equal(t, math.Signbit(float64(x)), got>>15 == 1, "%g became %#x", x, got)
	distance := func(bits uint16) float64 { return math.Abs(value(bits) - float64(x)) }
	if got&0x7fff > 0 {
		less := distance(got - 1)
		require.True(t, distance(got) < less || distance(got) == less && got%2 == 0,
			"%g became %#x, and %#x is as near", x, got, got-1)
	}
	more := distance(got + 1)
	require.True(t, distance(got) < more || distance(got) == more && got%2 == 0,
		"%g became %#x, and %#x is as near", x, got, got+1)
}

func valueOfBF16(bits uint16) float64 {
	return float64(math.Float32frombits(uint32(bits) << 16))
}

func valueOfF16(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&0x3ff)
	value := math.Ldexp(1024+fraction, exponent-25)
	if exponent == 0 {
		value = math.Ldexp(fraction, -24)
	}
	if exponent == 31 {
		value = math.Inf(1)
		if fraction != 0 {
			value = math.NaN()
		}
	}
	return math.Copysign(value, 1-2*float64(bits>>15))
}

// uploadNumbers are n numbers: the first ones as given, the others random.
func uploadNumbers(random *rand.Rand, n int, first []float32) []float32 {
	x := append(slices.Clone(first), make([]float32, n)...)[:n]
	for i := min(len(first), n); i < n; i++ {
		x[i] = float32(math.Ldexp(random.NormFloat64(), random.IntN(20)-12))
	}
	return x
}

// arrives uploads a tensor whose data start at byte odd, through buffers of 128 bytes, or of two row groups
// of quantized weights and a half, and reads it back as it is on the device.
func arrives(
	t *testing.T, b *Backend, format weight.Format, shape []int, data []byte, odd int,
) (elementType, []byte) {
	t.Helper()
	buffer := 128
	if format.Quantized() {
		buffer = quantLayouts[format].groupBytes(shape[1]) * 5 / 2
	}
	at := make([]byte, odd+len(data))[odd:]
	copy(at, data)
	require.NoError(t, b.do(func() (err error) {
		b.uploader, err = newUploader(b, buffer)
		return err
	}))
	tensor := &weight.Tensor{Name: "x", Format: format, Shape: shape, Data: at}
	uploaded, err := b.Upload(tensor)
	require.NoError(t, err)
	for i := range at {
		at[i] ^= 0x55 // the caller may reuse its memory now
	}
	require.Equal(t, shape, uploaded.Shape)
	require.Equal(t, format, uploaded.Format)
	w := uploaded.Data.(*parameter)
	got := make([]byte, weightBytes(tensor, b.float32))
	if !format.Quantized() {
		require.Len(t, got, w.typ.bytes()*tensor.Elems())
	}
	require.NoError(t, b.read(got, w.ptr))
	require.NoError(t, b.do(func() error { return b.device.free(w.ptr) }))
	return w.typ, got
}

// TestUpload: every type of tensor arrives as it should, from any byte on, through buffers that it fills
// in part, exactly, and many times over.
func TestUpload(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := openTest(t, Options{})
	reference := openTest(t, Options{Float32: true})
	defer func() { require.NoError(t, b.Close()); require.NoError(t, reference.Close()) }()
	for i, n := range []int{1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000} {
		testUploadF32(t, random, b, reference, n, i)
		for _, c := range []struct {
			format weight.Format
			typ    elementType
			value  func(uint16) float64
		}{{weight.BF16, typeBF16, valueOfBF16}, {weight.F16, typeF16, valueOfF16}} {
			y := make([]uint16, n) // any bit patterns, NaN too
			for i := range y {
				y[i] = uint16(random.Uint32())
			}
			for _, b := range []*Backend{b, reference} {
				typ, got := arrives(t, b, c.format, []int{1, n}, bytesOf(y), i%4)
				require.Equal(t, c.typ, typ)
				require.Equal(t, bytesOf(y), got)
				typ, got = arrives(t, b, c.format, []int{n}, bytesOf(y), i%4)
				require.Equal(t, typeF32, typ)
				for i := range y {
					want := c.value(y[i])
					is := float64(math.Float32frombits(binary.LittleEndian.Uint32(got[4*i:])))
					require.True(t, math.IsNaN(want) && math.IsNaN(is) ||
						math.Float64bits(want) == math.Float64bits(is), "%#x became %g", y[i], is)
				}
			}
		}
	}
}

// Quantized weights arrive in the layout of the device, also with --dtype f32.
func TestUploadQuantized(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	for _, float32 := range []bool{false, true} {
		b := openTest(t, Options{Float32: float32})
		for i, f := range quantizedFormats(t) {
			weights, bytes := f.Block()
			const rows, blocks = 37, 3
			data := make([]byte, rows*blocks*bytes)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			typ, got := arrives(t, b, f, []int{rows, blocks * weights}, data, i%4)
			require.Equal(t, typeOf(f), typ)
			require.Equal(t, newQuantMatrix(f, data, rows, blocks*weights).packed(), got, f)
		}
		require.NoError(t, b.Close())
	}
}

// A row group that does not fit in a buffer is an error.
func TestUploadLongRows(t *testing.T) {
	b := openTest(t, Options{})
	require.NoError(t, b.do(func() (err error) {
		b.uploader, err = newUploader(b, 1087)
		return err
	}))
	_, err := b.Upload(&weight.Tensor{Format: weight.Q8_0, Shape: []int{8, 128}, Data: make([]byte, 8*136)})
	require.ErrorContains(t, err, "8 rows of quantized weights take 1088 bytes")
	require.NoError(t, b.Close())
}

// testUploadF32 uploads n float32 numbers, from byte i % 4 on.
func testUploadF32(t *testing.T, random *rand.Rand, b, reference *Backend, n, i int) {
	specials := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1, 1e-45, -1e-40, 6e-8, 2.98e-8, 2.9802322e-8,
		1 + 1.0/256, 1 + 3.0/256, 65504, -65504, 1 + 1.0/2048, 1 + 3.0/2048,
	}
	beyond := []float32{ // float16's range
		65505, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
		math.Float32frombits(0x7f800001), math.MaxFloat32,
	}
	matrix, norm := []int{1, n}, []int{n}
	u16 := func(b []byte, i int) uint16 { return binary.LittleEndian.Uint16(b[2*i:]) }

	x := uploadNumbers(random, n, specials)
	typ, got := arrives(t, b, weight.F32, matrix, bytesOf(x), i%4)
	require.Equal(t, typeF16, typ)
	for i := range x {
		requireNearest(t, x[i], u16(got, i), valueOfF16)
	}
	x = uploadNumbers(random, n, append(beyond[i%len(beyond):len(beyond):len(beyond)], specials...))
	typ, got = arrives(t, b, weight.F32, matrix, bytesOf(x), i%4)
	require.Equal(t, typeBF16, typ)
	for i := range x {
		if x[i] != math.MaxFloat32 { // its neighbour is infinity
			requireNearest(t, x[i], u16(got, i), valueOfBF16)
		}
	}
	typ, got = arrives(t, reference, weight.F32, matrix, bytesOf(x), i%4)
	require.Equal(t, typeF32, typ)
	require.Equal(t, bytesOf(x), got)
	typ, got = arrives(t, b, weight.F32, norm, bytesOf(x), i%4)
	require.Equal(t, typeF32, typ)
	require.Equal(t, bytesOf(x), got)
}

// TestFillFromShrunkFile: the goroutines that fill upload buffers pass the fault of a file that shrank to the
// goroutine that waits for them.
func TestFillFromShrunkFile(t *testing.T) {
	dir := t.TempDir()
	const elems = 3 << 20 // pieces for several goroutines
	header := fmt.Sprintf(`{"x":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}`, elems, 2*elems)
	file := filepath.Join(dir, "model.safetensors")
	require.NoError(t, os.WriteFile(file,
		append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), 0o600))
	require.NoError(t, os.Truncate(file, int64(8+len(header)+2*elems)))
	c, err := safetensors.Open(os.DirFS(dir))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	x, _ := c.Tensor("x")
	quantized := *x // the same bytes
	quantized.Format, quantized.Shape = weight.Q8_0, []int{1000, 32 * 180}
	require.LessOrEqual(t, quantized.Bytes(), int64(2*elems))
	read := func(x *weight.Tensor, to elementType) (err error) {
		return weight.Guard([]*weight.Tensor{x}, func() error {
			c := converter(x, to)
			fill(make([]byte, c.elems*c.bytes), c, 0)
			return nil
		})
	}
	for to, x := range map[elementType]*weight.Tensor{
		typeBF16: x, typeF32: x, typeOf(weight.Q8_0): &quantized, // by the runtime's assembly, and by loops
	} {
		require.NoError(t, read(x, to))
		require.NoError(t, os.Truncate(file, 100))
		require.ErrorContains(t, read(x, to), `model.safetensors: tensor "x": byte`)
		require.NoError(t, os.Truncate(file, int64(8+len(header)+2*elems)))
	}
}
