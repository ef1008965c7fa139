package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// roundTo is func(v * 10**digits) / 10**digits, where func is ceil or floor.
func roundTo(v Value, digits int, up bool) (Value, error) {
	unit, _, err := arithmetic("**", 10, digits)
	if err != nil {
		return nil, err
	}
	scaled, ok, err := arithmetic("*", v, unit)
	if err != nil || !ok {
		return nil, errors.Join(err, orNil(ok, fmt.Errorf("%s cannot be rounded", typeName(v))))
	}
	if f, ok := scaled.(float64); ok {
		if up {
			f = math.Ceil(f)
		} else {
			f = math.Floor(f)
		}
		if scaled, err = truncated(f); err != nil {
			return nil, err
		}
	}
	rounded, _, err := arithmetic("/", scaled, unit)
	return rounded, err
}

func orNil(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func intFilter(_ *run, v Value, a *given) (Value, error) {
	p, err := a.bind("default? base?")
	if err != nil {
		return nil, err
	}
	instead := or(p[0], 0)
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	s, isText := asText(v)
	if !isText {
		if f, ok := v.(float64); ok {
			if math.IsInf(f, 0) {
				return nil, errTooLarge
			}
			return truncatedOr(f, instead), nil
		}
		if n, ok := toBig(v); ok {
			return normal(n), nil
		}
		return instead, nil
	}
	base, err := wantInt(or(p[1], 10))
	if err == nil {
		if n, ok := parseWhole(s, base); ok {
			return n, nil
		}
	}
	f, ok := parseFloat(s)
	if !ok {
		return instead, nil
	}
	return truncatedOr(f, instead), nil
}

func truncatedOr(f float64, instead Value) Value {
	if n, err := truncated(f); err == nil {
		return n
	}
	return instead
}

var (
	wholeText        = regexp.MustCompile(`^[+-]?[0-9a-zA-Z]+(_[0-9a-zA-Z]+)*$`)
	floatLiteralText = regexp.MustCompile(`^(?i:[+-]?(([0-9]+(_[0-9]+)*)?\.?([0-9]+(_[0-9]+)*)?(e[+-]?[0-9]+(_[0-9]+)*)?|inf|infinity|nan))$`)
)

// asciiDigits is s with the digits of every script as 0 to 9.
func asciiDigits(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 || !isDecimal(c) {
			return c
		}
		first := c // the digits of a script stand in a row
		for isDecimal(first-1) && c-first < 9 {
			first--
		}
		return '0' + (c-first)%10
	}, s)
}

// parseWhole is Python's int(s, base).
func parseWhole(s string, base int) (Value, bool) {
	s = asciiDigits(strings.TrimFunc(s, isSpace))
	if len(s) > 4300 || !wholeText.MatchString(s) || base != 0 && (base < 2 || base > 36) {
		return nil, false
	}
	sign := ""
	if s[0] == '-' || s[0] == '+' {
		sign, s = s[:1], s[1:]
	}
	digits := strings.ReplaceAll(s, "_", "")
	if len(s) > 2 && s[0] == '0' {
		prefix := map[byte]int{'x': 16, 'o': 8, 'b': 2}[s[1]|0x20]
		if prefix != 0 && (base == prefix || base == 0) {
			digits, base = strings.ReplaceAll(s[2:], "_", ""), prefix
		}
	}
	if base == 0 {
		if base = 10; digits[0] == '0' && strings.Trim(digits, "0") != "" {
			return nil, false
		}
	}
	n, ok := new(big.Int).SetString(sign+digits, base)
	if !ok {
		return nil, false
	}
	return normal(n), true
}

// parseFloat is Python's float(s).
func parseFloat(s string) (float64, bool) {
	s = asciiDigits(strings.TrimFunc(s, isSpace))
	if !floatLiteralText.MatchString(s) || len(s) > 4300 {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

func floatFilter(_ *run, v Value, a *given) (Value, error) {
	p, err := a.bind("default?")
	if err != nil {
		return nil, err
	}
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	if s, ok := asText(v); ok {
		if f, ok := parseFloat(s); ok {
			return f, nil
		}
		return or(p[0], 0.0), nil
	}
	f, ok, err := toFloat(v)
	if err != nil || ok {
		return f, err
	}
	return or(p[0], 0.0), nil
}

func sizeFilter(_ *run, v Value, a *given) (Value, error) {
	p, err := a.bind("binary?")
	if err != nil {
		return nil, err
	}
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	size, ok, err := toFloat(v)
	if s, isText := asText(v); isText {
		size, ok = parseFloat(s)
	}
	if err != nil || !ok {
		return nil, fmt.Errorf("filesizeformat of %s is not possible", typeName(v))
	}
	base, middle, last := 1000.0, "", "B"
	if truth(or(p[0], false)) {
		base, middle = 1024, "i"
	}
	switch {
	case size == 1:
		return "1 Byte", nil
	case size < base:
		return strconv.FormatFloat(math.Trunc(size), 'f', 0, 64) + " Bytes", nil
	}
	unit, prefix := base, ""
	for _, c := range "kMGTPEZY" {
		prefix = string(c)
		if middle != "" {
			prefix = strings.ToUpper(prefix)
		}
		if unit *= base; size < unit {
			break
		}
	}
	return strconv.FormatFloat(base*size/unit, 'f', 1, 64) + " " + prefix + middle + last, nil
}
