package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// method is a method of a value.
type method func(r *run, self Value, a *given) (Value, error)

// stringMethods are the methods of str. Those of Markup are the same, escape what they are given and give
// Markup.
var stringMethods = map[string]method{
	"lower":      textMethod(lower),
	"upper":      textMethod(upper),
	"title":      textMethod(title),
	"capitalize": textMethod(capitalize),
	"swapcase":   textMethod(swapcase),
	"casefold":   textMethod(casefold),

	"isalnum":   testMethod(isAlnum),
	"isalpha":   testMethod(isAlpha),
	"isdecimal": testMethod(isDecimal),
	"isdigit":   testMethod(isDigit),
	"isnumeric": testMethod(isNumeric),
	"isspace":   testMethod(isSpace),
	"isascii": wholeTest(func(s string) bool {
		return strings.IndexFunc(s,
			func(c rune) bool { return c >= utf8.RuneSelf }) < 0
	}),
	"isidentifier": wholeTest(isIdentifier),
	"isprintable": wholeTest(func(s string) bool {
		return strings.IndexFunc(s,
			func(c rune) bool { return !isPrintable(c) }) < 0
	}),
	"islower": wholeTest(isLower),
	"isupper": wholeTest(isUpper),
	"istitle": wholeTest(isTitle),

	"strip":  stripMethod(true, true),
	"lstrip": stripMethod(true, false),
	"rstrip": stripMethod(false, true),

	"removeprefix": affixMethod(strings.TrimPrefix),
	"removesuffix": affixMethod(strings.TrimSuffix),
	"startswith":   edgeMethod(strings.HasPrefix),
	"endswith":     edgeMethod(strings.HasSuffix),

	"find":   findMethod(strings.Index, false),
	"rfind":  findMethod(strings.LastIndex, false),
	"index":  findMethod(strings.Index, true),
	"rindex": findMethod(strings.LastIndex, true),
	"count":  countMethod,

	"split":      splitMethod,
	"rsplit":     rsplitMethod,
	"splitlines": splitLinesMethod,
	"partition":  partitionMethod(strings.Index, false),
	"rpartition": partitionMethod(strings.LastIndex, true),
	"join":       joinMethod,
	"replace":    replaceMethod,

	"center":     padMethod(func(n, width int) int { return n/2 + n&width&1 }),
	"ljust":      padMethod(func(int, int) int { return 0 }),
	"rjust":      padMethod(func(n, _ int) int { return n }),
	"zfill":      zfillMethod,
	"expandtabs": expandTabsMethod,
}

func init() { // which itself looks at methods
	stringMethods["format"], stringMethods["format_map"] = formatMethod, formatMapMethod
}

// textMethod is a method without arguments that gives another text.
func textMethod(f func(string) string) method {
	return func(r *run, self Value, a *given) (Value, error) {
		if _, err := a.bind(""); err != nil {
			return nil, err
		}
		s, _ := asText(self)
		if err := r.step(letterWork * len(s)); err != nil {
			return nil, err
		}
		out := f(s)
		return sameKind(self, out), r.reserve(len(out))
	}
}

// sameKind is s as a str or as Markup, as self is.
func sameKind(self Value, s string) Value {
	_, markup := self.(Markup)
	return like(markup, s)
}

// testMethod is a method that asks whether all characters, and at least one, are of a kind.
func testMethod(f func(rune) bool) method {
	return wholeTest(func(s string) bool {
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !f(c) }) < 0
	})
}

func wholeTest(f func(string) bool) method {
	return func(r *run, self Value, a *given) (Value, error) {
		if _, err := a.bind(""); err != nil {
			return nil, err
		}
		s, _ := asText(self)
		return f(s), r.step(len(s))
	}
}

func stripMethod(left, right bool) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/chars?")
		if err != nil {
			return nil, err
		}
		s, _ := asText(self)
		out, err := strip(s, or(v[0], nil), left, right)
		if err != nil {
			return nil, err
		}
		return sameKind(self, out), r.step(len(s))
	}
}

// strip drops characters at the ends of s: those in chars, a str, or blanks where chars is None.
func strip(s string, chars Value, left, right bool) (string, error) {
	drop := isSpace
	if chars != nil {
		set, err := wantText(chars)
		if err != nil {
			return "", err
		}
		in := map[rune]bool{}
		for _, c := range set {
			in[c] = true
		}
		drop = func(c rune) bool { return in[c] }
	}
	if left {
		s = strings.TrimLeftFunc(s, drop)
	}
	if right {
		s = strings.TrimRightFunc(s, drop)
	}
	return s, nil
}

func affixMethod(f func(s, affix string) string) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/affix")
		if err != nil {
			return nil, err
		}
		affix, err := wantText(v[0])
		if err != nil {
			return nil, err
		}
		s, _ := asText(self)
		return sameKind(self, f(s, affix)), r.step(len(affix))
	}
}

// part is the part of s between the characters that start and end, given like the bounds of a slice, name.
// from is its place in s, in characters; ok is false where it begins behind the end of s.
func (r *run) part(s string, start, end Value) (part string, from int, ok bool, err error) {
	if start == (absent{}) && end == (absent{}) {
		return s, 0, true, r.step(0)
	}
	if err := r.step(len(s)); err != nil {
		return "", 0, false, err
	}
	n := runeCount(s)
	low, err := sliceIndex(or(start, nil), 0)
	if err != nil {
		return "", 0, false, err
	}
	high, err := sliceIndex(or(end, nil), n)
	if err != nil {
		return "", 0, false, err
	}
	if low < 0 {
		low = max(low+n, 0)
	}
	if high < 0 {
		high = max(high+n, 0)
	}
	high = min(high, n)
	if low > high {
		return "", low, false, nil
	}
	return sliceText(s, &Range{low, high, 1}), low, true, nil
}

func edgeMethod(f func(s, edge string) bool) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/affix /start? /end?")
		if err != nil {
			return nil, err
		}
		s, _ := asText(self)
		edges := []Value{v[0]}
		if t, ok := v[0].(*Tuple); ok {
			edges = t.Items
		}
		s, _, ok, err := r.part(s, v[1], v[2])
		if err != nil {
			return nil, err
		}
		for _, e := range edges {
			edge, err := wantText(e)
			if err != nil {
				return nil, err
			}
			if err := r.step(len(edge)); err != nil {
				return nil, err
			}
			if ok && f(s, edge) {
				return true, nil
			}
		}
		return false, nil
	}
}

func findMethod(f func(s, sub string) int, must bool) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/sub /start? /end?")
		if err != nil {
			return nil, err
		}
		sub, err := wantText(v[0])
		if err != nil {
			return nil, err
		}
		s, _ := asText(self)
		s, from, ok, err := r.part(s, v[1], v[2])
		if err != nil {
			return nil, err
		}
		if err := r.step(len(s)); err != nil {
			return nil, err
		}
		if i := f(s, sub); ok && i >= 0 {
			return from + runeCount(s[:i]), nil
		}
		if must {
			return nil, errors.New("the str does not have what index() looks for")
		}
		return -1, nil
	}
}

func countMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("/sub /start? /end?")
	if err != nil {
		return nil, err
	}
	sub, err := wantText(v[0])
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	s, _, ok, err := r.part(s, v[1], v[2])
	if err != nil || !ok {
		return 0, err
	}
	return strings.Count(s, sub), r.step(len(s))
}

func partitionMethod(f func(s, sep string) int, last bool) method {
	return func(r *run, self Value, a *given) (Value, error) {
		v, err := a.bind("/sep")
		if err != nil {
			return nil, err
		}
		sep, err := wantText(v[0])
		if err != nil {
			return nil, err
		}
		if sep == "" {
			return nil, errEmptySeparator
		}
		s, _ := asText(self)
		parts := []string{s, "", ""}
		if last {
			parts = []string{"", "", s}
		}
		if i := f(s, sep); i >= 0 {
			parts = []string{s[:i], sep, s[i+len(sep):]}
		}
		items := make([]Value, 3)
		for i, p := range parts {
			items[i] = sameKind(self, p)
		}
		return &Tuple{Items: items}, r.step(len(s))
	}
}

func joinMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("/items")
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	_, markup := self.(Markup)
	w := &writer{r: r}
	n := 0
	err = r.each(v[0], func(item Value) error {
		if markup {
			item = escape(item)
		}
		piece, ok := asText(item)
		if !ok {
			return fmt.Errorf("join wants str, but item %d is %s", n, typeName(item))
		}
		if n++; n > 1 {
			if err := w.write(s); err != nil {
				return err
			}
		}
		return w.write(piece)
	})
	return like(markup, w.b.String()), err
}

func replaceMethod(r *run, self Value, a *given) (Value, error) {
	v, err := a.bind("/old /new /count?")
	if err != nil {
		return nil, err
	}
	n, err := wantInt(or(v[2], -1))
	if err != nil {
		return nil, err
	}
	old, err := wantText(v[0])
	if err != nil {
		return nil, err
	}
	if _, ok := self.(Markup); ok {
		v[1] = escape(v[1])
	}
	instead, err := wantText(v[1])
	if err != nil {
		return nil, err
	}
	s, _ := asText(self)
	out, err := r.replace(s, old, instead, n)
	return sameKind(self, out), err
}

// replace replaces the first n occurrences of old in s; all of them if n is negative.
func (r *run) replace(s, old, instead string, n int) (string, error) {
	if err := r.step(len(s)); err != nil {
		return "", err
	}
	times := strings.Count(s, old)
	if n >= 0 {
		times = min(times, n)
	}
	if err := r.reserveTimes(times, len(instead)); err != nil {
		return "", err
	}
	if err := r.reserve(len(s)); err != nil {
		return "", err
	}
	return strings.Replace(s, old, instead, n), nil
}
