package lineedit

import (
	"slices"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// line is what has been typed so far, as characters in the sense of a reader: a letter with its accents, an
// emoji of several code points. The cursor stands before cells[at].
type line struct {
	cells []cell
	at    int    // 0 to len(cells)
	cut   string // what the last erasing key took away, for Ctrl-Y
}

// cell is one character, or a paste, which is edited as one.
type cell struct {
	text  string
	label string // shown in place of the text of a paste; "" for a character
}

func (l *line) text() string {
	var b strings.Builder
	for _, c := range l.cells {
		b.WriteString(c.text)
	}
	return b.String()
}

// insert puts text before the cursor. It joins the character there if it belongs to it: an accent, or the
// rest of an emoji.
func (l *line) insert(text string) {
	from := l.at
	if from > 0 && l.cells[from-1].label == "" {
		from--
		text = l.cells[from].text + text
	}
	l.replace(from, l.at, characters(text))
}

// replace puts cells in the place of those from one position up to another, and the cursor after them.
func (l *line) replace(from, to int, cells []cell) {
	l.cells = slices.Replace(l.cells, from, to, cells...)
	l.at = from + len(cells)
}

func characters(text string) (cells []cell) {
	for state := -1; text != ""; {
		var c string
		c, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
		cells = append(cells, cell{text: c})
	}
	return cells
}

// erase removes the cells from one position up to another and keeps their text for Ctrl-Y.
func (l *line) erase(from, to int) {
	if from < to {
		l.cut = (&line{cells: l.cells[from:to]}).text()
		l.replace(from, to, nil)
	}
}

func (c cell) isWord() bool {
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_' }
	return c.label != "" || strings.ContainsFunc(c.text, inWord)
}

func (c cell) isBlank() bool { return c.label == "" && strings.TrimSpace(c.text) == "" }

// wordLeft is where the word before the cursor begins.
func (l *line) wordLeft() int {
	at := l.at
	for at > 0 && !l.cells[at-1].isWord() {
		at--
	}
	for at > 0 && l.cells[at-1].isWord() {
		at--
	}
	return at
}

// wordRight is where the word after the cursor ends.
func (l *line) wordRight() int {
	at := l.at
	for at < len(l.cells) && !l.cells[at].isWord() {
		at++
	}
	for at < len(l.cells) && l.cells[at].isWord() {
		at++
	}
	return at
}

// blankLeft is where everything up to a blank before the cursor begins, as Ctrl-W sees words.
func (l *line) blankLeft() int {
	at := l.at
	for at > 0 && l.cells[at-1].isBlank() {
		at--
	}
	for at > 0 && !l.cells[at-1].isBlank() {
		at--
	}
	return at
}

// edit does what a key means within the line. It reports whether the key means anything there.
func (l *line) edit(k key) bool {
	end := len(l.cells)
	switch k {
	case "left", "\x02":
		l.at = max(0, l.at-1)
	case "right", "\x06":
		l.at = min(end, l.at+1)
	case "home", "\x01":
		l.at = 0
	case "end", "\x05":
		l.at = end
	case "word left":
		l.at = l.wordLeft()
	case "word right":
		l.at = l.wordRight()
	case "\x7f", "\x08":
		if l.at > 0 {
			l.replace(l.at-1, l.at, nil)
		}
	case "delete", "\x04":
		if l.at < end {
			l.cells = slices.Delete(l.cells, l.at, l.at+1)
		}
	case "\x0b": // Ctrl-K
		l.erase(l.at, end)
	case "\x15": // Ctrl-U
		l.erase(0, l.at)
	case "\x17": // Ctrl-W
		l.erase(l.blankLeft(), l.at)
	case "erase word left":
		l.erase(l.wordLeft(), l.at)
	case "erase word right":
		l.erase(l.at, l.wordRight())
	case "\x19": // Ctrl-Y
		l.insert(l.cut)
	case "newline":
		l.insert("\n")
	default:
		return false
	}
	return true
}
