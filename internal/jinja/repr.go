package jinja

import (
	"fmt"
	"math/big"
	"strings"
	"unicode"
)

// str is Python's str(v): what {{ v }} writes.
func (r *run) str(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case Markup:
		return string(v), nil
	case *Undefined:
		return "", nil
	}
	return r.repr(v)
}

// repr is Python's repr(v).
func (r *run) repr(v Value) (string, error) {
	w := &writer{r: r}
	err := w.repr(v)
	return w.b.String(), err
}

// writer makes a text piece by piece, and charges for it.
type writer struct {
	r *run
	b strings.Builder
}

func (w *writer) write(s string) error {
	if w.b.Len()+len(s) > w.r.largest() {
		return w.r.reserve(w.b.Len() + len(s))
	}
	w.b.WriteString(s)
	return w.r.reserve(len(s))
}

func (w *writer) repr(v Value) error {
	if err := w.r.deeper(); err != nil {
		return err
	}
	defer w.r.leave()
	switch v := v.(type) {
	case nil:
		return w.write("None")
	case bool:
		if v {
			return w.write("True")
		}
		return w.write("False")
	case int:
		return w.write(big.NewInt(int64(v)).String())
	case *big.Int:
		s, err := intText(v)
		if err != nil {
			return err
		}
		return w.write(s)
	case float64:
		return w.write(floatText(v))
	case string:
		return w.write(quote(v))
	case Markup:
		return w.write("Markup(" + quote(string(v)) + ")")
	case *List:
		return w.items("[", v.Items, "]")
	case *Tuple:
		if len(v.Items) == 1 {
			return w.items("(", v.Items, ",)")
		}
		return w.items("(", v.Items, ")")
	case *Dict:
		return w.dict(v)
	case *Range:
		s := "range(" + big.NewInt(int64(v.start)).String() + ", " + big.NewInt(int64(v.stop)).String()
		if v.step != 1 {
			s += ", " + big.NewInt(int64(v.step)).String()
		}
		return w.write(s + ")")
	case *view:
		items, err := w.r.collect(v)
		if err != nil {
			return err
		}
		return w.items("dict_"+v.of+"([", items, "])")
	case *Undefined:
		return w.write("Undefined")
	case *namespace:
		if err := w.write("<Namespace "); err != nil {
			return err
		}
		if err := w.dict(v.attrs); err != nil {
			return err
		}
		return w.write(">")
	case *loop:
		n, err := v.count(w.r)
		if err != nil {
			return err
		}
		return w.write(fmt.Sprintf("<LoopContext %d/%d>", v.index0+1, n))
	case *macro:
		if v.def.name == "" {
			return w.write("<Macro anonymous>")
		}
		return w.write("<Macro " + quote(v.def.name) + ">")
	}
	return w.write("<" + typeName(v) + " object>")
}

func (w *writer) items(before string, items []Value, after string) error {
	if err := w.write(before); err != nil {
		return err
	}
	for i, item := range items {
		if i > 0 {
			if err := w.write(", "); err != nil {
				return err
			}
		}
		if err := w.repr(item); err != nil {
			return err
		}
	}
	return w.write(after)
}

func (w *writer) dict(d *Dict) error {
	if err := w.write("{"); err != nil {
		return err
	}
	for i, e := range d.entries {
		if i > 0 {
			if err := w.write(", "); err != nil {
				return err
			}
		}
		if err := w.repr(e.key); err != nil {
			return err
		}
		if err := w.write(": "); err != nil {
			return err
		}
		if err := w.repr(e.value); err != nil {
			return err
		}
	}
	return w.write("}")
}

// quote is repr of a str.
func quote(s string) string {
	mark := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteByte(mark)
	for _, c := range s {
		switch {
		case c == rune(mark) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case isPrintable(c):
			b.WriteRune(c)
		default:
			letter, n := byte('x'), 2
			if c > 0xffff {
				letter, n = 'U', 8
			} else if c > 0xff {
				letter, n = 'u', 4
			}
			b.WriteByte('\\')
			b.WriteByte(letter)
			for n--; n >= 0; n-- {
				b.WriteByte(digits[c>>(4*n)&15])
			}
		}
	}
	b.WriteByte(mark)
	return b.String()
}

// isPrintable is Python's str.isprintable of a character.
func isPrintable(c rune) bool {
	return c == ' ' || unicode.In(c, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S)
}
