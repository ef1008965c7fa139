package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind uint8

const (
	eof kind = iota
	data
	blockBegin
	blockEnd
	variableBegin
	variableEnd
	name
	text // a string literal
	integer
	float
	operator
)

// token is a piece of the source. Comments and blanks between tokens make none.
type token struct {
	kind kind
	text string // of data and string literals, after unescaping
	line int    // from 1
}

// is reports whether t is this operator or this name.
func (t token) is(s string) bool { return (t.kind == operator || t.kind == name) && t.text == s }

// describe is the token as an error names it.
func (t token) describe() string {
	switch t.kind {
	case eof:
		return "the end of the template"
	case data:
		return "text"
	case blockBegin:
		return "{%"
	case blockEnd:
		return "%}"
	case variableBegin:
		return "{{"
	case variableEnd:
		return "}}"
	case text:
		return "a string"
	}
	return "'" + t.text + "'"
}

// operators, the longest first.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
	"=", ".", ":", "|", ",", ";",
}

// lexer cuts a source into tokens as jinja2 does with trim_blocks and lstrip_blocks: a newline after a block
// is dropped, and so are blanks before one at the beginning of a line. A "-" at either end of a tag drops all
// blanks there, a "+" keeps them.
type lexer struct {
	source      string
	pos, line   int
	atLineStart bool // what was read last ended with a newline
	open        []byte
	tokens      []token
}

// lex cuts the whole source.
func lex(source string) ([]token, error) {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	l := &lexer{source: strings.TrimSuffix(source, "\n"), line: 1, atLineStart: true}
	for l.pos < len(l.source) {
		if err := l.outside(); err != nil {
			return nil, err
		}
	}
	l.add(eof, "")
	return l.tokens, nil
}

func (l *lexer) add(k kind, s string) { l.tokens = append(l.tokens, token{k, s, l.line}) }

func (l *lexer) errorf(format string, a ...any) error {
	return &Error{Line: l.line, Text: fmt.Sprintf(format, a...)}
}

// advance moves over n bytes.
func (l *lexer) advance(n int) {
	if n == 0 {
		return
	}
	l.line += strings.Count(l.source[l.pos:l.pos+n], "\n")
	l.pos += n
	l.atLineStart = l.source[l.pos-1] == '\n'
}

func (l *lexer) skipSpace() {
	rest := l.source[l.pos:]
	l.advance(len(rest) - len(strings.TrimLeftFunc(rest, isSpace)))
}

// outside reads text up to the next tag, and that tag.
func (l *lexer) outside() error {
	rest := l.source[l.pos:]
	start := tagStart(rest)
	if start < 0 {
		l.add(data, rest)
		l.advance(len(rest))
		return nil
	}
	tag := rest[start : start+2]
	sign := byte(0)
	if after := rest[start+2:]; after != "" && (after[0] == '-' || after[0] == '+') {
		sign = after[0]
	}
	if before := l.before(rest[:start], tag, sign); before != "" {
		l.add(data, before)
	}
	l.advance(start + 2)
	if sign != 0 {
		l.advance(1)
	}
	switch tag {
	case "{#":
		return l.comment()
	case "{%":
		if n := rawTag(l.source[l.pos:], "raw"); n > 0 {
			return l.raw(n)
		}
		l.add(blockBegin, "")
		return l.inside("%}", blockEnd)
	default:
		l.add(variableBegin, "")
		return l.inside("}}", variableEnd)
	}
}

// tagStart returns the index of the first tag, or -1.
func tagStart(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '{')
		if i < 0 || from+i+1 >= len(s) {
			return -1
		}
		from += i
		if strings.IndexByte("{%#", s[from+1]) >= 0 {
			return from
		}
		from++
	}
}

// before is the text before a tag, without the blanks that the tag drops.
func (l *lexer) before(s, tag string, sign byte) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(s, isSpace)
	case sign == '+' || tag == "{{":
		return s
	}
	line := strings.LastIndexByte(s, '\n') + 1
	if (line > 0 || l.atLineStart) && strings.TrimLeftFunc(s[line:], isSpace) == "" {
		return s[:line]
	}
	return s
}

// end moves over the end of a tag, if it is here: "-%}" with all blanks behind it, "+%}", or "%}" with one
// newline, which }} keeps.
func (l *lexer) end(tag string) bool {
	rest := l.source[l.pos:]
	switch {
	case strings.HasPrefix(rest, "-"+tag):
		l.advance(1 + len(tag))
		l.skipSpace()
	case strings.HasPrefix(rest, "+"+tag) && tag != "}}":
		l.advance(1 + len(tag))
	case strings.HasPrefix(rest, tag+"\n") && tag != "}}":
		l.advance(len(tag) + 1)
	case strings.HasPrefix(rest, tag):
		l.advance(len(tag))
	default:
		return false
	}
	return true
}

func (l *lexer) comment() error {
	rest := l.source[l.pos:]
	i := strings.Index(rest, "#}")
	if i < 0 {
		return l.errorf("a comment {# has no end #}")
	}
	if i > 0 && (rest[i-1] == '-' || rest[i-1] == '+') {
		i--
	}
	l.advance(i)
	l.end("#}")
	return nil
}

// rawTag is the length of "raw %}" or "endraw" at the beginning of s, up to before the end of the tag, or 0.
func rawTag(s, word string) int {
	rest := strings.TrimLeftFunc(s, isSpace)
	rest, ok := strings.CutPrefix(rest, word)
	if !ok {
		return 0
	}
	rest = strings.TrimLeftFunc(rest, isSpace)
	if strings.HasPrefix(rest, "%}") || strings.HasPrefix(rest, "-%}") || word == "endraw" &&
		strings.HasPrefix(rest, "+%}") {
		return len(s) - len(rest)
	}
	return 0
}

// raw reads the text between {% raw %}, of which n bytes are left up to its end, and {% endraw %}: it is
// text.
func (l *lexer) raw(n int) error {
	l.advance(n)
	if rest := l.source[l.pos:]; rest[0] == '-' {
		l.end("%}")
	} else {
		l.advance(2) // a newline behind it stays
	}
	for rest, from := l.source[l.pos:], 0; ; {
		i := strings.Index(rest[from:], "{%")
		if i < 0 {
			return l.errorf("{%% raw %%} has no {%% endraw %%}")
		}
		from += i + 2
		sign := byte(0)
		after := rest[from:]
		if after != "" && (after[0] == '-' || after[0] == '+') {
			sign, after = after[0], after[1:]
		}
		n := rawTag(after, "endraw")
		if n == 0 {
			continue
		}
		if before := l.before(rest[:from-2], "{%", sign); before != "" {
			l.add(data, before)
		}
		l.advance(len(rest) - len(after) + n)
		l.end("%}")
		return nil
	}
}

// inside reads tokens up to the end of a tag.
func (l *lexer) inside(tag string, k kind) error {
	l.open = l.open[:0]
	for {
		l.skipSpace()
		rest := l.source[l.pos:]
		line := l.line
		if len(l.open) == 0 && l.end(tag) {
			l.tokens = append(l.tokens, token{k, "", line})
			return nil
		}
		if rest == "" {
			return l.errorf("a tag has no end %s", tag)
		}
		if err := l.token(rest); err != nil {
			return err
		}
	}
}

// token reads one name, number, string or operator.
func (l *lexer) token(rest string) error {
	first, _ := utf8.DecodeRuneInString(rest)
	switch {
	case first >= '0' && first <= '9':
		return l.number(rest)
	case isNameRune(first):
		n := strings.IndexFunc(rest, func(r rune) bool { return !isNameRune(r) })
		if n < 0 {
			n = len(rest)
		}
		if !isIdentifier(rest[:n]) {
			return l.errorf("%q is not a name", rest[:n])
		}
		l.add(name, rest[:n])
		l.advance(n)
		return nil
	case first == '\'' || first == '"':
		return l.text(rest)
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			if err := l.balance(op[0]); err != nil {
				return err
			}
			l.add(operator, op)
			l.advance(len(op))
			return nil
		}
	}
	return l.errorf("unexpected character %q", first)
}

// balance keeps the brackets that are open: within them, "}}" is two brackets and not the end of a tag.
func (l *lexer) balance(op byte) error {
	switch op {
	case '(':
		l.open = append(l.open, ')')
	case '[':
		l.open = append(l.open, ']')
	case '{':
		l.open = append(l.open, '}')
	case ')', ']', '}':
		if len(l.open) == 0 {
			return l.errorf("unexpected '%c'", op)
		}
		if want := l.open[len(l.open)-1]; want != op {
			return l.errorf("unexpected '%c', expected '%c'", op, want)
		}
		l.open = l.open[:len(l.open)-1]
	}
	return nil
}

// text reads a string literal.
func (l *lexer) text(rest string) error {
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case rest[0]:
			s, err := unescape(rest[1:i])
			if err != nil {
				return l.errorf("in a string: %v", err)
			}
			l.add(text, s)
			l.advance(i + 1)
			return nil
		}
	}
	return l.errorf("a string has no end %c", rest[0])
}

func isNameRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) ||
		unicode.In(r, unicode.Mn, unicode.Mc, unicode.Pc,
			unicode.Nl, unicode.Other_ID_Start, unicode.Other_ID_Continue)
}

// Letters and marks that Unicode's XID_Continue and XID_Start leave out: those whose compatible forms begin
// otherwise.
const (
	notInName = "\u037a\u2e2f\u309b\u309c\ufc5e\ufc5f\ufc60\ufc61\ufc62\ufc63\ufdfa\ufdfb" +
		"\ufe70\ufe72\ufe74\ufe76\ufe78\ufe7a\ufe7c\ufe7e"
	notAtStart = "\u0e33\u0eb3\uff9e\uff9f"
)

// isIdentifier is Python's str.isidentifier.
func isIdentifier(s string) bool {
	for i, r := range s {
		if !isNameRune(r) || strings.ContainsRune(notInName, r) {
			return false
		}
		letter := r == '_' || unicode.IsLetter(r) || unicode.In(r, unicode.Nl, unicode.Other_ID_Start)
		if i == 0 && (!letter || strings.ContainsRune(notAtStart, r)) {
			return false
		}
	}
	return s != ""
}

// isSpace is Python's str.isspace of a character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
