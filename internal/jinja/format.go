package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// spec is a parsed format: "%-08.3f" or "{:<08.3f}".
type spec struct {
	fill      string // "": a blank
	align     byte   // < > ^ =, or 0
	sign      byte   // + - blank, or 0
	alternate bool   // #
	width     int
	precision int  // -1: none
	grouping  byte // , _ or 0
	verb      byte // or 0
}

// formatFilter is v|format(…).
func formatFilter(r *run, v Value, a *given) (Value, error) {
	if len(a.pos) > 0 && len(a.named) > 0 {
		return nil, errors.New("format wants values by position or by name, not both")
	}
	s, markup, err := r.soft(v)
	if err != nil {
		return nil, err
	}
	var values Value = &Tuple{Items: a.pos}
	if len(a.named) > 0 {
		d := NewDict()
		for _, n := range a.named {
			d.Set(n.name, n.value)
		}
		values = d
	}
	return r.formatPercent(like(markup, s), s, values)
}

// formatPercent is Python's format % values. of is the original format, which says whether it is Markup.
func (r *run) formatPercent(of Value, format string, values Value) (Value, error) {
	p := &percent{writer: writer{r: r}, rest: format, items: []Value{values}}
	_, p.markup = of.(Markup)
	switch v := values.(type) {
	case *Tuple:
		p.items = v.Items
	case *Dict:
		p.names, p.mayRemain = v, true
	case *List, *Range, *Undefined:
		p.mayRemain = true
	}
	for p.rest != "" {
		i := strings.IndexByte(p.rest, '%')
		if i < 0 {
			i = len(p.rest)
		}
		if err := p.write(p.rest[:i]); err != nil {
			return nil, err
		}
		if p.rest = p.rest[i:]; p.rest == "" {
			break
		}
		p.rest = p.rest[1:]
		if err := p.one(); err != nil {
			return nil, err
		}
	}
	if p.used < len(p.items) && !p.mayRemain {
		return nil, errors.New("% has more values than its format asks for")
	}
	return like(p.markup, p.b.String()), nil
}

// percent reads a format from left to right.
type percent struct {
	writer
	rest      string
	items     []Value
	used      int
	names     *Dict // nil: values go by position
	mayRemain bool  // values may be left
	markup    bool
}

// next is the next value.
func (p *percent) next() (Value, error) {
	if p.used >= len(p.items) {
		return nil, errors.New("% has fewer values than its format asks for")
	}
	p.used++
	return p.items[p.used-1], nil
}

// number reads digits, or a "*", which means the next value.
func (p *percent) number() (int, error) {
	if strings.HasPrefix(p.rest, "*") {
		p.rest = p.rest[1:]
		v, err := p.next()
		if err != nil {
			return 0, err
		}
		return wantInt(v)
	}
	n := 0
	for p.rest != "" && p.rest[0] >= '0' && p.rest[0] <= '9' {
		if n = 10*n + int(p.rest[0]-'0'); n > 1<<40 {
			return 0, limitf("a format has a width of more than %d", n)
		}
		p.rest = p.rest[1:]
	}
	return n, nil
}

// one writes the text of one % directive.
func (p *percent) one() (err error) {
	s := spec{precision: -1}
	var v Value
	named := false
	if strings.HasPrefix(p.rest, "(") && p.names != nil {
		end := strings.IndexByte(p.rest, ')')
		if end < 0 {
			return errors.New("a name in a format has no )")
		}
		key := p.rest[1:end]
		p.rest = p.rest[end+1:]
		found, ok := p.names.text(key)
		if !ok {
			return fmt.Errorf("a format asks for %s, which is not given", quote(key))
		}
		v, named = found, true
	} else if strings.HasPrefix(p.rest, "(") {
		return errors.New("a format with names wants a dict")
	}
	for p.rest != "" && strings.IndexByte("-+ #0", p.rest[0]) >= 0 {
		switch c := p.rest[0]; c {
		case '-':
			s.align = '<'
		case '+':
			s.sign = '+'
		case ' ':
			if s.sign == 0 {
				s.sign = ' '
			}
		case '#':
			s.alternate = true
		case '0':
			s.fill = "0"
		}
		p.rest = p.rest[1:]
	}
	if s.width, err = p.number(); err != nil {
		return err
	}
	if s.width < 0 {
		s.align, s.width = '<', -s.width
	}
	if strings.HasPrefix(p.rest, ".") {
		p.rest = p.rest[1:]
		if s.precision, err = p.number(); err != nil {
			return err
		}
		s.precision = max(s.precision, 0)
	}
	p.rest = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(p.rest, "h"), "l"), "L")
	if p.rest == "" {
		return errors.New("a format ends behind its %")
	}
	s.verb, p.rest = p.rest[0], p.rest[1:]
	if s.verb == '%' {
		return p.write("%")
	}
	if strings.IndexByte("sradiuoxXeEfFgGc", s.verb) < 0 {
		return fmt.Errorf("there is no format %%%c", s.verb)
	}
	if !named {
		if v, err = p.next(); err != nil {
			return err
		}
	}
	return p.value(s, v)
}

func (p *percent) value(s spec, v Value) error {
	var text string
	var err error
	switch s.verb {
	case 's', 'r', 'a':
		if s.fill, s.sign = "", 0; s.verb == 's' {
			text, err = p.r.str(v)
		} else if text, err = p.r.repr(v); s.verb == 'a' {
			text = asciiOnly(text)
		}
		if p.markup && err == nil {
			if _, safe := v.(Markup); !safe || s.verb != 's' {
				text = string(escape(text))
			}
		}
		if n := runeCount(text); s.precision >= 0 && s.precision < n {
			text = sliceText(text, &Range{0, s.precision, 1})
		}
	case 'c':
		s.fill, s.sign = "", 0
		text, err = oneCharacter(v)
	case 'd', 'i', 'u', 'o', 'x', 'X':
		if f, ok := v.(float64); ok && strings.IndexByte("diu", s.verb) >= 0 {
			if v, err = truncated(f); err != nil {
				return err
			}
		}
		n, ok := toBig(v)
		if !ok {
			return errors.Join(undefinedIn(v),
				orNil(false, fmt.Errorf("%%%c wants a whole number, not %s", s.verb, typeName(v))))
		}
		text, err = p.r.whole(s, n)
	default:
		f, ok, err2 := toFloat(v)
		if err2 != nil || !ok {
			return errors.Join(undefinedIn(v), err2,
				orNil(ok, fmt.Errorf("%%%c wants a number, not %s", s.verb, typeName(v))))
		}
		if s.precision < 0 {
			s.precision = 6
		}
		text, err = p.r.float(s, f)
	}
	if err != nil {
		return err
	}
	if s.align == 0 {
		s.align = '>'
		if s.fill == "0" {
			s.align = '='
		}
	}
	if s.align == '<' {
		s.fill = ""
	}
	return p.padded(s, text)
}

func oneCharacter(v Value) (string, error) {
	if s, ok := asText(v); ok && runeCount(s) == 1 {
		return s, nil
	}
	if n, ok := asInt(v); ok && n >= 0 && n <= 0x10ffff {
		return string(rune(n)), nil
	}
	return "", errors.New("%c wants a character or its number")
}

// asciiOnly escapes the characters of s that are not ASCII.
func asciiOnly(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	return b.String()
}

// padded writes text in a field.
func (w *writer) padded(s spec, text string) error {
	n := s.width - runeCount(text)
	if n <= 0 {
		return w.write(text)
	}
	fill := s.fill
	if fill == "" {
		fill = " "
	}
	if err := w.r.reserveTimes(n, len(fill)); err != nil {
		return err
	}
	left, right := n, 0
	switch s.align {
	case '<':
		left, right = 0, n
	case '^':
		left, right = n/2, n-n/2
	case '=': // between the sign, or 0x, and the digits
		digits := strings.TrimLeft(text, "+- ")
		for _, prefix := range []string{"0x", "0X", "0o", "0b"} {
			digits = strings.TrimPrefix(digits, prefix)
		}
		head := text[:len(text)-len(digits)]
		if err := w.write(head); err != nil {
			return err
		}
		text = digits
	}
	if err := w.write(strings.Repeat(fill, left)); err != nil {
		return err
	}
	if err := w.write(text); err != nil {
		return err
	}
	return w.write(strings.Repeat(fill, right))
}
