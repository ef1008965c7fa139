package picture

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode"
)

// drawing collects the elements of an SVG. Lengths are in pixels, y grows downwards.
type drawing struct{ strings.Builder }

// add appends an element. Texts must come through [escape].
func (d *drawing) add(format string, args ...any) {
	_, _ = fmt.Fprintf(d, "  "+format+"\n", args...)
}

// text writes s at (x, y) in one of the classes of style.
func (d *drawing) text(x, y float64, class, s string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, escape(s))
}

// svg is the finished picture.
func (d *drawing) svg(width, height float64, title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="DejaVu Sans, Verdana, sans-serif" font-size="14">
  <title>%s</title>
  <style>%s</style>
  <rect width="%.0f" height="%.0f" fill="#ffffff"/>
%s</svg>
`, width, height, width, height, escape(title), style, width, height, d.String())
}

// style holds the classes that pictures share: mono for what a tokenizer made, dim for what explains, end and middle for alignment.
const style = `
    text { fill: #1f2328 } .mono { font-family: DejaVu Sans Mono, Menlo, Consolas, monospace; font-size: 13px } .dim { fill: #57606a; font-size: 12px }
    .bold { font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle } .light { fill: #ffffff }
    .box { fill: #f6f8fa; stroke: #d0d7de } .answer { fill: #0969da } .other { fill: #d0d7de } .rest { fill: #f6f8fa } .line { stroke: #d0d7de; fill: none }
  `

// escape makes a text fit for XML: markup escaped, what XML cannot hold replaced, every space kept.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return strings.ReplaceAll(b.String(), " ", "\u00a0")
}

// columns is the width of a text in characters of a monospaced font: letters of East Asian scripts and emoji take two, marks that
// stand on another letter none.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func wide(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) || 0xff00 <= r && r <= 0xff60 || 0x1f300 <= r && r <= 0x1faff
}

// fit shortens a text to so many columns, with "…" in place of what is missing.
func fit(s string, room int) string {
	if columns(s) <= room {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columns(string(r)); n > room-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// letter is the width in pixels of a column in class mono.
const letter = 7.9
