//go:build !race

package pagetest

import (
	"slices"
	"strings"
	"testing"
)

// BenchmarkPage measures the built-in model's page: from a key to the drawn tokens, and from a key to the
// drawn view, which begins to compute 120 ms after the last key.
func BenchmarkPage(b *testing.B) {
	for _, view := range views[:4] {
		b.Run(view, func(b *testing.B) {
			s := start(b, setup{})
			p := s.view(view, "The capital of Germany is", false)
			p.loads(view)
			drawn := map[string]string{
				"tokens": `document.querySelectorAll("#tokens-text [role=option]").length == n`,
				"layers": `document.querySelectorAll(".lens-grid[data-done=true] .lens-token").length == n`,
				"attention": `!document.querySelector(".attention .stale") &&
					document.querySelector("#matrix")?.dataset.query == n - 1`, // the row of the last token
				"next": `document.querySelector("#next-view").dataset.current == "true" &&
					document.querySelector("#count").dataset.used == n`,
			}[view]
			var counts, whole []float64
			for i := 0; b.Loop(); i++ {
				prompt := "The capital of Germany is" + strings.Repeat(" the", 1+i%2)
				took := eval[[]float64](p, `new Promise(done => {
					const field = document.querySelector("#prompt"), n = %s;
					const begin = performance.now();
					let counted = 0;
					field.value = %s;
					field.dispatchEvent(new Event("input", { bubbles: true }));
					const look = () => {
						const now = performance.now() - begin;
						if (!counted && document.querySelector("#count").dataset.used == n) counted = now;
						if (counted && `+drawn+`) done([counted, now]);
						else requestAnimationFrame(look);
					};
					requestAnimationFrame(look);
				})`, len(s.ids(prompt, false)), prompt)
				counts, whole = append(counts, took[0]), append(whole, took[1])
			}
			slices.Sort(counts)
			slices.Sort(whole)
			b.ReportMetric(counts[len(counts)/2], "tokens-ms")
			b.ReportMetric(whole[len(whole)/2], "view-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
