package verify

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMeasures(t *testing.T) {
	require.InDelta(t, 1, steps(20.5, 20.375), 0, "16 … 32: an eighth")
	require.InDelta(t, 1, steps(16, 15.875), 0)
	require.InDelta(t, 1, steps(32, 31.75), 0)
	require.InDelta(t, 2, steps(-1, -1.015625), 0, "1 … 2: 1/128")

	worst := strict([][]float64{{1, 2, 100}}, [][]float32{{1.001, 2.0021, 100.05}})
	require.InDelta(t, 0.0021, worst.Value, 1e-6, "the largest of the tolerance, not the largest")
	require.InDelta(t, 0.003, worst.Limit, 1e-9)
	require.True(t, worst.OK())
	require.False(t, strict([][]float64{{1}}, [][]float32{{1.0021}}).OK())
	require.False(t, strict([][]float64{{1, 1}}, [][]float32{{float32(math.NaN()), 1}}).finite().OK())
	require.False(t, strict([][]float64{{1, 1}}, [][]float32{{1, float32(math.NaN())}}).finite().OK())
	require.False(t, Measure{Value: math.NaN(), Least: true, Limit: -5}.finite().OK())

	require.Equal(t, []float64{1, 2, 3, 5, 6, 7}, ends([]float32{1, 2, 3, 4, 5, 6, 7}))
	require.Equal(t, 2, rank([]float32{1, 3, 3, 2}, 2))
	require.Equal(t, 4, rank([]float32{1, 3, 3, 2}, 0))
	require.InDelta(t, 1, cosine([]float32{1, 2}, []float32{2, 4}), 1e-12)
	require.InDelta(t, 0, cosine([]float64{1, 2}, []float64{2, -1}), 1e-12)
}

func TestHiddenMeasures(t *testing.T) {
	ok := func(want, got []float64) (passed []bool) {
		for _, m := range hiddenMeasures([][]float64{{1, 1}, want}, [][]float64{{1, 1}, got}) {
			passed = append(passed, m.OK())
		}
		return passed
	}
	row := []float64{1, -1, 1, -1, 1, -1}
	require.Equal(t, []bool{true, true, true}, ok(row, []float64{1.05, -1, 1, -1.05, 1, -1}))
	require.Equal(t, []bool{false, true, true}, ok(row, []float64{1.09, -1, 1, -1, 1, -1}), "one is far off")
	require.Equal(t, []bool{true, false, true}, ok(row, []float64{1.05, -1.05, 1.05, -1.05, 1.05, -1.05}),
		"all are a little off")
	require.Equal(t, []bool{true, true, false},
		ok([]float64{0.1, 0, 0, 0, 0, 0}, []float64{0.1, 0.02, 0, 0, 0, 0}), "another direction")
}
