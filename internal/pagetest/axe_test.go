//go:build !race

package pagetest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// finding is a rule of axe that a page breaks.
type finding struct {
	ID, Help string
	Nodes    []struct{ HTML, FailureSummary string }
}

// axe looks for obstacles for people who cannot see the page, or not well. One experimental rule is off: it
// wants all that a bar shows, without a blank, in what is spoken of it. What is spoken has the same numbers,
// in a sentence.
func (p *tab) axe(script string) {
	p.t.Helper()
	p.run(chromedp.Evaluate(script+";true", nil))
	found := eval[[]finding](p, `axe.run({ resultTypes: ["violations"],
		rules: { "label-content-name-mismatch": { enabled: false } } }).then(r => r.violations.map(v =>
		({ ID: v.id, Help: v.help, Nodes: v.nodes.map(n =>
			({ HTML: n.html, FailureSummary: n.failureSummary })) })))`)
	var all strings.Builder
	for _, f := range found {
		fmt.Fprintf(&all, "%s: %s\n", f.ID, f.Help)
		for _, n := range f.Nodes[:min(3, len(f.Nodes))] {
			fmt.Fprintf(&all, "\t%.300s\n\t%s\n", n.HTML, n.FailureSummary)
		}
	}
	require.Empty(p.t, all.String())
}

// In every view, light and dark, wide and narrow, axe finds nothing, and the page does not scroll sideways.
func TestAccessibility(t *testing.T) {
	script, err := os.ReadFile("../../web/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Skip("axe-core is missing: run npm ci in web/")
	}
	s := start(t, setup{})
	for _, view := range views {
		for _, dark := range []bool{false, true} {
			for _, width := range []int64{1280, 390} {
				t.Run(fmt.Sprintf("%s %d dark=%v", view, width, dark), func(t *testing.T) {
					s.t = t
					p := s.open(fragment("view", asJSON(t, view), "branch", "[303,288]"),
						look{width: width, height: 800 + 44*(1280-width)/890, dark: dark})
					p.loads(view)
					eval[int](p, `[...document.querySelectorAll("#view summary")].map(s => s.click()).length`)
					p.until(`[...document.querySelectorAll("#view details.numbers")].every(d =>
						d.querySelector("tr, li"))`)
					require.LessOrEqual(t, eval[int](p, "document.documentElement.scrollWidth"), int(width))
					p.axe(string(script))
				})
			}
		}
	}
	t.Run("key", func(t *testing.T) {
		p := start(t, setup{key: "secret"}).open("", look{})
		p.until(`document.querySelector("#key")`)
		p.axe(string(script))
		p.clean("401")
	})
	t.Run("loading", func(t *testing.T) {
		p := start(t, setup{loading: true}).open("", look{})
		p.until(`document.querySelector("#loading")`)
		p.axe(string(script))
		p.clean("503")
	})
}
