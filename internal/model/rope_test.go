package model

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The constants that the spec derives (section 7.5), and the first frequency, which is always 1.
func TestRopeFrequencies(t *testing.T) {
	for _, c := range []struct {
		theta float64
		dim   int
		want  float64
	}{
		{1e4, 96, 0.8254041852680184},
		{250000, 128, 0.8234878339386535},
		{500000, 128, 0.8146172338565447},
	} {
		table := newRopeTable(&RoPEConfig{Theta: c.theta, Dim: c.dim, AttentionFactor: 1}, nil)
		require.Len(t, table.inv, c.dim/2)
		require.EqualValues(t, 1, table.inv[0])
		require.InEpsilon(t, c.want, float64(table.inv[1]), 2e-7)
	}
}

func TestRopeRows(t *testing.T) {
	factors := []float32{1, 2, 8}
	table := newRopeTable(&RoPEConfig{Theta: 1e4, Dim: 6, AttentionFactor: 1.5}, factors)
	// appends, and grows the table past what is asked for
	cos, sin := table.rows([]float32{9}, []float32{9}, 3, 5)
	require.Len(t, cos, 1+2*3)
	require.EqualValues(t, 9, cos[0])
	for i, p := range []float64{3, 4} {
		for j, f := range factors {
			angle := p / (float64(f) * math.Pow(1e4, float64(2*j)/6))
			require.InDelta(t, 1.5*math.Cos(angle), float64(cos[1+i*3+j]), 1e-6)
			require.InDelta(t, 1.5*math.Sin(angle), float64(sin[1+i*3+j]), 1e-6)
		}
	}
	again, _ := table.rows(nil, nil, 0, 2)
	require.InDelta(t, 1.5, float64(again[0]), 0, "position 0 does not rotate")

	far, _ := table.rows(nil, nil, 131071, 131072)
	phase := table.inv[1] * float32(131071)
	require.Equal(t, float32(math.Cos(float64(phase)))*1.5, far[1],
		"angles are formed in float32, as Hugging Face does")
}
