package cpu

import (
	"encoding/binary"
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
)

// normals are n values from a normal distribution.
func normals(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func TestDotProducts(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for _, k := range []int{1, 2, 3, 4, 5, 31, 96, 128, 3072, 8192} {
		w, x := normals(rng, goTileRows*k), normals(rng, k)
		got := dotTile(w, x)
		for i := range goTileRows {
			var want, size float64
			for j := range k {
				p := float64(w[i*k+j]) * float64(x[j])
				want += p
				size += math.Abs(p)
			}
			require.InDelta(t, want, float64(got[i]), size*1e-6, "dotTile, k %d, row %d", k, i)
		}
	}
}

func TestBF16RoundsToNearestEven(t *testing.T) {
	for _, c := range []struct {
		bits uint32
		want uint16
	}{
		{0x3f800000, 0x3f80}, // 1
		{0x3f807fff, 0x3f80}, // just below half: down
		{0x3f808000, 0x3f80}, // half, even: down
		{0x3f808001, 0x3f81}, // just above half: up
		{0x3f818000, 0x3f82}, // half, odd: up
		{0x7f7fffff, 0x7f80}, // the largest float32 rounds to infinity
		{0x7f800000, 0x7f80}, // infinity
		{0xff800000, 0xff80},
		{0x80000000, 0x8000}, // -0
		{0x00008001, 0x0001}, // subnormal
	} {
		require.Equal(t, c.want, toBF16(math.Float32frombits(c.bits)), "%08x", c.bits)
	}
	require.True(t, math.IsNaN(float64(fromBF16(toBF16(math.Float32frombits(0x7f800001))))),
		"a NaN whose low bits are dropped")
	for i := range 1 << 16 { // every bfloat16 survives the round trip
		if v := fromBF16(uint16(i)); v == v {
			require.Equal(t, uint16(i), toBF16(v))
		}
	}
}

func TestWiden(t *testing.T) {
	want := []float32{1, -2.5, 0, 65504, 0.000061035156, -0.15625, 3}
	for _, c := range []struct {
		dtype  safetensors.DType
		encode func(float32) []byte
	}{
		{safetensors.BF16, func(v float32) []byte {
			return binary.LittleEndian.AppendUint16(nil,
				toBF16(v))
		}},
		{safetensors.F16, func(v float32) []byte {
			for bits, w := range f16Table() {
				if w == v {
					return binary.LittleEndian.AppendUint16(nil, uint16(bits))
				}
			}
			return nil
		}},
		{safetensors.F32, func(v float32) []byte {
			return binary.LittleEndian.AppendUint32(nil,
				math.Float32bits(v))
		}},
	} {
		for n := range len(want) + 1 {
			src := []byte{0} // an odd address: tensors may start anywhere
			expected := append([]float32{}, want[:n]...)
			for i, v := range expected {
				src = append(src, c.encode(v)...)
				if c.dtype == safetensors.BF16 {
					expected[i] = fromBF16(toBF16(v))
				}
			}
			got := make([]float32, n)
			widen(got, src[1:], c.dtype)
			require.Equal(t, expected, got, "%s", c.dtype)
		}
	}
	require.Equal(t, float32(5.9604645e-08), f16Table()[1], "the smallest subnormal float16")
}
