package show

import (
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// Wrapper breaks lines between words, where a terminal would break them within a word. The text comes in
// pieces; Wrapper holds a word back until it is complete. It does not wrap blocks of code (between lines that
// begin with ```), indented lines and rows of tables.
type Wrapper struct {
	to    io.Writer
	width func() int // columns of the terminal, asked before each word; below 10: no wrapping

	held   string // the last word, which the next piece may continue
	column int    // of the cursor
	line   string // the first lineKind bytes or more of the text's current line
	code   bool   // inside a block of code
}

const (
	lineKind = 4    // bytes of a line that show whether it may be wrapped
	longWord = 1000 // bytes; a longer word is not held back
)

// NewWrapper returns a Wrapper whose cursor is at the start of a line.
func NewWrapper(to io.Writer, width func() int) *Wrapper { return &Wrapper{to: to, width: width} }

// WriteString writes the next piece, which consists of whole characters.
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

// Flush writes the word that was held back.
func (w *Wrapper) Flush() error {
	var out strings.Builder
	w.word(&out, w.held)
	w.held = ""
	_, err := io.WriteString(w.to, out.String())
	return err
}

// Column returns the column of the cursor, from 0.
func (w *Wrapper) Column() int { return w.column }

// word writes a word with the blanks after it, and a newline if there is one.
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
		// Blanks beyond the last column would start the next line.
		if blanks := word[len(body):]; width <= columns && w.column+width+len(blanks) >= columns {
			word = body + blanks[:min(len(blanks), max(0, columns-w.column-width))]
		}
	}
	out.WriteString(word)
	w.column += Width(word)
	if columns > 0 && w.column > columns && width > columns { // the terminal broke the word
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

// wraps reports whether the current line is running text.
func (w *Wrapper) wraps() bool {
	for _, kept := range []string{"    ", "\t", "|", "```"} {
		if strings.HasPrefix(w.line, kept) {
			return false
		}
	}
	return !w.code
}
