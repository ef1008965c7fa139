package jinja

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

var errEmptySeparator = errors.New("the separator is empty")

// textList is a list of texts of self's kind.
func (r *run) textList(self Value, parts []string) (Value, error) {
	if err := r.reserve(itemBytes * len(parts)); err != nil {
		return nil, err
	}
	items := make([]Value, len(parts))
	for i, p := range parts {
		items[i] = sameKind(self, p)
	}
	return &List{items}, nil
}

// splitArgs are the arguments of split and rsplit. sep is "" where it is None; limit is -1 for none.
func splitArgs(a *given) (sep string, limit int, err error) {
	v, err := a.bind("sep? maxsplit?")
	if err != nil {
		return "", 0, err
	}
	if limit, err = wantInt(or(v[1], -1)); err != nil {
		return "", 0, err
	}
	if v[0] = or(v[0], nil); v[0] == nil {
		return "", limit, nil
	}
	sep, err = wantText(v[0])
	if err == nil && sep == "" {
		err = errEmptySeparator
	}
	return sep, limit, err
}

func splitMethod(r *run, self Value, a *given) (Value, error) {
	sep, limit, err := splitArgs(a)
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	if err := r.reserveTimes(strings.Count(s, sep), itemBytes); sep != "" && err != nil {
		return nil, err
	}
	if sep != "" {
		return r.textList(self, strings.SplitN(s, sep, splitLimit(limit)))
	}
	var parts []string
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; {
		end := strings.IndexFunc(s, isSpace)
		if end < 0 || limit >= 0 && len(parts) == limit {
			end = len(s)
		}
		parts = append(parts, s[:end])
		s = strings.TrimLeftFunc(s[end:], isSpace)
	}
	return r.textList(self, parts)
}

// splitLimit is Go's limit, of pieces, for Python's, of cuts.
func splitLimit(limit int) int {
	if limit < 0 {
		return -1
	}
	return limit + 1
}

func rsplitMethod(r *run, self Value, a *given) (Value, error) {
	sep, limit, err := splitArgs(a)
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	if err := r.reserveTimes(strings.Count(s, sep), itemBytes); sep != "" && err != nil {
		return nil, err
	}
	var parts []string // from the last to the first
	if sep != "" {
		for limit < 0 || len(parts) < limit {
			i := strings.LastIndex(s, sep)
			if i < 0 {
				break
			}
			parts = append(parts, s[i+len(sep):])
			s = s[:i]
		}
		parts = append(parts, s)
	} else {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; {
			cut := strings.LastIndexFunc(s, isSpace)
			if limit >= 0 && len(parts) == limit || cut < 0 {
				parts = append(parts, s)
				break
			}
			cut += runeLength(s[cut:])
			parts = append(parts, s[cut:])
			s = strings.TrimRightFunc(s[:cut], isSpace)
		}
	}
	slices.Reverse(parts)
	return r.textList(self, parts)
}

func splitLinesMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("keepends?")
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	return r.textList(self, splitLines(s, truth(or(v[0], false))))
}

// splitLines cuts s at the ends of lines, of which Python knows more than Go.
func splitLines(s string, keepEnds bool) []string {
	var lines []string
	for s != "" {
		end := strings.IndexFunc(s, func(c rune) bool {
			return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
		})
		if end < 0 {
			return append(lines, s)
		}
		next := end + runeLength(s[end:])
		if strings.HasPrefix(s[end:], "\r\n") {
			next = end + 2
		}
		if keepEnds {
			end = next
		}
		lines = append(lines, s[:end])
		s = s[next:]
	}
	return lines
}

// padMethod fills a text up to a width. left says how many of n characters go before it, in a field of width.
func padMethod(left func(n, width int) int) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/width /fillchar?")
		if err != nil {
			return nil, err
		}
		width, err := wantInt(v[0])
		if err != nil {
			return nil, err
		}
		fill, err := wantText(or(v[1], " "))
		if err != nil {
			return nil, err
		}
		if runeCount(fill) != 1 {
			return nil, errors.New("the fill character is not one character")
		}
		s, _ := asText(self)
		out, err := r.pad(s, fill, width, left)
		return sameKind(self, out), err
	}
}

func (r *run) pad(s, fill string, width int, left func(n, width int) int) (string, error) {
	n := width - runeCount(s)
	if n <= 0 {
		return s, r.step(len(s))
	}
	if err := r.reserveTimes(n, len(fill)); err != nil {
		return "", err
	}
	before := left(n, width)
	return strings.Repeat(fill, before) + s + strings.Repeat(fill, n-before), r.reserve(len(s))
}

func zfillMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("/width")
	if err != nil {
		return nil, err
	}
	width, err := wantInt(v[0])
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
		width--
	}
	out, err := r.pad(s, "0", width, func(n, _ int) int { return n })
	return sameKind(self, sign+out), err
}

func expandTabsMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("tabsize?")
	if err != nil {
		return nil, err
	}
	size, err := wantInt(or(v[0], 8))
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	w := &writer{r: r}
	column := 0
	for _, c := range s {
		piece := string(c)
		switch {
		case c == '\n' || c == '\r':
			column = 0
		case c == '\t' && size <= 0:
			piece = ""
		case c == '\t':
			n := size - column%size
			if err := r.reserve(n); err != nil {
				return nil, err
			}
			piece = strings.Repeat(" ", n)
			column += n
		default:
			column++
		}
		if err := w.write(piece); err != nil {
			return nil, err
		}
	}
	return sameKind(self, w.b.String()), nil
}

// dictMethods are the methods of dict that change nothing.
var dictMethods = map[string]method{
	"get": func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/key /default?")
		if err != nil {
			return nil, err
		}
		value, ok, err := r.get(self.(*Dict), v[0])
		if err != nil || ok {
			return value, err
		}
		return or(v[1], nil), nil
	},
	"keys":   viewMethod("keys"),
	"values": viewMethod("values"),
	"items":  viewMethod("items"),
	"copy": func(r *run, self Value, a *given) (Value, error) {
		if _, err := a.bind(""); err != nil {
			return nil, err
		}
		d := NewDict()
		for _, e := range self.(*Dict).entries {
			if err := r.set(d, e.key, e.value); err != nil {
				return nil, err
			}
		}
		return d, nil
	},
	"fromkeys": func(r *run, _ Value, a *given) (Value, error) {
		v, err := a.bind("/keys /value?")
		if err != nil {
			return nil, err
		}
		d := NewDict()
		err = r.each(v[0], func(key Value) error { return r.set(d, key, or(v[1], nil)) })
		return d, err
	},
}

func viewMethod(of string) method {
	return func(_ *run, self Value, a *given) (Value, error) {
		_, err := a.bind("")
		return &view{self.(*Dict), of}, err
	}
}

// listMethods are the methods of list, tuple and range that change nothing.
var listMethods = map[string]method{
	"count": func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/value")
		if err != nil {
			return nil, err
		}
		n := 0
		err = r.each(self, func(item Value) error {
			same, err := r.same(item, v[0])
			if same {
				n++
			}
			return err
		})
		return n, err
	},
	"index": func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/value /start? /stop?")
		if err != nil {
			return nil, err
		}
		part, err := r.slice(self, or(v[1], nil), or(v[2], nil), nil)
		if err != nil {
			return nil, err
		}
		n, _ := length(self)
		low, _ := sliceIndex(or(v[1], nil), 0)
		if low < 0 {
			low = max(low+n, 0)
		}
		items, err := r.collect(part)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			if same, err := r.same(item, v[0]); err != nil || same {
				return low + i, err
			}
		}
		return nil, errors.New("the list does not have what index() looks for")
	},
	"copy": func(r *run, self Value, a *given) (Value, error) {
		if _, err := a.bind(""); err != nil {
			return nil, err
		}
		items, err := r.collect(self)
		return &List{items}, err
	},
}

// numberAttr is an attribute of a number.
func numberAttr(v Value, name string) (Value, bool) {
	n, whole := toBig(v)
	f, isFloat := v.(float64)
	answer := func(result Value) (Value, bool) {
		return &function{name, func(_ *run, a *given) (Value, error) {
			_, err := a.bind("")
			return result, err
		}}, true
	}
	switch {
	case name == "real" && whole, name == "numerator" && whole:
		return normal(n), true
	case name == "real":
		return f, true
	case name == "imag" && isFloat:
		return 0.0, true
	case name == "imag":
		return 0, true
	case name == "denominator" && whole:
		return 1, true
	case name == "conjugate" && whole:
		return answer(normal(n))
	case name == "conjugate":
		return answer(f)
	case name == "bit_length" && whole:
		return answer(n.BitLen())
	case name == "bit_count" && whole:
		ones := 0
		for _, word := range new(big.Int).Abs(n).Bits() {
			ones += strings.Count(fmt.Sprintf("%b", word), "1")
		}
		return answer(ones)
	case name == "is_integer" && isFloat:
		return answer(f == float64(int64(f)))
	}
	return nil, false
}
