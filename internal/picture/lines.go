package picture

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/guptarohit/asciigraph"

	"phi3/internal/show"
)

// Chart is panels side by side under a title.
type Chart struct {
	Title  string
	Note   string // under it, smaller
	Panels []Panel
}

// Line is values over consecutive whole numbers.
type Line struct {
	Name   string
	Values []float64
}

// Panel is a coordinate system with lines of equal length, two points or more. Both axes are linear, and y
// begins at 0, so lengths are proportional to the numbers.
type Panel struct {
	Title string // what y is
	Unit  string // of y
	X     string // what x is
	From  int    // x of the first values
	Lines []Line // at most three
}

// SVG draws the chart.
func (c *Chart) SVG() string {
	const width, height, gap = 520.0, 300.0, 24.0
	page := 2*margin + width*float64(len(c.Panels)) + gap*float64(len(c.Panels)-1)
	d := &drawing{}
	d.text(margin, margin+12, "bold", fit(show.Line(c.Title), page-2*margin, boldColumn))
	d.text(margin, margin+34, "dim", fit(show.Line(c.Note), page-2*margin, dimColumn))
	bottom := 0.0
	for i := range c.Panels {
		bottom = max(bottom, d.panel(&c.Panels[i], margin+float64(i)*(width+gap), margin+64, width, height))
	}
	return d.svg(page, bottom+margin, show.Line(c.Title))
}

// panel draws the title, the names of the lines under it, and the lines under these. It returns the lower
// edge.
func (d *drawing) panel(p *Panel, x, y, width, height float64) float64 {
	const numbers = 46.0 // room for the numbers of the y axis
	d.text(x, y, "bold", fit(p.Title+", "+p.Unit, width, boldColumn))
	for i, l := range p.Lines {
		y += 20
		d.add(`<path class="line line%d" d="M%.1f %.1fh24"/>`, i, x, y-4)
		d.text(x+32, y, "", fit(l.Name, width-32, dimColumn))
	}
	left, right, top := x+numbers, x+width-12, y+20
	bottom := top + height
	highest, n := 0.0, len(p.Lines[0].Values)
	for _, l := range p.Lines {
		for _, v := range l.Values {
			highest = max(highest, v)
		}
	}
	step := roundStep(highest, 6)
	scale := step * math.Ceil(highest/step)
	atY := func(v float64) float64 { return bottom - height*v/scale }
	atX := func(v float64) float64 { return left + (right-left)*(v-float64(p.From))/float64(n-1) }
	for i := 0; float64(i)*step <= scale*1.0001; i++ {
		v := float64(i) * step
		d.add(`<path class="grid" d="M%.1f %.1fH%.1f"/>`, left, atY(v), right)
		d.text(left-8, atY(v)+4, "dim end", number(v, step))
	}
	d.add(`<path class="axis" d="M%.1f %.1fH%.1f"/>`, left, bottom, right)
	stepX := max(1, roundStep(float64(n-1), 6))
	for v := stepX * math.Ceil(float64(p.From)/stepX); v <= float64(p.From+n-1); v += stepX {
		d.add(`<path class="axis" d="M%.1f %.1fv5"/>`, atX(v), bottom)
		d.text(atX(v), bottom+20, "dim middle", number(v, stepX))
	}
	d.text((left+right)/2, bottom+42, "dim middle", p.X)
	for i, l := range p.Lines {
		d.add(`<path class="line line%d" d="%s"/>`, i,
			polyline(l.Values, func(i int) float64 { return atX(float64(p.From + i)) }, atY))
	}
	return bottom + 46
}

// polyline is the d attribute of a path through the values. If there are many values, each stretch of the
// path goes through the lowest and the highest of several.
func polyline(values []float64, atX func(int) float64, atY func(float64) float64) string {
	const stretches = 450
	var b strings.Builder
	point := func(i int) {
		command := "L"
		if b.Len() == 0 {
			command = "M"
		}
		_, _ = fmt.Fprintf(&b, "%s%.1f %.1f", command, atX(i), atY(values[i]))
	}
	size := (len(values) + stretches - 1) / stretches
	for from := 0; from < len(values); from += size {
		low, high := from, from
		for i := from; i < min(from+size, len(values)); i++ {
			if values[i] < values[low] {
				low = i
			}
			if values[i] > values[high] {
				high = i
			}
		}
		point(min(low, high))
		if low != high {
			point(max(low, high))
		}
	}
	return b.String()
}

// roundStep returns the smallest step with which steps steps reach most: 1, 2 or 5 times a power of ten.
func roundStep(most float64, steps int) float64 {
	if most <= 0 {
		return 1
	}
	least := most / float64(steps)
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// number writes a multiple of a step with as many decimal places as the step has.
func number(v, step float64) string {
	return strconv.FormatFloat(v, 'f', max(0, -int(math.Floor(math.Log10(step)+1e-9))), 64)
}

// Text draws a panel with characters, about 80 columns wide, for a terminal. Lines differ in their
// characters, not in colour.
func (p *Panel) Text() string {
	kinds := []string{"━", "•", "-"}
	options := []asciigraph.Option{
		asciigraph.Width(64), asciigraph.Height(12), asciigraph.LowerBound(0),
		asciigraph.XAxisRange(float64(p.From),
			float64(p.From+max(1, len(p.Lines[0].Values)-1))), asciigraph.XAxisTickCount(5),
		asciigraph.XAxisValueFormatter(func(x float64) string { return fmt.Sprintf("%.0f", x) }),
	}
	var sets []asciigraph.CharSet
	var values [][]float64
	text := p.Title + ", " + p.Unit + "\n"
	for i, l := range p.Lines {
		set := asciigraph.DefaultCharSet
		if i > 0 {
			set = asciigraph.CreateCharSet(kinds[i])
		} else {
			kinds[0] = set.Horizontal
		}
		sets = append(sets, set)
		values = append(values, l.Values)
		text += fmt.Sprintf("  %s %s\n", kinds[i], l.Name)
	}
	return text + asciigraph.PlotMany(values, append(options, asciigraph.SeriesChars(sets...))...) + "\n" +
		fmt.Sprintf("%44s\n", p.X)
}
