package show

import (
	"fmt"
	"strings"
	"unicode"
)

// byteNames are SentencePiece's tokens for bytes of white space, and what Piece shows for them.
var byteNames = map[string]string{"<0x09>": "⇥", "<0x0A>": "↵", "<0x0D>": "␍", "<0x20>": "␣"}

// Piece returns a tokenizer's piece as one line of at most the given number of columns, in which every
// character is visible: a space is ␣, a newline ↵, a tab ⇥. A cut piece ends with "…". A piece may have
// megabytes, so Piece reads no more of it than it shows.
func Piece(s string, columns int) string {
	if s == "" {
		return "(none)" // an id beyond the tokenizer's vocabulary
	}
	if name := byteNames[s]; name != "" {
		return name
	}
	s = Clip(s, 16*columns) // more than 16 bytes for a column: a dozen marks on one letter
	line := strings.Map(func(r rune) rune {
		switch r {
		case ' ':
			return '␣'
		case '\u00a0':
			return '⍽'
		case '␉':
			return '⇥' // more fonts have it
		}
		return r
	}, Line(s))
	if strings.IndexFunc(line, blank) >= 0 {
		line = spellOut(line, blank)
	}
	switch first := []rune(line)[0]; {
	case unicode.Is(unicode.M, first):
		line = "◌" + line // a mark needs a letter to be drawn on
	case Width(line) == 0:
		line = spellOut(line, func(rune) bool { return true })
	}
	return Cut(line, columns)
}

func blank(r rune) bool { return r != ' ' && unicode.IsSpace(r) }

// spellOut writes the selected characters as their numbers.
func spellOut(s string, which func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		if which(r) {
			fmt.Fprintf(&b, "<U+%04X>", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// PieceColumns is the width of the widest piece in a table.
const PieceColumns = 40

// Named returns a name as one line, and "(none)" for an empty one.
func Named(s string) string {
	if s == "" {
		return "(none)"
	}
	return Line(s)
}
