package model

import (
	"cmp"
	"math"
)

// ropeTable holds the cosines and sines of one set of RoPE factors, for each position. It grows with the
// longest sequence.
//
// Angles are computed in float32, as in Hugging Face. The product of a position, up to 131,071, and a
// frequency loses bits, and the results agree only if the same bits are lost. A table in a 16-bit type makes
// the answers to long prompts meaningless (spec 3.2 and trap 7).
type ropeTable struct {
	inv      []float32 // [dim/2] frequencies
	scale    float32   // attention factor on cos and sin
	cos, sin []float32 // [positions, dim/2]
}

// newRopeTable makes the table for the given factors. If factors is nil, it is plain RoPE.
func newRopeTable(c *RoPEConfig, factors []float32) *ropeTable {
	t := &ropeTable{inv: make([]float32, c.Dim/2), scale: float32(c.AttentionFactor)}
	for j := range t.inv {
		exponent := float32(2*j) / float32(cmp.Or(c.OddDim, c.Dim))
		wavelength := float32(math.Pow(c.Theta, float64(exponent)))
		if factors != nil {
			wavelength *= factors[j]
		}
		t.inv[j] = 1 / wavelength
	}
	return t
}

// rows appends the cosines and sines of positions from … to-1 to cos and sin, dim/2 values for each
// position.
func (t *ropeTable) rows(cos, sin []float32, from, to int) ([]float32, []float32) {
	half := len(t.inv)
	for p := len(t.cos) / half; p < to; p++ {
		for _, inv := range t.inv {
			// one float32 rounding, as in the definition; the rest of the line is exact enough
			phase := inv * float32(p)
			s, c := math.Sincos(float64(phase))
			t.cos = append(t.cos, float32(c)*t.scale)
			t.sin = append(t.sin, float32(s)*t.scale)
		}
	}
	return append(cos, t.cos[from*half:to*half]...), append(sin, t.sin[from*half:to*half]...)
}
