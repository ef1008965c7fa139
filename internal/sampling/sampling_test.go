package sampling

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGreedy(t *testing.T) {
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{3}, 0},
		{[]float32{-3, -1, -2}, 1},
		{[]float32{1, 5, 2, 5}, 1}, // a tie: the lowest id
		{[]float32{float32(math.Inf(-1)), -9}, 1},
	} {
		require.Equal(t, c.want, Greedy{}.Sample(c.logits), "%v", c.logits)
	}
}
