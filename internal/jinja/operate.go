package jinja

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"
)

// operate is x op y of any two values.
func (r *run) operate(op string, x, y Value) (Value, error) {
	if err := r.step(0); err != nil {
		return nil, err
	}
	s, isText := asText(x)
	if _, undefined := y.(*Undefined); isText && undefined && op == "%" {
		return r.formatPercent(x, s, y) // str comes first, and may print it
	}
	if err := undefinedIn(x, y); err != nil {
		return nil, err
	}
	if isText && op == "%" {
		return r.formatPercent(x, s, y)
	}
	v, ok, err := arithmetic(op, x, y)
	if ok {
		return v, err
	}
	switch op {
	case "+":
		v, ok, err = r.join(x, y)
	case "*":
		n, whole := asInt(y)
		of := x
		if !whole {
			n, whole = asInt(x)
			of = y
		}
		if whole {
			v, ok, err = r.repeat(of, n)
		}
	}
	if ok {
		return v, err
	}
	return nil, fmt.Errorf("%s %s %s is not possible", typeName(x), op, typeName(y))
}

// join is x + y of texts, lists and tuples.
func (r *run) join(x, y Value) (v Value, ok bool, err error) {
	s, isText := asText(x)
	t, isText2 := asText(y)
	if isText && isText2 {
		_, safe := x.(Markup)
		_, safe2 := y.(Markup)
		if safe != safe2 { // escape the one that is not HTML yet
			s, t = string(escape(x)), string(escape(y))
		}
		if err := r.reserve(len(s) + len(t)); err != nil {
			return nil, true, err
		}
		return like(safe || safe2, s+t), true, nil
	}
	switch x := x.(type) {
	case *List:
		if y, ok := y.(*List); ok {
			items, err := r.joinItems(x.Items, y.Items)
			return &List{items}, true, err
		}
	case *Tuple:
		if y, ok := y.(*Tuple); ok {
			items, err := r.joinItems(x.Items, y.Items)
			return &Tuple{Items: items}, true, err
		}
	}
	return nil, false, nil
}

func (r *run) joinItems(x, y []Value) ([]Value, error) {
	if err := r.reserveTimes(len(x)+len(y), itemBytes); err != nil {
		return nil, err
	}
	return append(append(make([]Value, 0, len(x)+len(y)), x...), y...), nil
}

// repeat is v * n.
func (r *run) repeat(v Value, n int) (Value, bool, error) {
	n = max(n, 0)
	if s, ok := asText(v); ok {
		if err := r.reserveTimes(n, len(s)); err != nil {
			return nil, true, err
		}
		_, safe := v.(Markup)
		if s == "" {
			n = 0
		}
		return like(safe, strings.Repeat(s, n)), true, nil
	}
	items, isList := v.(*List)
	tuple, isTuple := v.(*Tuple)
	if !isList && !isTuple {
		return nil, false, nil
	}
	var of []Value
	if isList {
		of = items.Items
	} else {
		of = tuple.Items
	}
	if err := r.reserveTimes(n, itemBytes*len(of)); err != nil {
		return nil, true, err
	}
	out := make([]Value, 0, n*len(of))
	for range n {
		if len(of) == 0 {
			break
		}
		out = append(out, of...)
	}
	if isList {
		return &List{out}, true, nil
	}
	return &Tuple{Items: out}, true, nil
}

// like is s as a str, or as Markup.
func like(markup bool, s string) Value {
	if markup {
		return Markup(s)
	}
	return s
}

// negate is -v or +v.
func negate(op string, v Value) (Value, error) {
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	n, whole := toBig(v)
	f, isFloat := v.(float64)
	switch {
	case whole && op == "-":
		return normal(new(big.Int).Neg(n)), nil
	case whole:
		return normal(n), nil
	case isFloat && op == "-":
		return -f, nil
	case isFloat:
		return f, nil
	}
	return nil, fmt.Errorf("%s%s is not possible", op, typeName(v))
}

// item is v[key] without the rules of jinja2; ok is false where there is no such item.
func (r *run) item(v, key Value) (_ Value, ok bool, err error) {
	if d, isDict := v.(*Dict); isDict {
		value, ok, err := r.get(d, key)
		var limit *LimitError
		if err != nil && !errors.As(err, &limit) {
			return nil, false, nil // a key that cannot be one
		}
		return value, ok, err
	}
	i, whole := asInt(key)
	if !whole {
		return nil, false, nil
	}
	if s, isText := asText(v); isText {
		if err := r.step(len(s)); err != nil {
			return nil, false, err
		}
		c, ok := runeAt(s, i)
		_, safe := v.(Markup)
		return like(safe, c), ok, nil
	}
	var at func(int) Value
	switch v := v.(type) {
	case *List:
		at = func(i int) Value { return v.Items[i] }
	case *Tuple:
		at = func(i int) Value { return v.Items[i] }
	case *Range:
		at = v.at
	default:
		return nil, false, nil
	}
	n, _ := length(v)
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return nil, false, nil
	}
	return at(i), true, nil
}

var errZeroStep = errors.New("the step of a slice is 0")

// slice returns v[start:stop:step]; nil means that a bound is left out.
func (r *run) slice(v, start, stop, step Value) (Value, error) {
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	n, ok := length(v)
	_, isDict := v.(*Dict)
	_, isView := v.(*view)
	if !ok || isDict || isView {
		return nil, fmt.Errorf("%s has no slices", typeName(v))
	}
	by, err := sliceIndex(step, 1)
	if err != nil {
		return nil, err
	}
	if by == 0 {
		return nil, errZeroStep
	}
	low, high := 0, n
	if by < 0 {
		low, high = -1, n-1
	}
	bound := func(v Value, missing int) (int, error) {
		i, err := sliceIndex(v, missing)
		if v == nil || err != nil {
			return missing, err
		}
		if i < 0 {
			i += n
		}
		return min(max(i, low), high), nil
	}
	first, last := low, high
	if by < 0 {
		first, last = high, low
	}
	if first, err = bound(start, first); err != nil {
		return nil, err
	}
	if last, err = bound(stop, last); err != nil {
		return nil, err
	}
	by = min(max(by, -n-1), n+1)
	indices := &Range{first, last, by}
	if s, isText := asText(v); isText {
		_, safe := v.(Markup)
		if by != 1 { // every character is decoded
			if err := r.step(letterWork * len(s)); err != nil {
				return nil, err
			}
		}
		if err := r.reserve(len(s)); err != nil {
			return nil, err
		}
		return like(safe, sliceText(s, indices)), nil
	}
	if whole, ok := v.(*Range); ok {
		return &Range{whole.start + first*whole.step, whole.start + last*whole.step, by * whole.step}, nil
	}
	var items []Value
	switch v := v.(type) {
	case *List:
		items = v.Items
	case *Tuple:
		items = v.Items
	}
	if err := r.reserve(itemBytes * indices.length()); err != nil {
		return nil, err
	}
	out := make([]Value, 0, indices.length())
	for i := range indices.length() {
		out = append(out, items[first+i*by])
	}
	if _, ok := v.(*Tuple); ok {
		return &Tuple{Items: out}, nil
	}
	return &List{out}, nil
}

func sliceIndex(v Value, missing int) (int, error) {
	if v == nil {
		return missing, nil
	}
	if n, ok := v.(*big.Int); ok {
		return n.Sign() * (1 << 40), nil
	}
	i, ok := asInt(v)
	if !ok {
		return 0, fmt.Errorf("a slice has whole numbers, not %s", typeName(v))
	}
	return min(max(i, -1<<40), 1<<40), nil
}

// sliceText is the characters of s at indices.
func sliceText(s string, indices *Range) string {
	if indices.step == 1 {
		if indices.length() == 0 {
			return ""
		}
		from := byteOffset(s, indices.start)
		return s[from : from+byteOffset(s[from:], indices.length())]
	}
	runes := []rune(s)
	var b strings.Builder
	for i := range indices.length() {
		b.WriteRune(runes[indices.start+i*indices.step])
	}
	return b.String()
}

func runeCount(s string) int  { return utf8.RuneCountInString(s) }
func runeLength(s string) int { _, n := utf8.DecodeRuneInString(s); return n }

// byteOffset is where character i of s begins, from 0.
func byteOffset(s string, i int) int {
	for offset := range s {
		if i == 0 {
			return offset
		}
		i--
	}
	return len(s)
}

// runeAt is character i of s; from the end where i is negative.
func runeAt(s string, i int) (string, bool) {
	if i < 0 {
		if i += runeCount(s); i < 0 {
			return "", false
		}
	}
	from := byteOffset(s, i)
	if from == len(s) {
		return "", false
	}
	return s[from : from+runeLength(s[from:])], true
}
