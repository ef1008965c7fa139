//go:build !race

package pagetest

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestPictures makes the pictures of the documentation in the folder $PHI3_PICTURES: make page-pictures.
func TestPictures(t *testing.T) {
	folder := os.Getenv("PHI3_PICTURES")
	if folder == "" {
		t.Skip("make page-pictures makes the pictures in docs/explore")
	}
	require.NoError(t, os.MkdirAll(folder, 0o755))
	t.Run("views", func(t *testing.T) { takeViews(t, folder) })
	t.Run("layers", func(t *testing.T) { filmLayers(t, filepath.Join(folder, "layers.gif")) })
	t.Run("next", func(t *testing.T) { filmNext(t, filepath.Join(folder, "next.gif")) })
}

// The most bytes of a file.
const (
	mostPNG = 70_000
	mostGIF = 500_000
)

func save(t testing.TB, path string, data []byte, most int) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, 0o644))
	t.Logf("%s: %d bytes", path, len(data))
	require.LessOrEqual(t, len(data), most)
}

// savePNG writes a part of a picture, with a palette.
func savePNG(t *testing.T, path string, picture *image.RGBA, part image.Rectangle) {
	t.Helper()
	part = part.Intersect(picture.Rect)
	inks := newInks(256)
	each := func(do func(x, y int)) {
		for y := part.Min.Y; y < part.Max.Y; y++ {
			for x := part.Min.X; x < part.Max.X; x++ {
				do(x, y)
			}
		}
	}
	each(func(x, y int) { inks.counts[picture.RGBAAt(x, y)]++ })
	few := image.NewPaletted(part.Sub(part.Min), inks.choose())
	each(func(x, y int) {
		few.SetColorIndex(x-part.Min.X, y-part.Min.Y, uint8(inks.nearest(picture.RGBAAt(x, y))))
	})
	var file bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, few))
	save(t, path, file.Bytes(), mostPNG)
}

// part is the part of the page from the top of one element to the bottom of another one, in its whole width.
func (p *tab) part(first, last string) image.Rectangle {
	p.t.Helper()
	y := eval[[]int](p, `[document.querySelector(%s).getBoundingClientRect().top,
		document.querySelector(%s).getBoundingClientRect().bottom].map(Math.round)`, first, last)
	return image.Rect(0, y[0]-12, 1<<15, y[1]+12)
}

const (
	twice  = "The capital of France is Paris. The capital of Germany is"
	letter = "Write an email apologizing to Sarah for the tragic gardening mishap. Explain how it happened."
	hot    = `{"temperature":1.8,"top_k":0,"top_p":0.7,"min_p":0,` +
		`"repetition_penalty":1,"frequency_penalty":0,"presence_penalty":0}`
)

// takeViews makes the pictures of the five views.
func takeViews(t *testing.T, folder string) {
	s := start(t, setup{})
	open := func(view string, dark bool, state ...string) *tab {
		state = append([]string{"view", strconv.Quote(view)}, state...)
		return s.open(fragment(state...), look{width: 1280, height: 1600, dark: dark})
	}
	keep := func(p *tab, name, first, last string) {
		t.Helper()
		picture := p.shot()
		savePNG(t, filepath.Join(folder, name+".png"), picture, p.part(first, last))
	}

	p := open("tokens", false, "chat", "true", "prompt", `"Who wrote Hamlet?"`)
	p.used(len(s.ids("Who wrote Hamlet?", true)))
	p.hover("#tokens-text [data-position='4']")
	keep(p, "tokens", ".tabs", "#token-details")

	for name, dark := range map[string]bool{"layers": false, "layers-dark": true} {
		p = open("layers", dark)
		p.until(`document.querySelector(".lens-grid[data-done=true]") &&
			document.querySelector(".lens-bars")`)
		keep(p, name, "header", ".lens-panel")
	}

	p = open("attention", false, "prompt", asJSON(t, twice), "attention.layer", "2")
	p.until(`document.querySelector("#matrix")`)
	keep(p, "attention", ".tabs", ".measures")

	phone := s.open(fragment("view", `"attention"`, "prompt", asJSON(t, twice), "attention.layer", "2"),
		look{width: 390, height: 844})
	phone.until(`document.querySelector("#matrix")`)
	picture := phone.shot()
	savePNG(t, filepath.Join(folder, "attention-phone.png"), picture, picture.Rect)

	p = open("next", false, "prompt", `"The capital of South"`, "rows", "10", "sampling", hot)
	click := func(selector string) {
		p.nextBars()
		p.click(selector)
		p.still()
	}
	take := func(row string, tokens int) {
		click("#next-bars .bar:nth-of-type(" + row + ") .hit")
		for range tokens {
			click("#take-best")
		}
		click("#next-tree .node")
	}
	take("2", 2) // Sudan is Juba
	take("3", 5) // Korea is Seoul
	p.nextBars()
	p.rest()
	p.hover("header")
	keep(p, "next", ".tabs", ".tree-box")

	p = open("cache", false, "chat", "true", "prompt", asJSON(t, letter), "cache.count", "64")
	for range 2 { // the first run is slower
		p.until(`document.querySelector(".controls .action:not(:disabled)")`)
		p.click(".controls .action")
		p.until(`document.querySelector(".controls .action").disabled`)
		p.until(`document.querySelector("#verdict")?.dataset.verdict == "good"`)
	}
	keep(p, "cache", ".tabs", ".below")
}

// film opens the page for a recording.
func (s *site) film(height int64, settled string, parts ...string) *camera {
	s.t.Helper()
	p := s.open(fragment(parts...), look{width: 1152, height: height})
	p.until(`document.querySelector("#prompt")`)
	eval[bool](p, `(document.querySelector("#prompt").style.caretColor = "transparent", true)`) // it blinks
	return &camera{tab: p, settled: settled, x: 600, y: 300}
}

func (c *camera) save(path string) {
	c.t.Helper()
	var file bytes.Buffer
	require.NoError(c.t, c.film.write(&file))
	total := time.Duration(0)
	for _, stay := range c.film.stays {
		total += stay
	}
	c.t.Logf("%d frames, %v", len(c.film.frames), total)
	save(c.t, path, file.Bytes(), mostGIF)
}

// filmLayers: a prompt is typed, the grid fills, and the pointer follows the answer down the layers.
func filmLayers(t *testing.T, path string) {
	s := start(t, setup{})
	c := s.film(936, "true", "view", `"layers"`, "prompt", `""`)
	c.run(chromedp.Focus("#prompt", chromedp.ByQuery))
	c.wait(time.Second)
	typed := ""
	for _, word := range []string{"The", " capital", " of", " Germany", " is"} {
		release := s.hold(paths["layers"]) // the view waits for a pause in typing
		for _, letter := range word {
			typed += string(letter)
			c.run(chromedp.KeyEvent(string(letter)))
			c.used(len(s.ids(typed, false)))
			c.wait(60 * time.Millisecond)
		}
		release()
		c.until(`document.querySelector(".lens-grid[data-done=true]")?.dataset.ids == %s &&
			!document.querySelector(".lens-stale")`, join(s.ids(typed, false)))
		c.wait(450 * time.Millisecond)
	}
	last := len(s.ids(typed, false)) - 1
	for layer := range s.model.Config.Layers + 1 {
		c.to(fmt.Sprintf(`.lens-cell[data-layer="%d"][data-position="%d"]`, layer, last), 0.8)
		c.wait(900 * time.Millisecond)
	}
	c.wait(1500 * time.Millisecond)
	c.save(path)
}

// filmNext: settings change the distribution and remove tokens; two tokens are taken, and the text becomes
// a tree.
func filmNext(t *testing.T, path string) {
	s := start(t, setup{})
	c := s.film(900, `document.querySelector("#next-view[data-current=true] #next-bars .bar")`,
		"view", `"next"`, "prompt", `"The capital of South"`, "rows", "10")
	c.until(c.settled)
	eval[bool](c.tab, `(scrollTo(0, document.querySelector(".tabs").offsetTop - 8), true)`)
	c.wait(1200 * time.Millisecond)

	drag := func(slider string, from, to float64) {
		c.to(slider, from)
		c.press(true)
		c.to(slider, from+(to-from)/2)
		c.to(slider, to)
		c.press(false)
		c.wait(900 * time.Millisecond)
	}
	drag("#temperature", 0.5, 0.8)
	drag("#top_p", 0.94, 0.5)
	take := func(row string, tokens int) {
		c.to("#next-bars .bar:nth-of-type("+row+") .token", 0.5)
		c.click()
		c.wait(500 * time.Millisecond)
		c.to("#take-best", 0.5)
		for range tokens {
			c.click()
			c.wait(200 * time.Millisecond)
		}
		c.wait(400 * time.Millisecond)
	}
	take("2", 2) // Sudan is Juba
	c.to("#next-tree .node", 0.5)
	c.click()
	c.wait(500 * time.Millisecond)
	take("3", 5) // Korea is Seoul
	c.wait(3 * time.Second)
	c.save(path)
}
