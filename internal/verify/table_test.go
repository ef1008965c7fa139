package verify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of verify fills a terminal and does not break its lines while there is any room.
func TestColumnWidths(t *testing.T) {
	wide := []int{7, 46, 4, 28, 28}
	require.Equal(t, wide, columnWidths(0), "no terminal")
	require.Equal(t, wide, columnWidths(200))
	for _, terminal := range []int{80, 100, 120, 150, 151, 152} {
		total := 28 + 5*2
		for _, width := range columnWidths(terminal) {
			total += width
		}
		require.LessOrEqual(t, total, terminal)
		require.GreaterOrEqual(t, total, min(terminal, 151)-1)
	}
	require.Equal(t, []int{7, 10, 4, 10, 10}, columnWidths(20))
}
