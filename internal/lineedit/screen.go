package lineedit

import (
	"fmt"
	"io"
	"strings"

	"phi3/internal/show"
)

// screen draws a line on a terminal. It does not ask the terminal for the position of the cursor. It uses the
// widths of characters only to break rows: to move the cursor within a row, it writes the row again up to
// that point.
type screen struct {
	out      io.Writer
	row      int  // of the cursor; 0 is the first row that was drawn
	prompted bool // the first drawn row begins with the prompt
}

// draw draws the line on a terminal of the given size, and the prompt if it is not there yet.
func (s *screen) draw(prompt Prompt, l *line, columns, rows int) {
	lines, cursor, before := layout(l, show.Width(prompt.Text), columns)
	first := 0 // if the terminal has too few rows, those around the cursor are drawn
	if len(lines) > rows {
		first = min(max(0, cursor-rows/2), len(lines)-rows)
		lines = lines[first : first+rows]
	}
	start := "\r" // moves the cursor to the start of the first row
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
	if l.at < len(l.cells) { // otherwise the cursor is at the right place already
		if s.row > 0 {
			start = "\r"
		}
		b.WriteString(strings.Repeat("\x1b[A", len(lines)-1-s.row) + start + before)
	}
	_, _ = io.WriteString(s.out, b.String())
}

// layout breaks a line into rows. In the first row, the given number of columns is taken. It also returns the
// index of the cursor's row, and the text of that row before the cursor.
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
