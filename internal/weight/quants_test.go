package weight

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Dequantize has the values of the reference, the package gguf, in every bit; Unpack and Widen round them to
// bfloat16.
func TestDequantize(t *testing.T) {
	text, err := os.ReadFile("testdata/quants.json") // made by testdata/make_quants.py
	require.NoError(t, err)
	var goldens []struct {
		Format         string
		Blocks, Values []byte
	}
	require.NoError(t, json.Unmarshal(text, &goldens))
	seen := map[Format]bool{Q8_K: true} // which the reference does not read: see TestQ8_K
	for _, g := range goldens {
		f, ok := ParseFormat(g.Format)
		require.True(t, ok, g.Format)
		seen[f] = true
		n := len(g.Values) / 4
		require.Equal(t, len(g.Blocks), f.RowBytes(n), g.Format)
		got, widened, unpacked := make([]float32, n), make([]float32, n), make([]uint16, n)
		Dequantize(got, g.Blocks, f)
		Unpack(unpacked, g.Blocks, f)
		Widen(widened, g.Blocks, f)
		for i := range n {
			want := math.Float32frombits(binary.LittleEndian.Uint32(g.Values[4*i:]))
			if want != want { // infinity times zero; the bits of a NaN depend on the processor
				require.True(t, got[i] != got[i], "%s %d", g.Format, i)
				require.True(t, FromBF16(unpacked[i]) != FromBF16(unpacked[i]), "%s %d", g.Format, i)
				continue
			}
			require.Equal(t, math.Float32bits(want), math.Float32bits(got[i]), "%s %d", g.Format, i)
			require.Equal(t, ToBF16(want), unpacked[i], "%s %d", g.Format, i)
			require.Equal(t, FromBF16(unpacked[i]), widened[i], "%s %d", g.Format, i)
		}
	}
	for i := range formats {
		require.Equal(t, Format(i).Quantized(), seen[Format(i)], "%s", Format(i))
	}
	require.PanicsWithValue(t, "weight: not a quantized format: BF16", func() { Dequantize(nil, nil, BF16) })
}

// A block of Q8_K is a float32 scale, 256 signed bytes and 16 sums.
func TestQ8_K(t *testing.T) {
	block := binary.LittleEndian.AppendUint32(nil, math.Float32bits(-1.7e-5))
	for i := range 256 {
		block = append(block, byte(i))
	}
	block = append(block, make([]byte, 32)...)
	var got [256]float32
	Dequantize(got[:], block, Q8_K)
	d := float32(-1.7e-5)
	for i := range got {
		require.Equal(t, d*float32(int8(i)), got[i])
	}
}
