package jinja

import (
	"errors"
	"fmt"
)

// signal is how a statement ended.
type signal uint8

const (
	goOn signal = iota
	leaveLoop
	nextRound
)

// statements runs a body in scope s.
func (r *run) statements(body []stmt, s *scope) (signal, error) {
	for _, st := range body {
		if err := r.step(0); err != nil {
			return goOn, err
		}
		if sig, err := st.exec(r, s); err != nil || sig != goOn {
			return sig, err
		}
	}
	return goOn, nil
}

func (o *output) exec(r *run, s *scope) (signal, error) {
	for _, p := range o.parts {
		written := p.text
		if p.expr != nil {
			v, err := r.value(&p, s)
			if err == nil {
				written, err = r.str(v)
			}
			if err != nil {
				return goOn, at(p.line, err)
			}
		}
		if err := r.write(written); err != nil {
			return goOn, at(p.line, err)
		}
	}
	return goOn, nil
}

// value is the value of {{ }}.
func (r *run) value(p *part, s *scope) (Value, error) {
	if p.fold {
		if v, ok := r.fold(p.expr, s); ok {
			return v, nil
		}
	}
	return p.expr.eval(r, s)
}

func (st *ifStmt) exec(r *run, s *scope) (signal, error) {
	v, err := st.test.eval(r, s)
	if err != nil {
		return goOn, at(st.line, err)
	}
	if truth(v) {
		return r.statements(st.then, s)
	}
	return r.statements(st.or, s)
}

func (st *breakStmt) exec(*run, *scope) (signal, error) { return st.signal, nil }

func (st *setStmt) exec(r *run, s *scope) (signal, error) {
	if err := checkNamespaces(&st.target, s); err != nil {
		return goOn, at(st.line, err)
	}
	v, err := st.value.eval(r, s)
	if err == nil {
		err = r.assign(&st.target, v, s)
	}
	return goOn, at(st.line, err)
}

func (st *setBlock) exec(r *run, s *scope) (signal, error) {
	inner := newScope(s)
	var sig signal
	written, err := r.capture(func() (err error) {
		sig, err = r.statements(st.body, inner)
		return err
	})
	if err != nil || sig != goOn {
		return sig, err
	}
	var v Value = written
	if st.filter != nil {
		v, err = r.filterText(st.filter, written, inner)
	}
	if err == nil {
		err = checkNamespaces(&st.target, s)
	}
	if err == nil {
		err = r.assign(&st.target, v, s)
	}
	return goOn, at(st.line, err)
}

func (st *withStmt) exec(r *run, s *scope) (signal, error) {
	inner := newScope(s)
	for i, value := range st.values {
		v, err := value.eval(r, s)
		if err == nil {
			err = r.assign(&st.targets[i], v, inner)
		}
		if err != nil {
			return goOn, at(st.line, err)
		}
	}
	return r.statements(st.body, inner)
}

func (st *filterBlock) exec(r *run, s *scope) (signal, error) {
	inner := newScope(s)
	var sig signal
	written, err := r.capture(func() (err error) {
		sig, err = r.statements(st.body, inner)
		return err
	})
	if err != nil || sig != goOn {
		return sig, err
	}
	v, err := r.filterText(st.filter, written, inner)
	if err == nil {
		err = r.writeText(v)
	}
	return goOn, at(st.line, err)
}

// filterText runs the filters of a block on its text.
func (r *run) filterText(filter expr, written string, s *scope) (Value, error) {
	inner := newScope(s)
	inner.vars[blockText] = written
	return filter.eval(r, inner)
}

// blockText is a name that no template can use.
const blockText = " text"

func (st *macroStmt) exec(r *run, s *scope) (signal, error) {
	s.vars[st.macro.name] = &macro{&st.macro, s}
	return goOn, nil
}

func (st *callBlock) exec(r *run, s *scope) (signal, error) {
	caller := &macro{&st.caller, s}
	v, err := st.call.call(r, s, caller)
	if err == nil {
		err = r.writeText(v)
	}
	return goOn, at(st.line, err)
}

// writeText writes what a call block or filter block gave. Unlike {{ }}, these make no str of other values.
func (r *run) writeText(v Value) error {
	s, err := wantText(v)
	if err != nil {
		return err
	}
	return r.write(s)
}

func (st *scopeStmt) exec(r *run, s *scope) (signal, error) {
	return r.statements(st.body, newScope(s))
}

func (st *blockStmt) exec(r *run, s *scope) (signal, error) {
	if st.required {
		return goOn, at(st.line, fmt.Errorf("the block %s is required: another template has to fill it",
			st.name))
	}
	// Only a scoped block sees the variables of the loops and blocks around it.
	if !st.scoped {
		s = r.top
	}
	if err := r.enter(); err != nil {
		return goOn, at(st.line, err)
	}
	defer func() { r.calls-- }()
	inner := newScope(s)
	inner.vars["super"] = &Undefined{fmt.Sprintf("there is no parent block called %s", quote(st.name))}
	return r.statements(st.body, inner)
}

func (st *refused) exec(*run, *scope) (signal, error) {
	return goOn, &Error{st.line, st.what + " is not possible: a chat template is one file"}
}

var errNoNamespace = errors.New("only attributes of a namespace() can be set")

// checkNamespaces refuses attributes of anything but namespaces, before a value is computed.
func checkNamespaces(t *target, s *scope) error {
	if t.is == toAttr {
		if _, ok := s.lookup(t.name).(*namespace); !ok {
			return errNoNamespace
		}
	}
	for i := range t.tuple {
		if err := checkNamespaces(&t.tuple[i], s); err != nil {
			return err
		}
	}
	return nil
}

// assign sets what t names in scope s.
func (r *run) assign(t *target, v Value, s *scope) error {
	switch t.is {
	case toAttr:
		ns, ok := s.lookup(t.name).(*namespace)
		if !ok {
			return errNoNamespace
		}
		return r.set(ns.attrs, t.attr, v)
	case toTuple:
		n := 0
		err := r.each(v, func(item Value) error {
			if n++; n > len(t.tuple) {
				return fmt.Errorf("too many values for %d names", len(t.tuple))
			}
			return r.assign(&t.tuple[n-1], item, s)
		})
		if err == nil && n < len(t.tuple) {
			err = fmt.Errorf("%d values for %d names", n, len(t.tuple))
		}
		return err
	}
	s.vars[t.name] = v
	return nil
}

// self is the variable of that name: a function for every block.
func (r *run) self() Value {
	attrs := NewDict()
	for name, block := range r.template.blocks {
		attrs.Set(name, &function{name, func(r *run, _ *given) (Value, error) {
			return r.capture(func() error {
				_, err := block.exec(r, r.top)
				return err
			})
		}})
	}
	return &namespace{attrs}
}
