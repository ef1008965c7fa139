package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// SiLU's exponential function over all of float32.
func TestExp(t *testing.T) {
	onEveryVectors(t, func(t *testing.T, v *vectors) {
		for _, s := range []*assembly{avx2Assembly, avx512Assembly} {
			if v == map[*assembly]*vectors{avx2Assembly: avx2Vectors, avx512Assembly: avx512Vectors}[s] {
				testExp(t, s)
			}
		}
	})
}

func testExp(t *testing.T, s *assembly) {
	x, y := make([]float32, 1024), make([]float32, 1024)
	worst := 0.0
	for bits := uint64(0); bits < 1<<32; {
		for i := range x {
			x[i] = math.Float32frombits(uint32(bits))
			bits += 1009 // a prime: all the ways of the last bits
		}
		copy(y, x)
		s.exp(&y[0], len(y))
		for i, v := range x {
			want := math.Exp(float64(v))
			switch {
			case v != v:
				require.True(t, y[i] != y[i], "exp(NaN) is %g", y[i])
			case want > math.MaxFloat32:
				require.True(t, math.IsInf(float64(y[i]), 1) || want < math.MaxFloat32*(1+1e-6), "exp(%g) is %g", v, y[i])
			case want < 1.2e-38: // subnormal: the distance between two numbers does not shrink any more
				require.InDelta(t, want, float64(y[i]), 1.5e-45, "exp(%g)", v)
			default:
				worst = max(worst, math.Abs(float64(y[i])-want)/want)
			}
		}
	}
	require.Less(t, worst, 1e-7, "the largest relative error; half a unit in the last place is 6e-8")
	t.Logf("largest relative error %.3g", worst)
	edges := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 89, -105, 88.72, -87.33, 0, 0, 0, 0, 0, 0, 0, 0}
	want := []float32{1, 1, float32(math.Inf(1)), 0, float32(math.Inf(1)), 0}
	s.exp(&edges[0], len(edges))
	require.Equal(t, want, edges[:len(want)])
}
