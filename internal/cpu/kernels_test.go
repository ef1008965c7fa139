package cpu

import (
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
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
		w, x := normals(rng, goPanelRows*k), normals(rng, k)
		got := dotPanel(w, x)
		for i := range goPanelRows {
			var want, size float64
			for j := range k {
				p := float64(w[i*k+j]) * float64(x[j])
				want += p
				size += math.Abs(p)
			}
			require.InDelta(t, want, float64(got[i]), size*1e-6, "dotPanel, k %d, row %d", k, i)
		}
	}
}
