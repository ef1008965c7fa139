package jinja

import (
	"fmt"
	"math/big"
	"strings"
)

// Value is a value of a template, with Python's meaning:
//
//	nil                 None
//	bool, int, *big.Int bool, int (a *big.Int is one that does not fit an int)
//	float64             float
//	string              str; positions in it count characters
//	Markup              markupsafe.Markup, the str that |safe and |escape give
//	*List, *Tuple       list, tuple
//	*Dict               dict
//	*Range              range
//	*view               what dict.keys(), values() and items() give
//	*iterator           a generator or an iterator: it can be walked through once
//	*Undefined          jinja2's Undefined
//	*namespace, *loop, *macro, *function, *cycler, *joiner
//
// A template cannot change the values that it gets. Only namespaces change, and the counters of loops,
// cyclers and joiners.
type Value any

// Markup is a text that is HTML already: text that is added to it is escaped first.
type Markup string

// List is a list.
type List struct{ Items []Value }

// Tuple is a tuple. named gives the fields of a named tuple.
type Tuple struct {
	Items []Value
	named []string
}

// Range is the numbers start, start+step, … before stop.
type Range struct{ start, stop, step int }

// length of the range.
func (g *Range) length() int {
	switch {
	case g.step > 0 && g.start < g.stop:
		return (g.stop-g.start-1)/g.step + 1
	case g.step < 0 && g.start > g.stop:
		return (g.start-g.stop-1)/-g.step + 1
	}
	return 0
}

func (g *Range) at(i int) Value { return g.start + i*g.step }

// view is what keys(), values() or items() of a dict give.
type view struct {
	dict *Dict
	of   string // keys, values, items
}

func (v *view) at(i int) Value {
	e := v.dict.entries[i]
	switch v.of {
	case "keys":
		return e.key
	case "values":
		return e.value
	}
	return &Tuple{Items: []Value{e.key, e.value}}
}

// iterator gives values one after another, once.
type iterator struct {
	next func() (v Value, ok bool, err error)
	kind string // Python's name of its type
}

// Undefined is the value of a variable or attribute that does not exist. It prints as nothing and counts as
// false. Most other uses are an error; text is its message.
type Undefined struct{ text string }

// namespace is the value of namespace(), whose attributes {% set ns.x = … %} changes.
type namespace struct{ attrs *Dict }

// function is a function or a method, of Go.
type function struct {
	name string
	call func(r *run, a *given) (Value, error)
}

// given are the arguments of a call.
type given struct {
	pos   []Value
	named []namedValue
}

type namedValue struct {
	name  string
	value Value
}

// typeName is Python's name of v's type.
func typeName(v Value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case Markup:
		return "Markup"
	case *List:
		return "list"
	case *Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *Range:
		return "range"
	case *view:
		return "dict_" + v.of
	case *iterator:
		return v.kind
	case *Undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	case *loop:
		return "LoopContext"
	case *macro:
		return "Macro"
	case *function:
		return "builtin_function_or_method"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return fmt.Sprintf("%T", v)
}

// asText is v as a Go string, if it is a str.
func asText(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case Markup:
		return string(v), true
	}
	return "", false
}

// asInt is v as an int, if it is a whole number that fits: also True and False, as in Python.
func asInt(v Value) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// truth is Python's bool(v).
func truth(v Value) bool {
	switch v := v.(type) {
	case nil, *Undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case Markup:
		return v != ""
	}
	if n, ok := length(v); ok {
		return n > 0
	}
	return true
}

// length is Python's len(v), for what has one.
func length(v Value) (int, bool) {
	switch v := v.(type) {
	case string:
		return runeCount(v), true
	case Markup:
		return runeCount(string(v)), true
	case *List:
		return len(v.Items), true
	case *Tuple:
		return len(v.Items), true
	case *Dict:
		return len(v.entries), true
	case *Range:
		return v.length(), true
	case *view:
		return len(v.dict.entries), true
	case *Undefined:
		return 0, true
	}
	return 0, false
}

// iterate gives v's items: Python's iter(v).
func iterate(v Value) (*iterator, error) {
	var at func(i int) Value
	n := 0
	switch v := v.(type) {
	case *iterator:
		return v, nil
	case string:
		return &iterator{runesOf(v, false), "str_iterator"}, nil
	case Markup:
		return &iterator{runesOf(string(v), false), "str_iterator"}, nil
	case *List:
		n, at = len(v.Items), func(i int) Value { return v.Items[i] }
	case *Tuple:
		n, at = len(v.Items), func(i int) Value { return v.Items[i] }
	case *Dict:
		n, at = len(v.entries), func(i int) Value { return v.entries[i].key }
	case *Range:
		n, at = v.length(), v.at
	case *view:
		n, at = len(v.dict.entries), v.at
	case *Undefined:
	case *loop:
		return &iterator{v.pair, "LoopContext"}, nil
	default:
		return nil, fmt.Errorf("%s has no items to go through", typeName(v))
	}
	return fromIndex(n, at, typeName(v)+"_iterator"), nil
}

// fromIndex is an iterator over at(0) to at(n-1).
func fromIndex(n int, at func(int) Value, kind string) *iterator {
	i := 0
	return &iterator{func() (Value, bool, error) {
		if i >= n {
			return nil, false, nil
		}
		i++
		return at(i - 1), true, nil
	}, kind}
}

// runesOf gives the characters of s, one after another.
func runesOf(s string, markup bool) func() (Value, bool, error) {
	rest := s
	return func() (Value, bool, error) {
		if rest == "" {
			return nil, false, nil
		}
		n := runeLength(rest)
		c := strings.Clone(rest[:n])
		rest = rest[n:]
		if markup {
			return Markup(c), true, nil
		}
		return c, true, nil
	}
}

// each calls f for every item of v.
func (r *run) each(v Value, f func(item Value) error) error {
	it, err := iterate(v)
	if err != nil {
		return err
	}
	for {
		item, ok, err := it.next()
		if err != nil || !ok {
			return err
		}
		if err := r.step(0); err != nil {
			return err
		}
		if err := f(item); err != nil {
			return err
		}
	}
}

// collect is Python's list(v).
func (r *run) collect(v Value) ([]Value, error) {
	items := []Value{}
	err := r.each(v, func(item Value) error {
		items = append(items, item)
		return r.reserve(itemBytes)
	})
	return items, err
}
