package show

import (
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// Wrapper breaks the lines of a text that comes in pieces between words, where a terminal would break them
// within words. A word is held back until it is whole. Blocks of code (between lines that begin with ```),
// indented lines and rows of tables stay as they are.
type Wrapper struct {
	to    io.Writer
	width func() int // columns of the terminal, asked for every word; below 10: no wrapping

	held   string // text up to whose end nothing may be broken, so far
	column int    // of the cursor
	line   string // the beginning of the text's own line, as far as it tells what the line is
	code   bool   // within a block of code
}

const (
	lineKind = 4    // bytes of a line that tell whether it may be wrapped
	longWord = 1000 // bytes after which a word is not held back any more
)

// NewWrapper returns a Wrapper that begins at the start of a line.
func NewWrapper(to io.Writer, width func() int) *Wrapper { return &Wrapper{to: to, width: width} }

// WriteString takes the next piece, of whole characters.
func (w *Wrapper) WriteString(piece string) (int, error) {
	w.held += piece
	var out strings.Builder
	for {
		word, rest, _, _ := uniseg.FirstLineSegmentInString(w.held, -1)
		if rest == "" && !strings.HasSuffix(word, "\n") && len(word) < longWord { // it may go on
			break
		}
		w.held = rest
		w.word(&out, word)
		if rest == "" {
			break
		}
	}
	_, err := io.WriteString(w.to, out.String())
	return len(piece), err
}

// Flush writes what was held back.
func (w *Wrapper) Flush() error {
	var out strings.Builder
	w.word(&out, w.held)
	w.held = ""
	_, err := io.WriteString(w.to, out.String())
	return err
}

// Column is the column of the cursor after all that was written, from 0.
func (w *Wrapper) Column() int { return w.column }

// word writes a word, with the blanks and perhaps the newline after it.
func (w *Wrapper) word(out *strings.Builder, word string) {
	word, newline := strings.CutSuffix(word, "\n")
	if len(w.line) < lineKind {
		w.line += word
	}
	body := strings.TrimRight(word, " ")
	columns, width := w.width(), Width(body)
	if columns >= 10 && w.wraps() {
		if w.column > 0 && w.column+width > columns {
			out.WriteString("\n")
			w.column = 0
		}
		// Blanks at the end of a line would begin the next one.
		if blanks := word[len(body):]; width <= columns && w.column+width+len(blanks) >= columns {
			word = body + blanks[:min(len(blanks), max(0, columns-w.column-width))]
		}
	}
	out.WriteString(word)
	w.column += Width(word)
	if columns > 0 && w.column > columns && width > columns { // the terminal has broken it
		w.column = (w.column-1)%columns + 1
	}
	if newline {
		if strings.HasPrefix(strings.TrimLeft(w.line, " "), "```") {
			w.code = !w.code
		}
		out.WriteString("\n")
		w.column, w.line = 0, ""
	}
}

// wraps tells whether the line at hand is one of running text.
func (w *Wrapper) wraps() bool {
	for _, kept := range []string{"    ", "\t", "|", "```"} {
		if strings.HasPrefix(w.line, kept) {
			return false
		}
	}
	return !w.code
}
