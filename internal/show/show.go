// Package show makes text safe to print, and writes numbers and tables in one style.
//
// Tensor names, file names, tokens and error messages come from files that phi3 did not write. They may have
// control characters, which a terminal obeys. Only this package decides which characters reach the terminal:
//
//   - [Line] is for a name, a value or a message. The result is one line in which every character is visible.
//   - [Text] is for a model's answer. It keeps newlines, tabs and the invisible marks of scripts and emoji.
//   - [Writer] applies Text to everything written to it. phi3 writes to stdout and stderr through one.
//   - [Fprintf] applies Line to every argument, so that no argument can start a line.
//   - [JSON] is for JSON text. It keeps the value.
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

// Line returns s as one line. A newline becomes ↵, another control character its picture (␛ for ESC), and a
// character that is invisible or changes the writing direction its number (<U+202E>). Bytes that are not
// UTF-8 become U+FFFD.
func Line(s string) string { return replace(s, spelledInLine, picture) }

// Text returns s as text of several lines. It keeps newlines, tabs, and the invisible characters that scripts
// and emoji need, and treats all others as [Line] does.
func Text(s string) string { return replace(s, spelledInText, picture) }

// JSON returns JSON text with the same value, in which the characters that Line replaces are escaped, such as
// \u0080. An encoder of JSON escapes only those below U+0020.
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

// spelledInText reports whether Text replaces a character: control characters, which a terminal obeys;
// embeddings, overrides and isolates, which change the writing direction; and the separators of lines and
// paragraphs, which end a line in some programs.
func spelledInText(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, 0x7f <= r && r < 0xa0:
		return true
	}
	return 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}

// spelledInLine reports whether Line replaces a character: those of Text, newlines, tabs, and all invisible
// characters except the two joiners, which words and emoji contain.
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

// picture returns what Line and Text show for a character.
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

// escaped returns the escape sequence of a character in JSON.
func escaped(r rune) string {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Clip returns s if it has at most limit bytes, and otherwise as many of its first characters as fit, and
// "…". Use it for messages that quote a file.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// Brief clips a name or a value from a file to 80 bytes, for a message.
func Brief(s string) string { return Clip(s, 80) }

// Message clips what a server sent to 200 bytes of one line, for a message.
func Message(s string) string { return Clip(Line(s), 200) }

// Width returns the number of columns that s takes on a terminal. An East Asian letter or an emoji takes two,
// and a combining mark takes none.
func Width(s string) int { return uniseg.StringWidth(s) }

// Fit pads or cuts s to a width in columns, 1 or more. A cut text ends with "…".
func Fit(s string, columns int) string {
	if n := Width(s); n <= columns {
		return s + strings.Repeat(" ", columns-n)
	}
	s = Cut(s, columns)
	return s + strings.Repeat(" ", columns-Width(s)) // a wide character may not have fit the last column
}

// Cut shortens s to at most the given number of columns. A cut text ends with "…".
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

// Fprintf is like [fmt.Fprintf], but applies [Line] to arguments that are strings, errors or Stringers,
// because their text may come from a file.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	return io.WriteString(w, Sprintf(format, args...))
}

// Sprintf is like [fmt.Sprintf] and treats arguments as [Fprintf] does.
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
			if v := reflect.ValueOf(arg); v.Kind() == reflect.String { // a named type, such as a dtype
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
