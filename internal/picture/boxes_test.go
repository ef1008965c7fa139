package picture

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/show"
)

// element is one of a picture's, with what it says.
type element struct {
	name       string
	attributes map[string]string
	text       string
}

func (e *element) number(t *testing.T, name string) float64 {
	v, err := strconv.ParseFloat(e.attributes[name], 64)
	require.NoError(t, err, "%s of %v", name, e)
	return v
}

// elements reads a picture as XML.
func elements(t *testing.T, svg string) (found []*element) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var open []*element
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			next := &element{name: e.Name.Local, attributes: map[string]string{}}
			for _, a := range e.Attr {
				next.attributes[a.Name.Local] = a.Value
			}
			found, open = append(found, next), append(open, next)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(e)
			}
		}
	}
}

// said is all text that a reader sees, with plain spaces.
func said(found []*element) string {
	var b strings.Builder
	for _, e := range found {
		if e.name == "text" {
			b.WriteString(strings.ReplaceAll(e.text, "\u00a0", " ") + "\n")
		}
	}
	return b.String()
}

// box is where something is drawn.
type box struct {
	left, top, right, bottom float64
	what                     string
}

var translated = regexp.MustCompile(`translate\(([0-9.]+) ([0-9.]+)\)`)

// textBoxes are the places of the texts that lie straight, as wide as they may become.
func textBoxes(t *testing.T, found []*element) (boxes []box) {
	for _, e := range found {
		if e.name != "text" || e.attributes["transform"] != "" {
			continue
		}
		class, column, ascent := e.attributes["class"], dimColumn, 11.0
		switch {
		case strings.Contains(class, "mono"):
			column = monoColumn
		case strings.Contains(class, "bold"):
			column, ascent = boldColumn, 12
		}
		x, y, width := e.number(t, "x"), e.number(t, "y"), column*float64(show.Width(e.text))
		switch {
		case strings.Contains(class, "end"):
			x -= width
		case strings.Contains(class, "middle"):
			x -= width / 2
		}
		boxes = append(boxes, box{x, y - ascent, x + width, y + 3, e.text})
	}
	return boxes
}

// checkLayout finds what lies outside the page, and texts that lie on each other.
func checkLayout(t *testing.T, found []*element) {
	t.Helper()
	width, height := found[0].number(t, "width"), found[0].number(t, "height")
	inside := func(b box) {
		t.Helper()
		require.GreaterOrEqual(t, b.left, 0.0, b.what)
		require.GreaterOrEqual(t, b.top, 0.0, b.what)
		require.LessOrEqual(t, b.right, width, b.what)
		require.LessOrEqual(t, b.bottom, height, b.what)
	}
	boxes := textBoxes(t, found)
	for i, b := range boxes {
		inside(b)
		for _, c := range boxes[:i] {
			apart := b.right <= c.left || c.right <= b.left || b.bottom <= c.top || c.bottom <= b.top
			require.True(t, apart, "%q lies on %q", b.what, c.what)
		}
	}
	for _, e := range found {
		switch e.name {
		case "rect":
			if e.attributes["class"] != "page" {
				x, y := e.number(t, "x"), e.number(t, "y")
				inside(box{x, y, x + e.number(t, "width"), y + e.number(t, "height"), "a rectangle"})
			}
		case "text":
			// upwards to the right
			if at := translated.FindStringSubmatch(e.attributes["transform"]); at != nil {
				x, _ := strconv.ParseFloat(at[1], 64)
				y, _ := strconv.ParseFloat(at[2], 64)
				length := smallColumn * float64(show.Width(e.text))
				inside(box{x, y - 0.87*length, x + 0.5*length, y, e.text})
			}
		}
	}
}
