package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatMethod is str.format.
func formatMethod(r *run, self Value, a *given) (Value, error) {
	d := NewDict()
	for _, n := range a.named {
		d.Set(n.name, n.value)
	}
	return r.formatBraces(self, a.pos, d)
}

func formatMapMethod(r *run, self Value, a *given) (Value, error) {
	p, err := a.bind("/mapping")
	if err != nil {
		return nil, err
	}
	d, ok := p[0].(*Dict)
	if !ok {
		return nil, fmt.Errorf("format_map wants a dict, not %s", typeName(p[0]))
	}
	return r.formatBraces(self, nil, d)
}

func (r *run) formatBraces(self Value, pos []Value, named *Dict) (Value, error) {
	s, _ := asText(self)
	f := &braces{r: r, pos: pos, named: named}
	_, f.markup = self.(Markup)
	out, err := f.text(s, 2)
	return like(f.markup, out), err
}

// braces fills the fields of a format.
type braces struct {
	r      *run
	pos    []Value
	named  *Dict
	auto   int // of the fields {} so far
	manual bool
	markup bool
}

var errBrace = errors.New("a format has a single { or }")

// text fills the fields of format, which may nest to the given depth.
func (f *braces) text(format string, depth int) (string, error) {
	if depth == 0 {
		return "", errors.New("a format nests too deep")
	}
	w := &writer{r: f.r}
	for format != "" {
		i := strings.IndexAny(format, "{}")
		if i < 0 {
			i = len(format)
		}
		if err := w.write(format[:i]); err != nil {
			return "", err
		}
		if format = format[i:]; format == "" {
			break
		}
		if len(format) > 1 && format[1] == format[0] {
			if err := w.write(format[:1]); err != nil {
				return "", err
			}
			format = format[2:]
			continue
		}
		end := fieldEnd(format)
		if end < 0 {
			return "", errBrace
		}
		piece, err := f.field(format[1:end], depth)
		if err == nil {
			err = w.write(piece)
		}
		if err != nil {
			return "", err
		}
		format = format[end+1:]
	}
	return w.b.String(), nil
}

// fieldEnd is where the } of the { at the beginning of s is, or -1.
func fieldEnd(s string) int {
	depth, bracket, colon := 0, false, false
	for i := range len(s) {
		colon = colon || s[i] == ':'
		switch c := s[i]; {
		case bracket:
			bracket = c != ']'
		case c == '[':
			bracket = depth == 1 && !colon
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth <= 0 {
				return i - btoi(depth < 0)*(i+1)
			}
		}
	}
	return -1
}

// field returns the text of {name!conversion:spec}.
func (f *braces) field(field string, depth int) (string, error) {
	end := 0
	for bracket := false; end < len(field); end++ {
		c := field[end]
		if bracket = c == '[' || bracket && c != ']'; !bracket && (c == '!' || c == ':') {
			break
		}
	}
	path, rest := field[:end], field[end:]
	v, err := f.lookup(path)
	if err != nil {
		return "", err
	}
	conversion := byte(0)
	if strings.HasPrefix(rest, "!") {
		if len(rest) < 2 || len(rest) > 2 && rest[2] != ':' {
			return "", errors.New("a format has a wrong conversion after its exclamation mark")
		}
		conversion, rest = rest[1], rest[2:]
	}
	format, err := f.text(strings.TrimPrefix(rest, ":"), depth-1)
	if rest == "" || rest == ":" {
		format, err = "", nil
	}
	if err != nil {
		return "", err
	}
	switch conversion {
	case 0:
	case 's':
		v, err = f.r.str(v)
	case 'r':
		v, err = f.r.repr(v)
	case 'a':
		var s string
		s, err = f.r.repr(v)
		v = asciiOnly(s)
	default:
		return "", fmt.Errorf("there is no conversion !%c", conversion)
	}
	if err != nil {
		return "", err
	}
	if f.markup {
		if m, ok := v.(Markup); ok {
			return string(m), orNil(format == "", errors.New("Markup takes no format"))
		}
		s, err := f.r.format(v, format)
		return string(escape(s)), err
	}
	return f.r.format(v, format)
}

// lookup finds the value of a field: a name or a position, and attributes and items of it.
func (f *braces) lookup(path string) (Value, error) {
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	first, rest := path[:end], path[end:]
	var v Value
	n, err := strconv.Atoi(first)
	switch {
	case path == "":
		if f.manual {
			return nil, errors.New("a format has both {} and {0}")
		}
		n, err = f.auto, nil
		f.auto++
	case err == nil:
		if f.auto > 0 {
			return nil, errors.New("a format has both {} and {0}")
		}
		f.manual = true
	}
	if err == nil {
		if n < 0 || n >= len(f.pos) {
			return nil, fmt.Errorf("a format asks for value %d of %d", n, len(f.pos))
		}
		v = f.pos[n]
	} else {
		found, ok := f.named.text(first)
		if !ok {
			return nil, fmt.Errorf("a format asks for %s, which is not given", quote(first))
		}
		v = found
	}
	for rest != "" {
		if rest[0] == '.' {
			rest = rest[1:]
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, errors.New("a format has an empty attribute")
			}
			if v, err = f.r.getattr(v, rest[:end]); err != nil {
				return nil, err
			}
			rest = rest[end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 2 {
			return nil, errors.New("a format has a wrong item in [ ]")
		}
		var key Value = rest[1:end]
		if n, err := strconv.Atoi(rest[1:end]); err == nil && n >= 0 {
			key = n
		}
		if v, err = f.r.getitem(v, key); err != nil {
			return nil, err
		}
		if rest = rest[end+1:]; rest != "" && rest[0] != '.' && rest[0] != '[' {
			return nil, errors.New("a format has something other than '.' or '[' behind ]")
		}
	}
	return v, nil
}

// format is Python's format(v, spec).
func (r *run) format(v Value, text string) (string, error) {
	if text == "" {
		return r.str(v)
	}
	s, err := parseSpec(text)
	if err != nil {
		return "", err
	}
	wrong := fmt.Errorf("the format %s is not possible for %s", quote(text), typeName(v))
	w := &writer{r: r}
	var out string
	str, isText := asText(v)
	n, isWhole := toBig(v)
	f, isFloat := v.(float64)
	switch {
	case isText:
		if s.verb != 0 && s.verb != 's' || s.sign != 0 || s.grouping != 0 || s.alternate || s.align == '=' {
			return "", wrong
		}
		if n := runeCount(str); s.precision >= 0 && s.precision < n {
			str = sliceText(str, &Range{0, s.precision, 1})
		}
		if s.align == 0 {
			s.align = '<'
		}
		err := w.padded(s, str)
		return w.b.String(), err
	case isWhole && strings.IndexByte("\x00bcdoxXn", s.verb) >= 0:
		if s.precision >= 0 {
			return "", wrong
		}
		if s.verb == 'c' {
			out, err = oneCharacter(v)
			if s.align == 0 {
				s.align = '<'
			}
		} else {
			out, err = r.whole(s, n)
		}
	case (isWhole || isFloat) && strings.IndexByte("\x00eEfFgG%n", s.verb) >= 0:
		if isWhole {
			if f, _, err = toFloat(v); err != nil {
				return "", err
			}
		}
		out, err = r.floatSpec(s, f)
	default:
		return "", wrong
	}
	if err != nil {
		return "", err
	}
	if s.align == 0 {
		s.align = '>'
	}
	err = w.padded(s, out)
	return w.b.String(), err
}

// floatSpec is a float in a format that may leave out the verb: then as many digits as it takes.
func (r *run) floatSpec(s spec, f float64) (string, error) {
	switch {
	case s.verb != 0 && s.precision < 0:
		s.precision = 6
	case s.verb == 0 && s.precision < 0:
		digits := floatText(math.Abs(f))
		if end := strings.IndexAny(digits, ".e"); s.grouping != 0 && end > 0 {
			s.width -= len(digits) - end + btoi(math.Signbit(f) && s.sign == 0)
			digits = s.grouped(digits[:end], 3) + digits[end:]
		}
		return s.signed(math.Signbit(f) && !math.IsNaN(f), digits), nil
	case s.verb == 0:
		text := general(math.Abs(f), max(s.precision, 1), s.alternate)
		if !strings.ContainsAny(text, ".en") {
			if len(text) < s.precision {
				text += ".0"
			} else {
				text = generalExponent(math.Abs(f), max(s.precision, 1))
			}
		}
		return s.signed(math.Signbit(f), text), nil
	}
	if s.verb == 'n' {
		s.verb = 'g'
	}
	return r.float(s, f)
}

// generalExponent writes a number with an exponent and a fixed number of digits before the point.
func generalExponent(f float64, precision int) string {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', precision-1, 64), "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + "e" + exponent
}

// parseSpec reads [[fill]align][sign][#][0][width][grouping][.precision][verb].
func parseSpec(text string) (s spec, err error) {
	all := text
	s.precision = -1
	_, n := utf8.DecodeRuneInString(text)
	if len(text) > n && strings.IndexByte("<>=^", text[n]) >= 0 {
		s.fill, s.align, text = text[:n], text[n], text[n+1:]
	} else if strings.IndexByte("<>=^", text[0]) >= 0 {
		s.align, text = text[0], text[1:]
	}
	take := func(set string) byte {
		if text != "" && strings.IndexByte(set, text[0]) >= 0 {
			c := text[0]
			text = text[1:]
			return c
		}
		return 0
	}
	s.sign = take("+- ")
	s.alternate = take("#") != 0
	if take("0") != 0 && s.fill == "" {
		s.fill = "0"
		if s.align == 0 {
			s.align = '='
		}
	}
	digits := func() (n int, ok bool) {
		for c := take("0123456789"); c != 0; c = take("0123456789") {
			n, ok = min(10*n+int(c-'0'), 1<<40), true
		}
		return n, ok
	}
	s.width, _ = digits()
	s.grouping = take(",_")
	if take(".") != 0 {
		precision, ok := digits()
		if !ok {
			return s, fmt.Errorf("the format %s has no digits behind its point", quote(all))
		}
		s.precision = precision
	}
	if text != "" {
		s.verb, text = text[0], text[1:]
	}
	if text != "" || s.verb >= utf8.RuneSelf {
		return s, fmt.Errorf("%s is not a format", quote(all))
	}
	return s, nil
}
