package lineedit

import (
	"slices"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// line is the text so far, in cells: what a reader sees as one character, such as a letter with its accents
// or an emoji of several code points. The cursor is before cells[at].
type line struct {
	cells []cell
	at    int    // 0 to len(cells)
	cut   string // the text that the last erasing key removed, for Ctrl-Y
}

// cell is one character or one paste.
type cell struct {
	text  string
	label string // shown instead of the text of a paste; "" for a character
}

func (l *line) text() string {
	var b strings.Builder
	for _, c := range l.cells {
		b.WriteString(c.text)
	}
	return b.String()
}

// insert inserts text before the cursor. Text that continues the character there, such as an accent or the
// rest of an emoji, becomes part of that character.
func (l *line) insert(text string) {
	from := l.at
	if from > 0 && l.cells[from-1].label == "" {
		from--
		text = l.cells[from].text + text
	}
	l.replace(from, l.at, characters(text))
}

// replace replaces the cells [from, to), and puts the cursor after the new ones.
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

// erase removes the cells [from, to) and keeps their text for Ctrl-Y.
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

// wordLeft returns the start of the word before the cursor.
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

// wordRight returns the end of the word after the cursor.
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

// blankLeft returns the start of the word before the cursor, where only blanks separate words, as for Ctrl-W.
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

// edit applies a key to the line. It reports whether the key has a meaning there.
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
