package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// equal is Python's x == y.
func (r *run) equal(x, y Value) (bool, error) {
	if err := r.deeper(); err != nil {
		return false, err
	}
	defer r.leave()
	if s, ok := asText(x); ok {
		t, ok := asText(y)
		return ok && s == t, r.step(min(len(s), len(t)))
	}
	if c, ok := compareNumbers(x, y); ok {
		return c == 0, nil
	}
	switch x := x.(type) {
	case nil:
		return y == nil, nil
	case *Undefined:
		_, ok := y.(*Undefined)
		return ok, nil
	case *List:
		y, ok := y.(*List)
		if !ok {
			return false, nil
		}
		return r.equalItems(x.Items, y.Items)
	case *Tuple:
		y, ok := y.(*Tuple)
		if !ok {
			return false, nil
		}
		return r.equalItems(x.Items, y.Items)
	case *Dict:
		y, ok := y.(*Dict)
		if !ok || len(x.entries) != len(y.entries) {
			return false, nil
		}
		for _, e := range x.entries {
			other, ok, err := r.get(y, e.key)
			if err != nil || !ok {
				return false, err
			}
			if same, err := r.equal(e.value, other); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case *Range:
		y, ok := y.(*Range)
		n := x.length()
		return ok && n == y.length() && (n == 0 || x.start == y.start && (n == 1 || x.step == y.step)), nil
	case *view:
		y, ok := y.(*view)
		if ok && x.of != "values" && x.of == y.of {
			return r.equalViews(x, y)
		}
	}
	return comparable(x) && comparable(y) && x == y, nil
}

// comparable reports whether Go's == can compare v.
func comparable(v Value) bool {
	switch v.(type) {
	case float64, int, bool, nil:
		return false // compared above
	}
	return true
}

func (r *run) equalItems(x, y []Value) (bool, error) {
	if len(x) != len(y) {
		return false, nil
	}
	for i := range x {
		if same, err := r.same(x[i], y[i]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (r *run) equalViews(x, y *view) (bool, error) {
	if len(x.dict.entries) != len(y.dict.entries) {
		return false, nil
	}
	for _, e := range x.dict.entries {
		other, ok, err := r.get(y.dict, e.key)
		if err != nil || !ok {
			return false, err
		}
		if x.of == "items" {
			if same, err := r.equal(e.value, other); err != nil || !same {
				return false, err
			}
		}
	}
	return true, nil
}

// same compares items of lists as Python does: by identity first, so that a list that holds a NaN contains
// it.
func (r *run) same(x, y Value) (bool, error) {
	if f, ok := x.(float64); ok && math.IsNaN(f) {
		g, ok := y.(float64)
		return ok && math.IsNaN(g), nil
	}
	return r.equal(x, y)
}

// compareNumbers compares two numbers; ok is false if one of them is not a number, or is NaN.
func compareNumbers(x, y Value) (c int, ok bool) {
	a, aWhole := toBig(x)
	b, bWhole := toBig(y)
	if aWhole && bWhole {
		return a.Cmp(b), true
	}
	f, aFloat := x.(float64)
	g, bFloat := y.(float64)
	if !aWhole && !aFloat || !bWhole && !bFloat || math.IsNaN(f) || math.IsNaN(g) {
		return 0, false
	}
	left, right := new(big.Float), new(big.Float)
	if aWhole {
		left.SetInt(a)
	} else {
		left.SetFloat64(f)
	}
	if bWhole {
		right.SetInt(b)
	} else {
		right.SetFloat64(g)
	}
	return left.Cmp(right), true
}

func isNumber(v Value) bool {
	_, isFloat := v.(float64)
	_, whole := toBig(v)
	return isFloat || whole
}

// ordered is x op y, where op is one of < <= > >=.
func (r *run) ordered(op string, x, y Value) (bool, error) {
	if err := r.deeper(); err != nil {
		return false, err
	}
	defer r.leave()
	if err := undefinedIn(x, y); err != nil {
		return false, err
	}
	c, ok := compareNumbers(x, y)
	if !ok && isNumber(x) && isNumber(y) {
		return false, nil // NaN
	}
	if s, isText := asText(x); isText && !ok {
		if t, isText := asText(y); isText {
			c, ok = strings.Compare(s, t), true
			if err := r.step(min(len(s), len(t))); err != nil {
				return false, err
			}
		}
	}
	if !ok {
		if a, isList := x.(*List); isList {
			if b, isList := y.(*List); isList {
				return r.orderedItems(op, a.Items, b.Items)
			}
		}
		if a, isTuple := x.(*Tuple); isTuple {
			if b, isTuple := y.(*Tuple); isTuple {
				return r.orderedItems(op, a.Items, b.Items)
			}
		}
		return false, fmt.Errorf("%s and %s have no order (%s)", typeName(x), typeName(y), op)
	}
	return holds(op, c), nil
}

func holds(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (r *run) orderedItems(op string, x, y []Value) (bool, error) {
	for i := range min(len(x), len(y)) {
		same, err := r.same(x[i], y[i])
		if err != nil {
			return false, err
		}
		if !same {
			return r.ordered(op, x[i], y[i])
		}
	}
	return holds(op, len(x)-len(y)), nil
}

// contains is Python's item in v.
func (r *run) contains(v, item Value) (bool, error) {
	if s, ok := asText(v); ok {
		t, ok := asText(item)
		if !ok {
			return false, fmt.Errorf("only a str can be in a str, not %s", typeName(item))
		}
		return strings.Contains(s, t), r.step(len(s) + len(t))
	}
	switch v := v.(type) {
	case *Dict:
		_, ok, err := r.get(v, item)
		return ok, err
	case *view:
		if v.of == "keys" {
			_, ok, err := r.get(v.dict, item)
			return ok, err
		}
	case *Range:
		if n, ok := asInt(item); ok {
			first, last := v.start, v.start+v.step*(v.length()-1)
			if v.step < 0 {
				first, last = last, first
			}
			return v.length() > 0 && n >= first && n <= last && (n-v.start)%v.step == 0, nil
		}
	}
	it, err := iterate(v)
	if err != nil {
		return false, fmt.Errorf("nothing can be in %s", typeName(v))
	}
	for {
		other, ok, err := it.next()
		if err != nil || !ok {
			return false, err
		}
		if same, err := r.same(other, item); err != nil || same {
			return same, err
		}
	}
}

// undefinedIn returns the error for using an undefined value.
func undefinedIn(values ...Value) error {
	for _, v := range values {
		if u, ok := v.(*Undefined); ok {
			return fmt.Errorf("%s", u.text)
		}
	}
	return nil
}
