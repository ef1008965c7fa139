package jinja

import (
	"fmt"
	"math/big"
	"strings"
)

// absent is the value of a parameter that was not given.
type absent struct{}

// bind puts arguments in the order of a function's parameters. In params, names stand between blanks: "?"
// behind one makes it optional, "/" before one lets it be given by position only.
func (a *given) bind(params string) ([]Value, error) {
	names := strings.Fields(params)
	if len(a.pos) > len(names) {
		return nil, fmt.Errorf("%d arguments were given, not %d or fewer", len(a.pos), len(names))
	}
	values := make([]Value, len(names))
	used := 0
	for i, n := range names {
		n, optional := strings.CutSuffix(n, "?")
		n, positional := strings.CutPrefix(n, "/")
		values[i] = absent{}
		if i < len(a.pos) {
			values[i] = a.pos[i]
		}
		for _, given := range a.named {
			if given.name != n || positional {
				continue
			}
			if i < len(a.pos) {
				return nil, fmt.Errorf("the argument %s has two values", n)
			}
			values[i] = given.value
			used++
		}
		if values[i] == (absent{}) && !optional {
			return nil, fmt.Errorf("the argument %s is missing", n)
		}
	}
	if used < len(a.named) {
		return nil, fmt.Errorf("there is no argument named %s here", a.unknown(names))
	}
	return values, nil
}

// unknown returns the first named argument that is not in names.
func (a *given) unknown(names []string) string {
	for _, n := range a.named {
		known := false
		for _, name := range names {
			known = known || strings.TrimSuffix(name, "?") == n.name
		}
		if !known {
			return n.name
		}
	}
	return ""
}

// or returns v, or instead if v was not given.
func or(v, instead Value) Value {
	if v == (absent{}) {
		return instead
	}
	return v
}

// wantInt returns v as a whole number, limited to the range of int.
func wantInt(v Value) (int, error) {
	if n, ok := v.(*big.Int); ok {
		return n.Sign() * (1 << 62), nil
	}
	if err := undefinedIn(v); err != nil {
		return 0, err
	}
	n, ok := asInt(v)
	if !ok {
		return 0, fmt.Errorf("a whole number is wanted, not %s", typeName(v))
	}
	return n, nil
}

// wantText returns v, which must be a str.
func wantText(v Value) (string, error) {
	if err := undefinedIn(v); err != nil {
		return "", err
	}
	s, ok := asText(v)
	if !ok {
		return "", fmt.Errorf("a str is wanted, not %s", typeName(v))
	}
	return s, nil
}

// soft is jinja2's soft_str: it converts every value but a str to a str.
func (r *run) soft(v Value) (s string, markup bool, err error) {
	_, markup = v.(Markup)
	s, err = r.str(v)
	return s, markup, err
}
