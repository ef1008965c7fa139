package explore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRows(t *testing.T) {
	var r rows
	row := func(i int) ([]int32, []float32) { return []int32{1, int32(i)}, []float32{float32(i)} }
	for i := range maxRows {
		r.put(row(i))
	}
	first, _ := row(0)
	require.Equal(t, []float32{0}, r.get(first), "the oldest is used again")
	r.put(row(maxRows))
	require.Len(t, r.last, maxRows)
	require.Equal(t, []float32{0}, r.get(first))
	second, _ := row(1)
	require.Nil(t, r.get(second), "the one that was not used for the longest time makes room")
	require.Nil(t, r.get([]int32{1}))

	// Of two results for one text, the first stays.
	r.put(first, []float32{7})
	require.Equal(t, []float32{0}, r.get(first))
	require.Len(t, r.last, maxRows)

	// All rows together have a bound.
	third, _ := row(maxRows)
	large := make([]float32, maxRowBytes/4-5)
	r.put(second, large)
	require.NotNil(t, r.get(second))
	require.NotNil(t, r.get(first))
	require.Nil(t, r.get(third))
	r.put(third, make([]float32, maxRowBytes))
	require.Empty(t, r.last)
}
