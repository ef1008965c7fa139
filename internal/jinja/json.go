package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonStyle is how tojson writes.
type jsonStyle struct {
	ascii, sort    bool
	indent         string // of one level
	lines          bool   // one value a line
	item, keyValue string // separators
}

// tojsonFilter is that of transformers: Python's json.dumps(v, ensure_ascii=False, …), which escapes no HTML.
func tojsonFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("ensure_ascii? indent? separators? sort_keys?")
	if err != nil {
		return nil, err
	}
	j := &jsonWriter{writer: writer{r: r}}
	j.ascii, j.sort = truth(or(p[0], false)), truth(or(p[3], false))
	j.item, j.keyValue = ", ", ": "
	if indent := or(p[1], nil); indent != nil {
		j.lines, j.item = true, ","
		if s, ok := asText(indent); ok {
			j.indent = s
		} else {
			n, err := wantInt(indent)
			if err != nil {
				return nil, err
			}
			if err := r.reserve(max(n, 0)); err != nil {
				return nil, err
			}
			j.indent = strings.Repeat(" ", max(n, 0))
		}
	}
	if separators := or(p[2], nil); separators != nil {
		pair, err := r.collect(separators)
		if err != nil {
			return nil, err
		}
		if len(pair) != 2 {
			return nil, errors.New("tojson wants two separators")
		}
		if j.item, err = wantText(pair[0]); err != nil {
			return nil, err
		}
		if j.keyValue, err = wantText(pair[1]); err != nil {
			return nil, err
		}
	}
	err = j.value(v, 1)
	return j.b.String(), err
}

type jsonWriter struct {
	writer
	jsonStyle
}

// value writes v at a level of nesting, from 1.
func (j *jsonWriter) value(v Value, level int) error {
	if err := j.r.deeper(); err != nil {
		return err
	}
	defer j.r.leave()
	switch v := v.(type) {
	case nil, bool, float64, int, *big.Int:
		s, err := jsonScalar(v)
		if err != nil {
			return err
		}
		return j.write(s)
	case string:
		return j.text(v)
	case Markup:
		return j.text(string(v))
	case *List:
		return j.list(v.Items, level)
	case *Tuple:
		return j.list(v.Items, level)
	case *Dict:
		return j.dict(v, level)
	}
	return fmt.Errorf("tojson of %s is not possible", typeName(v))
}

// jsonScalar is None, a bool or a number as JSON has it.
func jsonScalar(v Value) (string, error) {
	switch v := v.(type) {
	case nil:
		return "null", nil
	case bool:
		return fmt.Sprint(v), nil
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", nil
		case math.IsInf(v, 0):
			return strings.Replace(floatText(v), "inf", "Infinity", 1), nil
		}
		return floatText(v), nil
	case int:
		return fmt.Sprint(v), nil
	case *big.Int:
		return intText(v)
	}
	return "", fmt.Errorf("tojson wants keys that are str, numbers, bool or None, not %s", typeName(v))
}

// between writes the separator before item i of n; with i == n, the text after the last item.
func (j *jsonWriter) between(i, n, level int) error {
	if i > 0 && i < n {
		if err := j.write(j.item); err != nil {
			return err
		}
	}
	if !j.lines {
		return nil
	}
	if i == n {
		level--
	}
	if err := j.r.reserveTimes(level, len(j.indent)); err != nil {
		return err
	}
	return j.write("\n" + strings.Repeat(j.indent, level))
}

func (j *jsonWriter) list(items []Value, level int) error {
	if len(items) == 0 {
		return j.write("[]")
	}
	if err := j.write("["); err != nil {
		return err
	}
	for i, item := range items {
		if err := j.between(i, len(items), level); err != nil {
			return err
		}
		if err := j.value(item, level+1); err != nil {
			return err
		}
	}
	if err := j.between(len(items), len(items), level); err != nil {
		return err
	}
	return j.write("]")
}

func (j *jsonWriter) dict(d *Dict, level int) error {
	if len(d.entries) == 0 {
		return j.write("{}")
	}
	if err := j.write("{"); err != nil {
		return err
	}
	pairs, err := j.r.collect(&view{d, "items"})
	if err != nil {
		return err
	}
	if j.sort {
		if pairs, err = j.r.sortBy(pairs,
			func(pair Value) (Value, error) { return pair.(*Tuple).Items[0], nil }, false); err != nil {
			return err
		}
	}
	for i, pair := range pairs {
		if err := j.between(i, len(pairs), level); err != nil {
			return err
		}
		key, isText := asText(pair.(*Tuple).Items[0])
		if !isText {
			if key, err = jsonScalar(pair.(*Tuple).Items[0]); err != nil {
				return err
			}
		}
		if err := j.text(key); err != nil {
			return err
		}
		if err := j.write(j.keyValue); err != nil {
			return err
		}
		if err := j.value(pair.(*Tuple).Items[1], level+1); err != nil {
			return err
		}
	}
	if err := j.between(len(pairs), len(pairs), level); err != nil {
		return err
	}
	return j.write("}")
}

// text writes a string.
func (j *jsonWriter) text(s string) error {
	if err := j.r.step(len(s)); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c >= '\b' && c <= '\r' && c != '\v':
			b.WriteByte('\\')
			b.WriteByte("btn_fr"[c-'\b'])
		case c < 0x20 || j.ascii && c > 0x7e && c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		case j.ascii && c >= utf8.RuneSelf:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return j.write(b.String())
}
