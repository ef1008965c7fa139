package picture

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPanels(t *testing.T) {
	for _, n := range []int{2, 3, 64, 4096} {
		slow, fast := make([]float64, n), make([]float64, n)
		for i := range n {
			slow[i], fast[i] = 10+float64(i), 0.25
		}
		panel := Panel{Title: "ms a token", X: "tokens in the sequence", From: 130, Lines: []Line{{"no <cache>", slow}, {"KV cache", fast}}}
		svg, err := Panels([]Panel{panel, panel})
		require.NoError(t, err)
		_, text := elements(t, string(svg))
		require.Equal(t, 2, strings.Count(text, "ms a token"))
		require.Equal(t, 2, strings.Count(text, "no <cache>"))
		require.Contains(t, text, "130")

		lines := strings.Split(panel.Text(), "\n")
		require.Equal(t, "ms a token", lines[0])
		require.Equal(t, "  ─ no <cache>", lines[1])
		require.Equal(t, "  • KV cache", lines[2])
		require.Contains(t, panel.Text(), strings.Repeat("•", 60))
		require.NotContains(t, panel.Text(), "\x1b", "no colours")
		for _, line := range lines {
			require.LessOrEqual(t, columns(line), 80)
		}
	}
}
