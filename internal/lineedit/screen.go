package lineedit

import (
	"fmt"
	"io"
	"strings"

	"phi3/internal/show"
)

// screen draws a line on a terminal. It never asks the terminal where the cursor is, and never trusts the
// widths of characters for more than the ends of rows: to move the cursor within a row it writes the row
// once more, up to there.
type screen struct {
	out      io.Writer
	row      int  // of the cursor, from the first row that was drawn
	prompted bool // the first row begins with the prompt
}

// draw shows the prompt and the line on a terminal of so many columns and rows. The prompt is written once.
func (s *screen) draw(prompt Prompt, l *line, columns, rows int) {
	lines, cursor, before := layout(l, show.Width(prompt.Text), columns)
	first := 0 // where there are more rows than the terminal has, those around the cursor
	if len(lines) > rows {
		first = min(max(0, cursor-rows/2), len(lines)-rows)
		lines = lines[first : first+rows]
	}
	start := "\r" // of the first row
	var b strings.Builder
	b.WriteString("\r" + strings.Repeat("\x1b[A", s.row))
	if first == 0 {
		start = fmt.Sprintf("\r\x1b[%dC", show.Width(prompt.Text))
		if s.prompted {
			b.WriteString(start)
		}
	}
	b.WriteString("\x1b[J")
	if first == 0 && !s.prompted {
		b.WriteString(prompt.styled())
	}
	b.WriteString(strings.Join(lines, "\r\n"))
	s.row, s.prompted = cursor-first, first == 0
	if l.at < len(l.cells) { // at the end it stands where it should
		if s.row > 0 {
			start = "\r"
		}
		b.WriteString(strings.Repeat("\x1b[A", len(lines)-1-s.row) + start + before)
	}
	_, _ = io.WriteString(s.out, b.String())
}

// layout cuts a line into rows, the first of which has the given columns taken. It also returns the row of
// the cursor, and that row up to the cursor.
func layout(l *line, taken, columns int) (rows []string, cursor int, before string) {
	rows = []string{""}
	for i := 0; i <= len(l.cells); i++ {
		text := " " // for the cursor after the last character
		if i < len(l.cells) {
			text = l.cells[i].shown()
		}
		width := show.Width(text)
		if taken+width > columns && taken > 0 {
			rows = append(rows, "")
			taken = 0
		}
		last := len(rows) - 1
		if i == l.at {
			cursor, before = last, rows[last]
		}
		if i < len(l.cells) {
			taken += width
			rows[last] += text
		}
	}
	return rows, cursor, before
}

func (c cell) shown() string {
	if c.label != "" {
		return c.label
	}
	return show.Line(c.text)
}
