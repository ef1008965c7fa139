package jinja

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	floatLiteral   = regexp.MustCompile(`^(?i:([0-9]+_)*[0-9]+((\.([0-9]+_)*[0-9]+)?e[+-]?([0-9]+_)*[0-9]+|\.([0-9]+_)*[0-9]+))`)
	integerLiteral = regexp.MustCompile(`^(?i:0b(_?[01])+|0o(_?[0-7])+|0x(_?[0-9a-f])+|[1-9](_?[0-9])*|0(_?0)*)`)
)

// number reads a number. messages.0.1 is two subscripts, not the number 0.1.
func (l *lexer) number(rest string) error {
	k, n := float, 0
	if l.pos == 0 || l.source[l.pos-1] != '.' {
		n = len(floatLiteral.FindString(rest))
	}
	if n == 0 {
		k, n = integer, len(integerLiteral.FindString(rest))
	}
	if n > maxBits/8 {
		return l.errorf("a number has %d digits", n)
	}
	l.add(k, strings.ReplaceAll(rest[:n], "_", ""))
	l.advance(n)
	return nil
}

// wholeNumber is the value of an integer literal.
func wholeNumber(s string) Value {
	n, _ := new(big.Int).SetString(s, 0)
	return normal(n)
}

// simpleEscapes are the escapes of one letter in a string literal.
var simpleEscapes = map[byte]string{
	'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r",
	't': "\t", 'v': "\v",
}

// unescape reads the inside of a string literal as Python's unicode-escape does. An unknown escape stays as
// it is.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		simple, ok := simpleEscapes[s[i]]
		switch {
		case ok:
			out.WriteString(simple)
		case digits > 0:
			if i+digits >= len(s) {
				return "", fmt.Errorf(`\%c wants %d hexadecimal digits`, s[i], digits)
			}
			code, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
			if err != nil {
				return "", fmt.Errorf(`\%c wants %d hexadecimal digits`, s[i], digits)
			}
			if !utf8.ValidRune(rune(code)) {
				return "", fmt.Errorf(`\%s is not a character`, s[i:i+1+digits])
			}
			out.WriteRune(rune(code))
			i += digits
		case s[i] >= '0' && s[i] <= '7':
			code := 0
			from := i
			for ; i < len(s) && i < from+3 && s[i] >= '0' && s[i] <= '7'; i++ {
				code = 8*code + int(s[i]-'0')
			}
			i--
			out.WriteRune(rune(code))
		case s[i] == 'N':
			return "", errors.New(`names of characters, \N{…}, are not supported`)
		case s[i] >= utf8.RuneSelf:
			// jinja2 escapes the character itself before it looks for escapes, so that its number appears.
			r, n := utf8.DecodeRuneInString(s[i:])
			fmt.Fprintf(&out, `\`+map[bool]string{
				true:  "x%02x",
				false: map[bool]string{true: "u%04x", false: "U%08x"}[r <= 0xffff],
			}[r <= 0xff], r)
			i += n - 1
		default:
			out.WriteString(s[i-1 : i+1])
		}
	}
	return out.String(), nil
}
