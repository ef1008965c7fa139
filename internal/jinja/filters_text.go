package jinja

import (
	"errors"
	"strings"
)

func stringFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	s, markup, err := r.soft(v)
	return like(markup, s), err
}

func joinFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("d? attribute?")
	if err != nil {
		return nil, err
	}
	separator, err := r.str(or(p[0], ""))
	if err != nil {
		return nil, err
	}
	attr := newPath(or(p[1], nil))
	w := &writer{r: r}
	first := true
	err = r.each(v, func(item Value) error {
		of, err := attr.of(r, item)
		if err != nil {
			return err
		}
		piece, err := r.str(of)
		if err != nil {
			return err
		}
		if !first {
			if err := w.write(separator); err != nil {
				return err
			}
		}
		first = false
		return w.write(piece)
	})
	return w.b.String(), err
}

func replaceFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("old new count?")
	if err != nil {
		return nil, err
	}
	n := -1
	if count := or(p[2], nil); count != nil {
		if n, err = wantInt(count); err != nil {
			return nil, err
		}
	}
	var texts [3]string
	for i, of := range []Value{v, p[0], p[1]} {
		if texts[i], err = r.str(of); err != nil {
			return nil, err
		}
	}
	return r.replace(texts[0], texts[1], texts[2], n)
}

func trimFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("chars?")
	if err != nil {
		return nil, err
	}
	s, markup, err := r.soft(v)
	if err != nil {
		return nil, err
	}
	out, err := strip(s, or(p[0], nil), true, true)
	if err != nil {
		return nil, err
	}
	return like(markup, out), r.step(len(s))
}

// caseFilter is a filter that changes letters.
func caseFilter(f func(string) string) filterFunc {
	return func(r *run, v Value, a *given) (Value, error) {
		if _, err := a.bind(""); err != nil {
			return nil, err
		}
		s, markup, err := r.soft(v)
		if err != nil {
			return nil, err
		}
		if err := r.step(letterWork * len(s)); err != nil {
			return nil, err
		}
		out := f(s)
		return like(markup, out), r.reserve(len(out))
	}
}

// titleFilter is jinja2's title, which knows words: those after blanks, hyphens and opening brackets.
func titleFilter(r *run, v Value, a *given) (Value, error) {
	return caseFilter(func(s string) string {
		var b strings.Builder
		for s != "" {
			between := func(c rune) bool { return isSpace(c) || strings.ContainsRune("-({[<", c) }
			word := strings.TrimLeftFunc(s, between)
			b.WriteString(s[:len(s)-len(word)])
			end := strings.IndexFunc(word, between)
			if end < 0 {
				end = len(word)
			}
			if end > 0 {
				n := runeLength(word)
				b.WriteString(upper(word[:n]) + lower(word[n:end]))
			}
			s = word[end:]
		}
		return b.String()
	})(r, plainText(v), a)
}

// plainText is a Markup as a str.
func plainText(v Value) Value {
	if m, ok := v.(Markup); ok {
		return string(m)
	}
	return v
}

func centerFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("width?")
	if err != nil {
		return nil, err
	}
	s, markup, err := r.soft(v)
	if err != nil {
		return nil, err
	}
	return stringMethods["center"](r, like(markup, s), &given{pos: []Value{or(p[0], 80)}})
}

func indentFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("width? first? blank?")
	if err != nil {
		return nil, err
	}
	s, err := wantText(v)
	if err != nil {
		return nil, err
	}
	by, isText := asText(or(p[0], 4))
	if !isText {
		n, err := wantInt(or(p[0], 4))
		if err != nil {
			return nil, err
		}
		if err := r.reserve(max(n, 0)); err != nil {
			return nil, err
		}
		by = strings.Repeat(" ", max(n, 0))
	}
	_, markup := v.(Markup)
	if markup && isText {
		by = string(escape(by))
	}
	w := &writer{r: r}
	for i, line := range splitLines(s+"\n", false) {
		if i > 0 {
			if err := w.write("\n"); err != nil {
				return nil, err
			}
		}
		if i == 0 && truth(or(p[1], false)) || i > 0 && (line != "" || truth(or(p[2], false))) {
			if err := w.write(by); err != nil {
				return nil, err
			}
		}
		if err := w.write(line); err != nil {
			return nil, err
		}
	}
	return like(markup, w.b.String()), nil
}

func truncateFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("length? killwords? end? leeway?")
	if err != nil {
		return nil, err
	}
	n, err := wantInt(or(p[0], 255))
	if err != nil {
		return nil, err
	}
	end, err := wantText(or(p[2], "..."))
	if err != nil {
		return nil, err
	}
	leeway := 5
	if l := or(p[3], nil); l != nil {
		if leeway, err = wantInt(l); err != nil {
			return nil, err
		}
	}
	if n < runeCount(end) || leeway < 0 {
		return nil, errors.New("truncate wants a length that is not shorter than its end, and a leeway of " +
			"0 or more")
	}
	count, ok := length(v)
	if ok && count-leeway <= n {
		return v, r.step(count)
	}
	s, err := wantText(v)
	if err == nil {
		err = r.reserve(len(s))
	}
	if err != nil {
		return nil, err
	}
	cut := sliceText(s, &Range{0, n - runeCount(end), 1})
	if space := strings.LastIndex(cut, " "); space >= 0 && !truth(or(p[1], false)) {
		cut = cut[:space]
	}
	if _, markup := v.(Markup); markup {
		return Markup(cut + string(escape(end))), nil
	}
	return cut + end, nil
}

func wordcountFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	s, _, err := r.soft(v)
	if err != nil {
		return nil, err
	}
	words, inside := 0, false
	for _, c := range s {
		word := isAlnum(c) || c == '_'
		if word && !inside {
			words++
		}
		inside = word
	}
	return words, r.step(letterWork * len(s))
}
