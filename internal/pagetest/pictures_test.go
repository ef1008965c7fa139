//go:build !race

package pagetest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// mostPicture is the most bytes of a picture in the repository.
const mostPicture = 60_000

// TestPictures takes the pictures of docs/explore.md into the folder $PHI3_PICTURES (make page-pictures).
func TestPictures(t *testing.T) {
	folder := os.Getenv("PHI3_PICTURES")
	if folder == "" {
		t.Skip("only for make page-pictures")
	}
	require.NoError(t, os.MkdirAll(folder, 0o755))
	s := start(t, setup{})
	for _, view := range views {
		s.picture(folder, view, view, look{})
	}
	s.picture(folder, "dark", "layers", look{dark: true})
	s.picture(folder, "phone", "attention", look{width: 390, height: 844})
}

// picture takes the picture of a view.
func (s *site) picture(folder, name, view string, o look) {
	s.t.Helper()
	const prompt = `"The capital of France is Paris. The capital of Germany is"`
	state := []string{"view", asJSON(s.t, view), "prompt", prompt}
	if view == "next" {
		state = append(state, "sampling", `{"temperature":1.3,"top_k":8,"top_p":1,"min_p":0,`+
			`"repetition_penalty":1,"frequency_penalty":0,"presence_penalty":0}`)
	}
	p := s.open(fragment(state...), o)
	p.loads(view)
	eval[bool](p, "(document.activeElement.blur(), scrollTo(0, 0), true)")
	p.pause()
	var data []byte
	p.run(chromedp.CaptureScreenshot(&data))
	small := reduce(s.t, data)
	require.LessOrEqual(s.t, len(small), mostPicture, name)
	require.NoError(s.t, os.WriteFile(filepath.Join(folder, name+".png"), small, 0o644))
}

// reduce draws a picture with its 256 most frequent colours, which makes it a third as large.
func reduce(t testing.TB, data []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	count := map[color.RGBA]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range colors[:min(256, len(colors))] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(full.Bounds(), palette)
	draw.Draw(small, full.Bounds(), full, image.Point{}, draw.Src)
	var b bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small))
	return b.Bytes()
}

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
