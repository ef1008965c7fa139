package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// signed puts a sign before digits.
func (s spec) signed(negative bool, digits string) string {
	switch {
	case negative:
		return "-" + digits
	case s.sign == '+' || s.sign == ' ':
		return string(s.sign) + digits
	}
	return digits
}

// whole writes a whole number as s says, without padding.
func (r *run) whole(s spec, n *big.Int) (string, error) {
	base, prefix := 10, ""
	switch s.verb {
	case 'o':
		base, prefix = 8, "0o"
	case 'x', 'X':
		base, prefix = 16, "0"+string(s.verb)
	case 'b':
		base, prefix = 2, "0b"
	default:
		if _, err := intText(n); err != nil {
			return "", err
		}
	}
	digits := new(big.Int).Abs(n).Text(base)
	if s.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	if missing := s.precision - len(digits); missing > 0 {
		if err := r.reserve(missing); err != nil {
			return "", err
		}
		digits = strings.Repeat("0", missing) + digits
	}
	every := 3
	if base != 10 {
		every = 4
	}
	digits = s.grouped(digits, every)
	if !s.alternate || base == 10 {
		prefix = ""
	}
	return s.signed(n.Sign() < 0, prefix+digits), nil
}

// grouped puts separators between digits, including the zeros that fill a number.
func (s spec) grouped(digits string, every int) string {
	if s.grouping == 0 {
		return digits
	}
	if s.align == '=' && s.fill == "0" && s.width < 1<<16 {
		for len(digits)+(len(digits)-1)/every < s.width-btoi(s.sign == '+' || s.sign == ' ') {
			digits = "0" + digits
		}
	}
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%every == 0 {
			b.WriteByte(s.grouping)
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// float writes a float as s says, with e, E, f, F, g, G or %, without padding. s.precision is set.
func (r *run) float(s spec, f float64) (string, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		text := strings.TrimPrefix(floatText(f), "-")
		if s.verb == 'E' || s.verb == 'F' || s.verb == 'G' {
			text = strings.ToUpper(text)
		}
		if s.verb == '%' {
			text += "%"
		}
		return s.signed(f < 0, text), nil
	}
	if err := r.reserve(s.precision + 320); err != nil {
		return "", err
	}
	negative := math.Signbit(f)
	f = math.Abs(f)
	var text string
	switch s.verb {
	case 'f', 'F':
		text = strconv.FormatFloat(f, 'f', s.precision, 64)
	case '%':
		text = strconv.FormatFloat(100*f, 'f', s.precision, 64)
	case 'e', 'E':
		text = strconv.FormatFloat(f, 'e', s.precision, 64)
	default:
		text = general(f, max(s.precision, 1), s.alternate)
	}
	if s.alternate && !strings.Contains(text, ".") {
		mantissa, exponent, ok := strings.Cut(text, "e")
		if text = mantissa + "."; ok {
			text += "e" + exponent
		}
	}
	if s.verb == 'E' || s.verb == 'G' {
		text = strings.ToUpper(text)
	}
	if end := strings.IndexAny(text, ".eE"); s.grouping != 0 {
		if end < 0 {
			end = len(text)
		}
		s.width -= len(text) - end + btoi(negative && s.sign == 0)
		text = s.grouped(text[:end], 3) + text[end:]
	}
	if s.verb == '%' {
		text += "%"
	}
	return s.signed(negative, text), nil
}

// general is C's %g: as many digits as precision says, without zeros at the end.
func general(f float64, precision int, zeros bool) string {
	text := strconv.FormatFloat(f, 'e', precision-1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	e, _ := strconv.Atoi(exponent)
	if e >= -4 && e < precision {
		text = strconv.FormatFloat(f, 'f', precision-1-e, 64)
		if !zeros && strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text
	}
	if !zeros && strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + "e" + exponent
}
