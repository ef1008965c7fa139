package jinja

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// getattr is v.name in a template: an attribute, or else the item of that name.
func (r *run) getattr(v Value, name string) (Value, error) {
	if err := r.step(0); err != nil {
		return nil, err
	}
	a, ok, err := r.attr(v, name)
	if err != nil || ok {
		return a, err
	}
	item, ok, err := r.item(v, name)
	if err != nil || ok {
		return item, err
	}
	return missing(v, name), nil
}

// getitem is v[key] in a template: an item, or else the attribute of that name.
func (r *run) getitem(v, key Value) (Value, error) {
	if err := r.step(0); err != nil {
		return nil, err
	}
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	item, ok, err := r.item(v, key)
	if err != nil || ok {
		return item, err
	}
	if name, isText := asText(key); isText {
		a, ok, err := r.attr(v, name)
		if err != nil || ok {
			return a, err
		}
		return missing(v, name), nil
	}
	return missing(v, key), nil
}

// missing is the value of an attribute or item that v does not have.
func missing(v, key Value) Value {
	what := typeName(v)
	if v == nil {
		what = "None"
	}
	if name, ok := asText(key); ok {
		return &Undefined{fmt.Sprintf("%s has no attribute %s", what, quote(name))}
	}
	return &Undefined{what + " has no such element"}
}

// unsafe lists the methods that would change a list or a dict.
var unsafe = map[string][]string{
	"list": {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// everyObject lists attributes that every Python value has and that templates must not see.
var everyObject = []string{
	"__class__", "__doc__", "__init__", "__dir__", "__eq__", "__hash__", "__repr__",
	"__str__", "__new__", "__reduce__",
}

// attr returns v's own attribute; ok is false if there is none of that name.
func (r *run) attr(v Value, name string) (_ Value, ok bool, err error) {
	if u, isUndefined := v.(*Undefined); isUndefined {
		if !slices.Contains(everyObject, name) {
			return nil, false, undefinedIn(u)
		}
	}
	if slices.Contains(everyObject, name) {
		return &Undefined{fmt.Sprintf("%s.%s is not possible: a template sees nothing of Python", typeName(v),
			name)}, true, nil
	}
	if slices.Contains(unsafe[typeName(v)], name) {
		return &Undefined{fmt.Sprintf("%s.%s is not possible: a template changes no values", typeName(v),
			name)}, true, nil
	}
	switch v := v.(type) {
	case string:
		if m, ok := stringMethods[name]; ok {
			return bound(name, v, m), true, nil
		}
	case Markup:
		if m, ok := stringMethods[name]; ok {
			return bound(name, v, m), true, nil
		}
	case *Dict:
		if m, ok := dictMethods[name]; ok {
			return bound(name, v, m), true, nil
		}
	case *List:
		if m, ok := listMethods[name]; ok {
			return bound(name, v, m), true, nil
		}
	case *Tuple:
		if i := slices.Index(v.named, name); i >= 0 {
			return v.Items[i], true, nil
		}
		if m, ok := listMethods[name]; ok && name != "copy" {
			return bound(name, v, m), true, nil
		}
	case *Range:
		switch name {
		case "start":
			return v.start, true, nil
		case "stop":
			return v.stop, true, nil
		case "step":
			return v.step, true, nil
		}
		if m, ok := listMethods[name]; ok && name != "copy" {
			return bound(name, v, m), true, nil
		}
	case *namespace:
		if strings.HasPrefix(name, "_") {
			return nil, false, nil
		}
		a, ok := v.attrs.text(name)
		return a, ok, nil
	case *loop:
		return v.attr(r, name)
	case *macro:
		a, ok := v.attr(name)
		return a, ok, nil
	case *cycler:
		a, ok := v.attr(name)
		return a, ok, nil
	case *joiner:
		switch name {
		case "sep":
			return v.sep, true, nil
		case "used":
			return v.used, true, nil
		}
	case bool, int, *big.Int, float64:
		a, ok := numberAttr(v, name)
		return a, ok, nil
	}
	return nil, false, nil
}

// bound is a method of v.
func bound(name string, v Value, m method) Value {
	return &function{name, func(r *run, a *given) (Value, error) { return m(r, v, a) }}
}
