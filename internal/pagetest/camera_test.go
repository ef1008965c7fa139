//go:build !race

package pagetest

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"time"

	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// camera films a tab. Chromium draws no pointer, so the camera does. Lengths are CSS pixels.
type camera struct {
	*tab
	film    film
	settled string // an expression of JavaScript: the page shows what the last event led to
	x, y    float64
	down    bool // the button of the mouse
}

// still waits until the page has drawn what it has to draw.
func (p *tab) still() {
	p.t.Helper()
	eval[bool](p, "document.fonts.ready.then(() => new Promise(done => "+
		"requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))")
}

// shot is what the tab shows.
func (p *tab) shot() *image.RGBA {
	p.t.Helper()
	p.still()
	var data []byte
	p.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		data, err = cdppage.CaptureScreenshot().WithOptimizeForSpeed(true).Do(ctx)
		return err
	}))
	decoded, err := png.Decode(bytes.NewReader(data))
	require.NoError(p.t, err)
	picture := image.NewRGBA(decoded.Bounds())
	draw.Draw(picture, picture.Rect, decoded, image.Point{}, draw.Src)
	return picture
}

// wait films what the page shows once it has settled, for a time.
func (c *camera) wait(stay time.Duration) {
	c.t.Helper()
	c.still() // the page has taken the event
	c.until(c.settled)
	picture := c.shot()
	drawPointer(picture, c.x, c.y, c.down)
	c.film.add(picture, stay)
}

// mouse sends the page an event of the mouse where the pointer is.
func (c *camera) mouse(kind input.MouseType) {
	c.t.Helper()
	event := input.DispatchMouseEvent(kind, c.x, c.y)
	if kind != input.MouseMoved {
		event = event.WithButton(input.Left).WithClickCount(1)
	}
	if c.down {
		event = event.WithButtons(1)
	}
	c.run(event)
}

// glide moves the pointer to a point in a number of frames.
func (c *camera) glide(x, y float64, frames int) {
	c.t.Helper()
	fromX, fromY := c.x, c.y
	for i := 1; i <= frames; i++ {
		way := (1 - math.Cos(math.Pi*float64(i)/float64(frames))) / 2
		c.x, c.y = math.Round(fromX+way*(x-fromX)), math.Round(fromY+way*(y-fromY))
		c.mouse(input.MouseMoved)
		c.wait(50 * time.Millisecond)
	}
}

// to moves the pointer to a place in the first element that matches a selector. across is 0 at its left end,
// 1 at its right end.
func (c *camera) to(selector string, across float64) {
	c.t.Helper()
	at := eval[[]float64](c.tab, `(r => [r.x + r.width * %s, r.y + r.height / 2])(
		document.querySelector(%s).getBoundingClientRect())`, across, selector)
	c.glide(at[0], at[1], 4+int(math.Hypot(at[0]-c.x, at[1]-c.y)/70))
}

// press presses the button of the mouse, or releases it.
func (c *camera) press(down bool) {
	c.t.Helper()
	kind := input.MouseReleased
	if down {
		kind = input.MousePressed
	}
	c.down = down
	c.mouse(kind)
	c.rest()
	c.wait(100 * time.Millisecond)
}

// click clicks where the pointer is.
func (c *camera) click() {
	c.t.Helper()
	c.press(true)
	c.press(false)
}

// rest takes the focus away. Chromium frames what a program has clicked, but not what a person has clicked.
func (p *tab) rest() {
	p.t.Helper()
	eval[bool](p, "(document.activeElement.blur(), true)")
}

// arrow is the outline of the pointer, from its tip.
var arrow = [][2]float64{{0, 0}, {0, 18.5}, {4.3, 14.6}, {7.2, 21}, {10.2, 19.6}, {7.4, 13.4}, {13, 13}}

// drawPointer draws the pointer, black with a white edge, and a ring around it while its button is down.
func drawPointer(picture *image.RGBA, x, y float64, down bool) {
	const reach, samples = 24, 4
	accent := color.RGBA{0xe0, 0x58, 0x1a, 0xff}
	for py := int(y) - reach; py <= int(y)+reach; py++ {
		for px := int(x) - reach; px <= int(x)+reach; px++ {
			if !image.Pt(px, py).In(picture.Rect) {
				continue
			}
			var inside, edge, ring float64 // shares of the pixel
			for i := range samples * samples {
				sx := float64(px) + (float64(i%samples)+0.5)/samples - x
				sy := float64(py) + (float64(i/samples)+0.5)/samples - y
				within, distance := place(sx, sy)
				switch {
				case within:
					inside++
				case distance < 1.4:
					edge++
				case down && math.Abs(math.Hypot(sx, sy)-15) < 2:
					ring++
				}
			}
			const all = samples * samples
			c := picture.RGBAAt(px, py)
			c = mix(c, accent, ring/all)
			c = mix(c, color.RGBA{255, 255, 255, 255}, (edge+inside)/all)
			picture.SetRGBA(px, py, mix(c, color.RGBA{0, 0, 0, 255}, inside/all))
		}
	}
}

// place says whether a point is in the arrow, and how far it is from the outline.
func place(x, y float64) (within bool, distance float64) {
	distance = math.Inf(1)
	for i, a := range arrow {
		b := arrow[(i+1)%len(arrow)]
		dx, dy := b[0]-a[0], b[1]-a[1]
		if (a[1] > y) != (b[1] > y) && x < a[0]+dx*(y-a[1])/dy {
			within = !within
		}
		along := min(max(((x-a[0])*dx+(y-a[1])*dy)/(dx*dx+dy*dy), 0), 1)
		distance = min(distance, math.Hypot(x-a[0]-along*dx, y-a[1]-along*dy))
	}
	return within, distance
}

// mix is a color with a share of another one over it.
func mix(below, above color.RGBA, share float64) color.RGBA {
	channel := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*(1-share) + float64(b)*share)) }
	return color.RGBA{channel(below.R, above.R), channel(below.G, above.G), channel(below.B, above.B), 255}
}
