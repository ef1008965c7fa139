package jinja

import (
	"errors"
	"fmt"
	"strings"
)

func (e *constant) eval(*run, *scope) (Value, error) { return e.value, nil }

func (e *variable) eval(r *run, s *scope) (Value, error) {
	if r.folding {
		return nil, errNotConstant
	}
	return s.lookup(e.name), r.step(0)
}

var errNotConstant = errors.New("it is not a constant")

// fold computes an expression that has no names, as jinja2 does before it runs a template. There, a slice of
// a value without slices is undefined instead of an error.
func (r *run) fold(e expr, s *scope) (Value, bool) {
	r.folding = true
	v, err := e.eval(r, s)
	r.folding = false
	return v, err == nil
}

// values evaluates several expressions.
func (r *run) values(items []expr, s *scope) ([]Value, error) {
	if err := r.reserve(itemBytes * len(items)); err != nil {
		return nil, err
	}
	out := make([]Value, len(items))
	for i, e := range items {
		v, err := e.eval(r, s)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (e *tupleOf) eval(r *run, s *scope) (Value, error) {
	items, err := r.values(e.items, s)
	return &Tuple{Items: items}, err
}

func (e *listOf) eval(r *run, s *scope) (Value, error) {
	items, err := r.values(e.items, s)
	return &List{items}, err
}

func (e *dictOf) eval(r *run, s *scope) (Value, error) {
	d := NewDict()
	for i := range e.keys {
		key, err := e.keys[i].eval(r, s)
		if err != nil {
			return nil, err
		}
		value, err := e.values[i].eval(r, s)
		if err != nil {
			return nil, err
		}
		if err := r.set(d, key, value); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (e *unary) eval(r *run, s *scope) (Value, error) {
	v, err := e.x.eval(r, s)
	if err != nil {
		return nil, err
	}
	return negate(e.op, v)
}

func (e *binary) eval(r *run, s *scope) (Value, error) {
	x, err := e.x.eval(r, s)
	if err != nil {
		return nil, err
	}
	y, err := e.y.eval(r, s)
	if err != nil {
		return nil, err
	}
	return r.operate(e.op, x, y)
}

func (e *notExpr) eval(r *run, s *scope) (Value, error) {
	v, err := e.x.eval(r, s)
	return !truth(v), err
}

func (e *logic) eval(r *run, s *scope) (Value, error) {
	x, err := e.x.eval(r, s)
	if err != nil || truth(x) != e.and {
		return x, err
	}
	return e.y.eval(r, s)
}

func (e *compare) eval(r *run, s *scope) (Value, error) {
	x, err := e.first.eval(r, s)
	if err != nil {
		return nil, err
	}
	for i, op := range e.ops {
		y, err := e.rest[i].eval(r, s)
		if err != nil {
			return nil, err
		}
		if ok, err := r.compare(op, x, y); err != nil || !ok {
			return false, err
		}
		x = y
	}
	return true, nil
}

// compare is x op y.
func (r *run) compare(op string, x, y Value) (ok bool, err error) {
	switch op {
	case "==":
		return r.equal(x, y)
	case "!=":
		ok, err = r.equal(x, y)
		return !ok, err
	case "in":
		return r.contains(y, x)
	case "not in":
		ok, err = r.contains(y, x)
		return !ok, err
	}
	return r.ordered(op, x, y)
}

func (e *concat) eval(r *run, s *scope) (Value, error) {
	w := &writer{r: r}
	items, err := r.values(e.items, s)
	if err != nil {
		return nil, err
	}
	for _, v := range items {
		piece, err := r.str(v)
		if err == nil {
			err = w.write(piece)
		}
		if err != nil {
			return nil, err
		}
	}
	return w.b.String(), nil
}

func (e *conditional) eval(r *run, s *scope) (Value, error) {
	test, err := e.test.eval(r, s)
	switch {
	case err != nil:
		return nil, err
	case truth(test):
		return e.then.eval(r, s)
	case e.or == nil:
		return &Undefined{"the inline if is false and has no else"}, nil
	}
	return e.or.eval(r, s)
}

func (e *attribute) eval(r *run, s *scope) (Value, error) {
	v, err := e.x.eval(r, s)
	if err != nil {
		return nil, err
	}
	return r.getattr(v, e.name)
}

func (e *itemOf) eval(r *run, s *scope) (Value, error) {
	v, err := e.x.eval(r, s)
	if err != nil {
		return nil, err
	}
	key, err := e.key.eval(r, s)
	if err != nil {
		return nil, err
	}
	return r.getitem(v, key)
}

func (e *sliceOf) eval(r *run, s *scope) (Value, error) {
	var parts [4]Value
	for i, x := range []expr{e.x, e.start, e.stop, e.step} {
		if x == nil {
			continue
		}
		v, err := x.eval(r, s)
		if err != nil {
			return nil, err
		}
		parts[i] = v
	}
	v, err := r.slice(parts[0], parts[1], parts[2], parts[3])
	if err != nil && r.folding && !errors.Is(err, errZeroStep) {
		return missing(parts[0], nil), nil
	}
	return v, err
}

// given evaluates the arguments of a call.
func (a *args) given(r *run, s *scope) (*given, error) {
	pos, err := r.values(a.pos, s)
	if err != nil {
		return nil, err
	}
	g := &given{pos: pos}
	for i, e := range a.named {
		v, err := e.eval(r, s)
		if err != nil {
			return nil, err
		}
		g.named = append(g.named, namedValue{a.names[i], v})
	}
	if a.star != nil {
		v, err := a.star.eval(r, s)
		if err != nil {
			return nil, err
		}
		more, err := r.collect(v)
		if err != nil {
			return nil, err
		}
		g.pos = append(g.pos, more...)
	}
	if a.kws != nil {
		v, err := a.kws.eval(r, s)
		if err != nil {
			return nil, err
		}
		d, ok := v.(*Dict)
		if !ok {
			return nil, fmt.Errorf("** wants a dict, not %s", typeName(v))
		}
		for _, e := range d.entries {
			if err := r.step(itemBytes * len(g.named)); err != nil { // has looks at all of them
				return nil, err
			}
			key, ok := asText(e.key)
			if !ok || g.has(key) {
				return nil, fmt.Errorf("** gives an argument that is not a new name")
			}
			g.named = append(g.named, namedValue{key, e.value})
		}
	}
	return g, nil
}

func (a *given) has(name string) bool {
	for _, n := range a.named {
		if n.name == name {
			return true
		}
	}
	return false
}

func (e *callExpr) eval(r *run, s *scope) (Value, error) {
	if r.folding {
		return nil, errNotConstant
	}
	return e.call(r, s, nil)
}

// call evaluates a call; caller is the body of {% call %}, or nil.
func (e *callExpr) call(r *run, s *scope, caller *macro) (Value, error) {
	fn, err := e.fn.eval(r, s)
	if err != nil {
		return nil, err
	}
	a, err := e.given(r, s)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		if a.has("caller") {
			return nil, fmt.Errorf("the argument caller has two values")
		}
		a.named = append(a.named, namedValue{"caller", caller})
	}
	if err := r.step(0); err != nil {
		return nil, err
	}
	switch fn := fn.(type) {
	case *function:
		return fn.call(r, a)
	case *macro:
		return fn.call(r, a)
	case *loop:
		return fn.call(r, a)
	case *joiner:
		return fn.call(r, a)
	case *Undefined:
		return nil, undefinedIn(fn)
	}
	return nil, fmt.Errorf("%s cannot be called", typeName(fn))
}

func (e *filterExpr) eval(r *run, s *scope) (Value, error) {
	if _, usesContext := contextFilters[e.name]; usesContext && r.folding {
		return nil, errNotConstant
	}
	var v Value
	var err error
	if e.x == nil {
		v = s.lookup(blockText)
	} else if v, err = e.x.eval(r, s); err != nil {
		return nil, err
	}
	a, err := e.given(r, s)
	if err != nil {
		return nil, err
	}
	return r.filter(e.name, v, a)
}

// filter is v|name(a).
func (r *run) filter(name string, v Value, a *given) (Value, error) {
	f, ok := filters[name]
	if !ok {
		return nil, fmt.Errorf("there is no filter named %s", strings.TrimSpace(name))
	}
	if err := r.step(0); err != nil {
		return nil, err
	}
	return f(r, v, a)
}

func (e *testExpr) eval(r *run, s *scope) (Value, error) {
	v, err := e.x.eval(r, s)
	if err != nil {
		return nil, err
	}
	a, err := e.given(r, s)
	if err != nil {
		return nil, err
	}
	return r.test(e.name, v, a)
}

// test is v is name(a).
func (r *run) test(name string, v Value, a *given) (bool, error) {
	t, ok := tests[name]
	if !ok {
		return false, fmt.Errorf("there is no test named %s", strings.TrimSpace(name))
	}
	if err := r.step(0); err != nil {
		return false, err
	}
	return t(r, v, a)
}
