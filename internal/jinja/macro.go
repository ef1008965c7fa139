package jinja

import (
	"fmt"
	"slices"
)

// macro is a macro, or the body of a call block, with the scope that it was defined in.
type macro struct {
	def   *macroDef
	scope *scope
}

// call runs the macro and gives its text. What arguments it takes is jinja2's Macro.__call__.
func (m *macro) call(r *run, a *given) (Value, error) {
	inner := newScope(m.scope)
	def := m.def
	missing := &Undefined{} // of parameters that have no value yet
	for _, p := range def.params {
		inner.vars[p] = &Undefined{"parameter " + quote(p) + " was not provided"}
	}
	values := make([]Value, len(def.params))
	named := slices.Clone(a.named)
	take := func(name string) Value {
		for i, n := range named {
			if n.name == name {
				named = slices.Delete(named, i, i+1)
				return n.value
			}
		}
		return missing
	}
	foundCaller := slices.Contains(def.params, "caller")
	for i, p := range def.params {
		if i < len(a.pos) {
			values[i] = a.pos[i]
		} else {
			values[i] = take(p)
		}
	}
	if def.caller && !foundCaller {
		v := take("caller")
		if v == missing || v == nil {
			v = &Undefined{"No caller defined"}
		}
		inner.vars["caller"] = v
	}
	if def.kwargs && !slices.Contains(def.params, "kwargs") {
		d := NewDict()
		for _, n := range named {
			d.Set(n.name, n.value)
		}
		inner.vars["kwargs"] = d
	} else if len(named) > 0 {
		return nil, fmt.Errorf("macro %s has no parameter %s", def.name, named[0].name)
	}
	var rest []Value
	if len(a.pos) > len(def.params) {
		rest = a.pos[len(def.params):]
	}
	if def.varargs && !slices.Contains(def.params, "varargs") {
		inner.vars["varargs"] = &Tuple{Items: rest}
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("macro %s takes %d values, not %d", def.name, len(def.params), len(a.pos))
	}
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer func() { r.calls-- }()
	// Defaults see the parameters before them.
	for i, p := range def.params {
		if values[i] != missing {
			inner.vars[p] = values[i]
		}
	}
	for i, p := range def.params {
		d := i - (len(def.params) - len(def.defaults))
		if values[i] != missing || d < 0 {
			continue
		}
		v, err := def.defaults[d].eval(r, inner)
		if err != nil {
			return nil, err
		}
		inner.vars[p] = v
	}
	return r.capture(func() error {
		_, err := r.statements(def.body, inner)
		return err
	})
}

// attr is macro.name.
func (m *macro) attr(name string) (Value, bool) {
	switch name {
	case "name":
		if m.def.name == "" {
			return nil, true
		}
		return m.def.name, true
	case "arguments":
		items := make([]Value, len(m.def.params))
		for i, p := range m.def.params {
			items[i] = p
		}
		return &Tuple{Items: items}, true
	case "catch_kwargs":
		return m.def.kwargs, true
	case "catch_varargs":
		return m.def.varargs, true
	case "caller":
		return m.def.caller, true
	case "explicit_caller":
		return slices.Contains(m.def.params, "caller"), true
	}
	return nil, false
}
