// Package show makes text safe to show. A terminal obeys control characters, and strangers write tensor
// names, file names, tokens and error messages. This package is the only place that decides what may pass:
//
//   - [Line] is for a name, a value or a message: one line, in which every character can be seen.
//   - [Text] is for a model's answer: lines, tabs and the marks of foreign scripts stay.
//   - [Writer] applies Text to everything that goes through it. It stands before stdout and stderr.
//   - [Fprintf] applies Line to every argument, so that a value cannot begin a line of its own.
//   - [JSON] is for JSON text: the value stays the same.
package show

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Line returns s as one line. Newlines become ↵, other control characters become their pictures (␛ for
// ESC), and characters that are invisible or change the order of others are spelled, such as <U+202E>.
// Bytes that are not UTF-8 become U+FFFD.
func Line(s string) string { return replace(s, spelledInLine, picture) }

// Text returns s as text of several lines. Newlines and tabs stay, and so do invisible characters that
// scripts and emoji need. The rest is as in [Line].
func Text(s string) string { return replace(s, spelledInText, picture) }

// JSON returns JSON text with the same value, in which the characters that Line spells are escaped as
// \u0080. JSON itself escapes only those below U+0020.
func JSON(s string) string {
	return replace(s, func(r rune) bool { return r >= 0x7f && spelledInLine(r) }, escaped)
}

func replace(s string, hidden func(rune) bool, spell func(rune) string) string {
	if clean(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // a broken byte is U+FFFD here
		if hidden(r) {
			b.WriteString(spell(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func clean(s string, hidden func(rune) bool) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, hidden) < 0
}

// spelledInText are the characters that a terminal obeys, and those that change the order of what stands
// around them: embeddings, overrides and isolates of writing direction. Line and paragraph separators end
// lines in some programs.
func spelledInText(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, 0x7f <= r && r < 0xa0:
		return true
	}
	return 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}

// spelledInLine adds newlines, tabs and all other characters that cannot be seen, but for the two joiners
// that words and emoji are made with.
func spelledInLine(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	switch {
	case r < 0x20 || spelledInText(r):
		return true
	case r < 0x7f || r == nonJoiner || r == joiner:
		return false
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// picture spells a character for a person.
func picture(r rune) string {
	switch {
	case r == '\n':
		return "↵"
	case r < 0x20:
		return string('␀' + r)
	case r == 0x7f:
		return "␡"
	}
	return fmt.Sprintf("<U+%04X>", r)
}

// escaped spells a character for JSON.
func escaped(r rune) string {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Clip returns at most limit bytes of s, whole characters, and "…" where some are missing. It keeps a
// stranger's megabyte out of a message.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// Brief returns a name or a value of a stranger's file for a message: at most 80 bytes of it.
func Brief(s string) string { return Clip(s, 80) }

// Message returns what another machine says, or an address, for a message: at most 200 bytes of one line.
func Message(s string) string { return Clip(Line(s), 200) }

// Width is the number of columns that s takes on a terminal: letters of East Asian scripts and emoji take
// two, and a mark on another letter takes none.
func Width(s string) int { return uniseg.StringWidth(s) }

// Fit makes s exactly so many columns wide: with blanks, or cut, with "…" for what is missing. columns is 1
// or more.
func Fit(s string, columns int) string {
	if n := Width(s); n <= columns {
		return s + strings.Repeat(" ", columns-n)
	}
	s = Cut(s, columns)
	return s + strings.Repeat(" ", columns-Width(s)) // before a wide character one column can be left
}

// Cut shortens s to at most so many columns, with "…" for what is missing.
func Cut(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	var b strings.Builder
	used := 0
	for state := -1; s != ""; {
		var cluster string
		var width int
		cluster, s, width, state = uniseg.FirstGraphemeClusterInString(s, state)
		if used += width; used > columns-1 {
			break
		}
		b.WriteString(cluster)
	}
	return b.String() + "…"
}

// Fprintf is [fmt.Fprintf] for values that may come from a stranger: strings, errors and what has a String
// method are each one line.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	return io.WriteString(w, Sprintf(format, args...))
}

// Sprintf is [fmt.Sprintf] with the rule of [Fprintf].
func Sprintf(format string, args ...any) string {
	lines := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			lines[i] = Line(v)
		case error:
			lines[i] = Line(v.Error())
		case fmt.Stringer:
			lines[i] = Line(v.String())
		case []string:
			lines[i] = eachLine(v)
		default:
			lines[i] = arg
			if v := reflect.ValueOf(arg); v.Kind() == reflect.String { // a type of its own, such as a dtype
				lines[i] = Line(v.String())
			}
		}
	}
	return fmt.Sprintf(format, lines...)
}

func eachLine(texts []string) []string {
	lines := make([]string, len(texts))
	for i, text := range texts {
		lines[i] = Line(text)
	}
	return lines
}

// Fprintln writes text as one line.
func Fprintln(w io.Writer, text string) (int, error) { return io.WriteString(w, Line(text)+"\n") }
