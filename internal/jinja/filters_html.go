package jinja

import (
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"unicode"
)

func striptagsFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	s, err := r.str(v)
	if err != nil {
		return nil, err
	}
	if err := r.step(letterWork * len(s)); err != nil {
		return nil, err
	}
	for _, tag := range [][2]string{{"<!--", "-->"}, {"<", ">"}} {
		var b strings.Builder
		for {
			start := strings.Index(s, tag[0])
			if start < 0 {
				break
			}
			end := strings.Index(s[start:], tag[1])
			if end < 0 {
				break
			}
			b.WriteString(s[:start])
			s = s[start+end+len(tag[1]):]
		}
		b.WriteString(s)
		s = b.String()
	}
	s = strings.Join(strings.FieldsFunc(s, isSpace), " ")
	return html.UnescapeString(s), r.reserve(len(s))
}

// escape is markupsafe.escape of a text or number.
func escape(v Value) Markup {
	if m, ok := v.(Markup); ok {
		return m
	}
	s, ok := asText(v)
	if !ok {
		s, _ = (&run{meter: meter{ctx: noContext}}).str(v)
	}
	return Markup(htmlEscapes.Replace(s))
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

func escapeFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	s, markup, err := r.soft(v)
	if err != nil {
		return nil, err
	}
	out := escape(like(markup, s))
	return out, r.reserve(len(out))
}

func forceescapeFilter(r *run, v Value, a *given) (Value, error) {
	return escapeFilter(r, plainText(v), a)
}

func safeFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	s, err := r.str(v)
	return Markup(s), err
}

var badAttribute = regexp.MustCompile(`[ \t\n\r\f\v/>=]`)

func xmlattrFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("autospace?")
	if err != nil {
		return nil, err
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("xmlattr of %s: it is not a dict", typeName(v))
	}
	w := &writer{r: r}
	for _, e := range d.entries {
		if _, undefined := e.value.(*Undefined); undefined || e.value == nil {
			continue
		}
		name, err := wantText(e.key)
		if err != nil || badAttribute.MatchString(name) {
			return nil, errors.New("xmlattr has a key that is not the name of an attribute")
		}
		value, err := escapeFilter(r, e.value, &given{})
		if err != nil {
			return nil, err
		}
		if w.b.Len() > 0 || truth(or(p[0], true)) {
			name = " " + string(escape(e.key))
		}
		if err := w.write(name + `="` + string(value.(Markup)) + `"`); err != nil {
			return nil, err
		}
	}
	return w.b.String(), nil
}

func urlencodeFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	_, isText := asText(v)
	it, err := iterate(v)
	if d, ok := v.(*Dict); ok {
		it, err = iterate(&view{d, "items"})
	}
	w := &writer{r: r}
	if isText || err != nil {
		s, err := r.str(v)
		if err == nil {
			err = w.urlQuote(s, false)
		}
		return w.b.String(), err
	}
	err = r.each(it, func(pair Value) error {
		items, err := r.collect(pair)
		if err != nil || len(items) != 2 {
			return errors.Join(err, errors.New("urlencode wants pairs of a name and a value"))
		}
		between := ""
		if w.b.Len() > 0 {
			between = "&"
		}
		for i, item := range items {
			s, err := r.str(item)
			if err == nil {
				err = w.write([]string{between, "="}[i])
			}
			if err == nil {
				err = w.urlQuote(s, true)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return w.b.String(), err
}

// urlQuote writes s for a URL; in a query, a blank is a plus and a slash is quoted.
func (w *writer) urlQuote(s string, query bool) error {
	for i := range len(s) {
		c := s[i]
		piece := fmt.Sprintf("%%%02X", c)
		switch {
		case c < 0x80 && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c))) ||
			strings.IndexByte("_.-~", c) >= 0 || c == '/' && !query:
			piece = string(rune(c))
		case c == ' ' && query:
			piece = "+"
		}
		if err := w.write(piece); err != nil {
			return err
		}
	}
	return nil
}

// pprintFilter is Python's pformat, for values that fit in a line of 80 columns. Keys of dicts are sorted.
func pprintFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	sorted, err := r.withSortedKeys(v)
	if err != nil {
		return nil, err
	}
	s, err := r.repr(sorted)
	if err == nil && runeCount(s) > 80 {
		err = errors.New("pprint of a value that does not fit in a line is not supported")
	}
	return s, err
}

func (r *run) withSortedKeys(v Value) (Value, error) {
	if err := r.deeper(); err != nil {
		return nil, err
	}
	defer r.leave()
	switch v := v.(type) {
	case *List:
		items, err := r.eachSorted(v.Items)
		return &List{items}, err
	case *Tuple:
		items, err := r.eachSorted(v.Items)
		return &Tuple{Items: items}, err
	case *Dict:
		pairs, err := r.collect(&view{v, "items"})
		if err != nil {
			return nil, err
		}
		pairs, err = r.sortBy(pairs, func(pair Value) (Value, error) { return pair.(*Tuple).Items[0], nil },
			false)
		if err != nil {
			return nil, err
		}
		d := NewDict()
		for _, pair := range pairs {
			value, err := r.withSortedKeys(pair.(*Tuple).Items[1])
			if err == nil {
				err = r.set(d, pair.(*Tuple).Items[0], value)
			}
			if err != nil {
				return nil, err
			}
		}
		return d, nil
	}
	return v, nil
}

func (r *run) eachSorted(items []Value) ([]Value, error) {
	out := make([]Value, len(items))
	for i, item := range items {
		var err error
		if out[i], err = r.withSortedKeys(item); err != nil {
			return nil, err
		}
	}
	return out, r.reserve(itemBytes * len(items))
}
