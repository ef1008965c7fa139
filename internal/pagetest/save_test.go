//go:build !race

package pagetest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// saved is a file that the page has offered for download.
type saved struct{ Name, Type, Text string }

// keepFiles makes the page keep the files that it would save, from the next load on.
func (p *tab) keepFiles() {
	p.t.Helper()
	p.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := cdppage.AddScriptToEvaluateOnNewDocument(`
			window.files = [];
			const blobs = new Map(), create = URL.createObjectURL;
			URL.createObjectURL = blob => {
				const url = create.call(URL, blob);
				blobs.set(url, blob);
				return url;
			};
			HTMLAnchorElement.prototype.click = function () {
				const name = this.download, blob = blobs.get(this.href);
				blob.text().then(text => window.files.push({ Name: name, Type: blob.type, Text: text }));
			};`).Do(ctx)
		return err
	}))
}

// save presses every button of the view that saves a file, and returns the files.
func (p *tab) save() []saved {
	p.t.Helper()
	const buttons = `[...document.querySelectorAll("#view button:not(:disabled)")]
		.filter(b => /SVG|JSON/.test(b.textContent))`
	n := eval[int](p, buttons+".map(b => b.click()).length")
	require.GreaterOrEqual(p.t, n, 2)
	p.until("window.files.length == %s", n)
	return eval[[]saved](p, "window.files")
}

// loads waits until a view shows its prompt.
func (p *tab) loads(view string) {
	p.t.Helper()
	p.until(map[string]string{
		"tokens":    `document.querySelector("#tokens-text [role=option]")`,
		"layers":    `document.querySelector(".lens-grid[data-done=true]") && document.querySelector(".lens-bars rect")`,
		"attention": `document.querySelector("#matrix canvas")`,
		"next":      `document.querySelector("#next-view[data-current=true] #next-bars .bar")`,
		"cache":     `document.querySelector(".controls .action:not(:disabled)")`,
	}[view])
	if view == "cache" {
		p.click(".controls .action")
		p.until(`document.querySelector("#totals")?.dataset.state == "done"`)
	}
}

// What a view saves is XML that draws by itself, and JSON.
func TestSave(t *testing.T) {
	s := start(t, setup{})
	for _, view := range views {
		p := s.view(view, "The capital of <b>&amp;</b> Germany is", false)
		p.keepFiles()
		p.visit(fragment("view", asJSON(t, view), "prompt", `"The capital of <b>&amp;</b> Germany is"`,
			"branch", "[303,288]"))
		p.loads(view)
		kinds := map[string]int{}
		for _, file := range p.save() {
			kinds[file.Type]++
			switch file.Type {
			case "image/svg+xml":
				require.True(t, strings.HasSuffix(file.Name, ".svg"), file.Name)
				checkSVG(t, file.Text)
			case "application/json":
				require.True(t, strings.HasSuffix(file.Name, ".json"), file.Name)
				var value map[string]any
				require.NoError(t, json.Unmarshal([]byte(file.Text), &value), file.Name)
				require.NotEmpty(t, value)
			default:
				require.Fail(t, "another type", file.Type)
			}
		}
		require.Positive(t, kinds["image/svg+xml"], view)
		require.Positive(t, kinds["application/json"], view)
	}
}

// checkSVG requires a picture with text and shapes, without anything that runs or loads.
func checkSVG(t *testing.T, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	count := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		require.Equal(t, "http://www.w3.org/2000/svg", element.Name.Space)
		count[element.Name.Local]++
		for _, a := range element.Attr {
			require.False(t, strings.HasPrefix(strings.ToLower(a.Name.Local), "on"), a)
			require.NotEqual(t, "class", a.Name.Local, "there is no style sheet")
			require.NotContains(t, a.Value, "var(--", "there is no style sheet")
			if a.Name.Local != "xmlns" && a.Name.Space != "xmlns" {
				require.NotContains(t, a.Value, "://", a)
			}
		}
	}
	require.Equal(t, 1, count["svg"])
	require.Positive(t, count["text"])
	require.Positive(t, count["rect"]+count["path"]+count["circle"]+count["line"]+count["image"])
	for _, active := range []string{"script", "foreignObject", "style", "a", "use", "animate", "set"} {
		require.Zero(t, count[active], active)
	}
}
