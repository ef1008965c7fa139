package weight

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTotals(t *testing.T) {
	tensors := []*Tensor{
		{Format: F32, Shape: []int{64}},
		{Format: Q4_K, Shape: []int{2, 256}},
		{Format: Q6_K, Shape: []int{1, 256}},
		{Format: Q4_K, Shape: []int{1, 256}},
	}
	require.Equal(t, []Total{
		{Q4_K, 2, 768, 3 * 144}, {Q6_K, 1, 256, 210}, {F32, 1, 64, 256},
	}, Totals(tensors))
	sum := Sum(tensors)
	require.Equal(t, Total{Q4_K, 4, 1088, 898}, sum)
	require.Equal(t, "Q4_K, 6.6 bits a weight", sum.String())
	require.Equal(t, "F32", Sum(tensors[:1]).String())
	require.Zero(t, Sum(nil).BitsPerWeight())
}
