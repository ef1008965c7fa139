package picture

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/show"
)

func TestChart(t *testing.T) {
	for _, n := range []int{2, 3, 64, 4096, 100_000} {
		slow, fast := make([]float64, n), make([]float64, n)
		for i := range n {
			slow[i], fast[i] = 10+float64(i), 0.25
		}
		slow[n/2] = 3 * float64(n) // must be seen, however many points there are
		panel := Panel{
			Title: "time for a token", Unit: "ms", X: "tokens in the sequence", From: 130,
			Lines: []Line{{"no <cache>: 3.82 ms at the end", slow}, {"KV cache: 0.32 ms at the end", fast}},
		}
		chart := Chart{
			Title: "phi3-demo with and without its KV cache",
			Note:  strings.Repeat("a long processor's name ", 20), Panels: []Panel{panel, panel},
		}
		svg := chart.SVG()
		require.Less(t, len(svg), 1<<17)
		found := elements(t, svg)
		checkLayout(t, found)
		text := said(found)
		require.Equal(t, 2, strings.Count(text, "time for a token, ms"))
		require.Equal(t, 2, strings.Count(text, "no <cache>"))
		require.Equal(t, 2, strings.Count(text, "tokens in the sequence"))
		lines, highest := 0, math.Inf(1)
		for _, e := range found {
			if class := e.attributes["class"]; e.name == "path" && strings.HasPrefix(class, "line ") &&
				strings.Contains(e.attributes["d"], "L") {
				lines++
				for _, point := range strings.FieldsFunc(e.attributes["d"],
					func(r rune) bool { return r == 'M' || r == 'L' }) {
					_, y, _ := strings.Cut(point, " ")
					p := element{attributes: map[string]string{"y": y}}
					highest = min(highest, p.number(t, "y"))
				}
			}
		}
		require.Equal(t, 4, lines)
		top := textBoxes(t, found)
		names := 0.0
		for _, b := range top {
			if strings.Contains(b.what, "end") && strings.Contains(b.what, "cache") {
				names = max(names, b.bottom)
			}
		}
		require.Greater(t, highest, names, "no line reaches the names")

		rows := strings.Split(panel.Text(), "\n")
		require.Equal(t, "time for a token, ms", rows[0])
		require.Equal(t, "  ─ no <cache>: 3.82 ms at the end", rows[1])
		require.Equal(t, "  • KV cache: 0.32 ms at the end", rows[2])
		require.Contains(t, panel.Text(), strings.Repeat("•", 60))
		require.NotContains(t, panel.Text(), "\x1b", "no colours")
		for _, line := range rows {
			require.LessOrEqual(t, show.Width(line), 80)
		}
	}
}

func TestRoundStep(t *testing.T) {
	for _, c := range []struct{ most, want float64 }{
		{3.85, 1}, {0.529, 0.1}, {255, 50}, {1, 0.2}, {6, 1}, {7, 2}, {0.0003, 0.00005}, {1e6, 200000}, {
			0,
			1,
		}, {30, 5}, {31, 10},
	} {
		require.InDelta(t, c.want, roundStep(c.most, 6), c.want*1e-9, c.most)
	}
	require.Equal(t, "0.30", number(0.3, 0.05))
	require.Equal(t, "0.3", number(0.30000000000000004, 0.1))
	require.Equal(t, "200", number(200, 50))
}
