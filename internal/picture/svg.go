package picture

import (
	"encoding/xml"
	"fmt"
	"strings"

	"phi3/internal/show"
)

// drawing collects the elements of an SVG. Lengths are in pixels, y grows downwards.
type drawing struct{ strings.Builder }

// add appends an element. Texts in it must be escaped ([escape]).
func (d *drawing) add(format string, args ...any) {
	_, _ = fmt.Fprintf(d, "  "+format+"\n", args...)
}

// text writes s at (x, y) in one of the classes of style.
func (d *drawing) text(x, y float64, class, s string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, escape(s))
}

// rect draws a rectangle. tip, if not empty, appears when the mouse is over it.
func (d *drawing) rect(class string, x, y, width, height float64, tip string) {
	if tip == "" {
		d.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class, x, y, width, height)
		return
	}
	d.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`, class, x,
		y, width, height, escape(tip))
}

// svg returns the finished picture.
func (d *drawing) svg(width, height float64, title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" `+
		`width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f">
  <title>%s</title>
  <style>%s</style>
  <rect class="page" width="%.0f" height="%.0f"/>
%s</svg>
`, width, height, width, height, escape(title), style, width, height, d.String())
}

// style holds the classes that all pictures share: mono for tokens, dim for explanations, end and middle for
// alignment. A picture is dark if the program that shows it says that the reader prefers dark pages.
//
//nolint:lll // a style sheet has one line for each purpose
const style = `
    text { fill: #1f2328; font-family: DejaVu Sans, Verdana, sans-serif; font-size: 12px }
    .mono { font-family: DejaVu Sans Mono, Menlo, Consolas, monospace; font-size: 13px } .small { font-size: 11px } .bold { font-weight: bold; font-size: 14px }
    .dim { fill: #57606a } .end { text-anchor: end } .middle { text-anchor: middle } .light { fill: #ffffff }
    .page { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d0d7de } .rest { fill: #f6f8fa } .cell { fill: #0969da; stroke: #d0d7de; stroke-width: 0.5 }
    .answer { fill: #0969da } .other { fill: #d0d7de } .bar { stroke: #ffffff }
    .grid { stroke: #d8dee4 } .axis { stroke: #57606a } .line { fill: none; stroke-width: 2; stroke-linejoin: round }
    .line0 { stroke: #bc4c00 } .line1 { stroke: #0969da } .line2 { stroke: #1a7f37 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .dim { fill: #9198a1 }
      .page { fill: #0d1117 } .box { fill: #151b23; stroke: #3d444d } .rest { fill: #151b23 } .cell { fill: #4493f8; stroke: #3d444d }
      .answer { fill: #1f6feb } .other { fill: #3d444d } .bar { stroke: #0d1117 } .grid { stroke: #2d333b } .axis { stroke: #9198a1 }
      .line0 { stroke: #db6d28 } .line1 { stroke: #4493f8 } .line2 { stroke: #3fb950 }
    }
  `

// The largest width of one column of text in the fonts of style, in pixels.
const (
	monoColumn  = 7.9 // of class mono
	smallColumn = 6.7 // of class small
	dimColumn   = 7.5
	boldColumn  = 9.8
)

// escape returns a text for XML: it escapes markup, replaces characters that XML cannot hold, and keeps every
// space.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return strings.ReplaceAll(b.String(), " ", "\u00a0")
}

// fit shortens a text to at most the given number of pixels.
func fit(s string, pixels, column float64) string {
	return show.Cut(s, max(1, int(pixels/column)))
}

// mono is the width of a text in class mono, in pixels.
func mono(s string) float64 { return monoColumn * float64(show.Width(s)) }

// ends returns a text as one line of at most columns columns, or the beginning and the end of a longer text
// as two lines. A space that a reader could miss becomes ␣.
func ends(text string, columns int) []string {
	if most := 16 * columns; len(text) > 2*most {
		text = show.Clip(text, most) + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	var b strings.Builder
	runes := []rune(show.Line(text))
	for i, r := range runes {
		if r == ' ' && (i == 0 || i == len(runes)-1 || runes[i-1] == ' ' || runes[i+1] == ' ') {
			r = '␣'
		}
		if r == '␉' {
			r = '⇥' // as in [show.Piece]
		}
		b.WriteRune(r)
	}
	line := b.String()
	if show.Width(line) <= columns {
		return []string{line}
	}
	last := []rune(line)
	last = last[max(0, len(last)-columns+1):] // a rune has at most two columns
	for show.Width(string(last)) > columns-1 {
		last = last[1:]
	}
	return []string{show.Cut(line, columns), "…" + string(last)}
}
