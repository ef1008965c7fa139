package weight

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

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
		require.Equal(t, c.want, ToBF16(math.Float32frombits(c.bits)), "%08x", c.bits)
	}
	require.True(t, math.IsNaN(float64(FromBF16(ToBF16(math.Float32frombits(0x7f800001))))),
		"a NaN whose low bits are dropped")
	for i := range 1 << 16 { // every bfloat16 survives the round trip
		if v := FromBF16(uint16(i)); v == v {
			require.Equal(t, uint16(i), ToBF16(v))
		}
	}
}

func TestWiden(t *testing.T) {
	want := []float32{1, -2.5, 0, 65504, 0.000061035156, -0.15625, 3}
	for _, c := range []struct {
		format Format
		encode func(float32) []byte
	}{
		{BF16, func(v float32) []byte { return binary.LittleEndian.AppendUint16(nil, ToBF16(v)) }},
		{F16, func(v float32) []byte {
			for bits, w := range f16Table() {
				if w == v {
					return binary.LittleEndian.AppendUint16(nil, uint16(bits))
				}
			}
			return nil
		}},
		{F32, func(v float32) []byte { return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)) }},
	} {
		for n := range len(want) + 1 {
			src := []byte{0} // an odd address: tensors may start anywhere
			expected := append([]float32{}, want[:n]...)
			for i, v := range expected {
				src = append(src, c.encode(v)...)
				if c.format == BF16 {
					expected[i] = FromBF16(ToBF16(v))
				}
			}
			got := make([]float32, n)
			Widen(got, src[1:], c.format)
			require.Equal(t, expected, got, "%s", c.format)
		}
	}
	require.Equal(t, float32(5.9604645e-08), f16Table()[1], "the smallest subnormal float16")
}

func TestFloat32s(t *testing.T) {
	want := []float32{1, -2.5, 0.0009765625}
	for format, data := range map[Format][]byte{
		BF16: {0x80, 0x3f, 0x20, 0xc0, 0x80, 0x3a},
		F16:  {0x00, 0x3c, 0x00, 0xc1, 0x00, 0x14},
		F32:  {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0x80, 0x3a},
	} {
		require.Equal(t, want, (&Tensor{Format: format, Shape: []int{3}, Data: data}).Float32s(), format)
	}
	require.Panics(t, func() { (&Tensor{Format: I8, Shape: []int{1}, Data: []byte{1}}).Float32s() })
}

// Every format has a name of its own and a size, and its name is read back as the format.
func TestFormats(t *testing.T) {
	for i := range formats {
		f := Format(i)
		parsed, ok := ParseFormat(f.String())
		require.Equal(t, f != 0, ok)
		require.Equal(t, f, parsed)
		require.Equal(t, f != 0 && !f.Quantized(), f.Bits() > 0)
		weights, bytes := f.Block()
		require.Equal(t, f.Quantized(), weights > 1)
		if f.Quantized() {
			require.Equal(t, 3*bytes, f.RowBytes(3*weights))
		} else {
			require.Equal(t, f.Bits()*3, f.RowBytes(24))
		}
	}
	_, ok := ParseFormat("bf16")
	require.False(t, ok)
}
