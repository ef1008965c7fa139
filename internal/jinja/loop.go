package jinja

import (
	"errors"
	"fmt"
)

// loop is the variable of that name within a for: jinja2's LoopContext. It walks through the items one ahead
// at most, so that it takes as few items from a generator as Python does.
type loop struct {
	items   *iterator
	length  int     // -1: not known yet
	ahead   []Value // items taken from the iterator but not yet used
	index0  int
	current Value
	before  Value
	changed Value
	depth0  int
	again   func(r *run, items Value) (Value, error) // loop(items) of a recursive loop; nil in others
	all     Value
}

// next moves on to the next item.
func (l *loop) next() (Value, bool, error) {
	v, ok, err := l.peek()
	if err != nil || !ok {
		return nil, false, err
	}
	l.ahead = l.ahead[1:]
	l.index0++
	l.before, l.current = l.current, v
	return v, true, nil
}

// pair is one item of a loop over the loop variable itself.
func (l *loop) pair() (Value, bool, error) {
	v, ok, err := l.next()
	return &Tuple{Items: []Value{v, l}}, ok, err
}

// peek is the next item.
func (l *loop) peek() (Value, bool, error) {
	if len(l.ahead) > 0 {
		return l.ahead[0], true, nil
	}
	v, ok, err := l.items.next()
	if ok {
		l.ahead = append(l.ahead, v)
	}
	return v, ok, err
}

// count returns the number of items. It takes all items of a generator.
func (l *loop) count(r *run) (int, error) {
	if l.length >= 0 {
		return l.length, nil
	}
	if n, ok := length(l.all); ok {
		l.length = n
		return n, nil
	}
	rest, err := r.collect(l.items)
	if err != nil {
		return 0, err
	}
	l.ahead = append(l.ahead, rest...)
	l.length = l.index0 + 1 + len(l.ahead)
	return l.length, nil
}

// attr is loop.name.
func (l *loop) attr(r *run, name string) (Value, bool, error) {
	switch name {
	case "index":
		return l.index0 + 1, true, nil
	case "index0":
		return l.index0, true, nil
	case "first":
		return l.index0 == 0, true, nil
	case "last":
		_, ok, err := l.peek()
		return !ok, true, err
	case "length", "revindex", "revindex0":
		n, err := l.count(r)
		switch name {
		case "revindex":
			n -= l.index0
		case "revindex0":
			n -= l.index0 + 1
		}
		return n, true, err
	case "depth":
		return l.depth0 + 1, true, nil
	case "depth0":
		return l.depth0, true, nil
	case "previtem":
		if l.index0 == 0 {
			return &Undefined{"there is no previous item"}, true, nil
		}
		return l.before, true, nil
	case "nextitem":
		v, ok, err := l.peek()
		if !ok {
			return &Undefined{"there is no next item"}, true, err
		}
		return v, true, err
	case "cycle":
		return &function{name, func(_ *run, a *given) (Value, error) {
			if len(a.pos) == 0 {
				return nil, errors.New("loop.cycle wants values")
			}
			return a.pos[l.index0%len(a.pos)], nil
		}}, true, nil
	case "changed":
		return &function{name, func(r *run, a *given) (Value, error) {
			now := &Tuple{Items: a.pos}
			if l.changed != nil {
				if same, err := r.equal(l.changed, now); err != nil || same {
					return false, err
				}
			}
			l.changed = now
			return true, nil
		}}, true, nil
	}
	return nil, false, nil
}

func (st *forStmt) exec(r *run, s *scope) (signal, error) {
	items, err := st.items.eval(r, s)
	if err != nil {
		return goOn, at(st.line, err)
	}
	if !st.recursive {
		sig, err := st.loop(r, s, items, 0)
		return sig, at(st.line, err)
	}
	v, err := st.nested(r, s, items, 0)
	if err == nil {
		err = r.write(v.(string))
	}
	return goOn, at(st.line, err)
}

// nested runs a recursive loop over items, and gives its text.
func (st *forStmt) nested(r *run, s *scope, items Value, depth int) (Value, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer func() { r.calls-- }()
	return r.capture(func() error {
		_, err := st.loop(r, s, items, depth)
		return err
	})
}

// loop runs the body for every item. If there are none it runs the else body, which may leave an outer loop.
func (st *forStmt) loop(r *run, s *scope, items Value, depth int) (signal, error) {
	it, err := iterate(items)
	if err != nil {
		return goOn, err
	}
	if st.test != nil {
		it = st.filtered(r, s, it)
		items = it
	}
	l := &loop{items: it, all: items, length: -1, index0: -1, depth0: depth}
	if st.recursive {
		l.again = func(r *run, items Value) (Value, error) { return st.nested(r, s, items, depth+1) }
	}
	ran := false
	for {
		v, ok, err := l.next()
		if err != nil {
			return goOn, err
		}
		if !ok {
			break
		}
		if err := r.step(0); err != nil {
			return goOn, err
		}
		inner := newScope(s)
		if err := r.assign(&st.target, v, inner); err != nil {
			return goOn, err
		}
		inner.vars["loop"] = l
		sig, err := r.statements(st.body, inner)
		if err != nil {
			return goOn, err
		}
		if sig == leaveLoop {
			break
		}
		ran = ran || sig == goOn
	}
	return st.orElse(r, s, ran)
}

// orElse runs the else of a loop, unless some round ran to its end: like jinja2, it also runs the else if
// every round was left by break or continue.
func (st *forStmt) orElse(r *run, s *scope, ran bool) (signal, error) {
	if ran || st.or == nil {
		return goOn, nil
	}
	return r.statements(st.or, newScope(s))
}

// filtered returns the items that the loop's condition accepts.
func (st *forStmt) filtered(r *run, s *scope, it *iterator) *iterator {
	return r.generator(func() (Value, bool, error) {
		for {
			v, ok, err := it.next()
			if err != nil || !ok {
				return nil, false, err
			}
			if err := r.step(0); err != nil {
				return nil, false, err
			}
			inner := newScope(s)
			if err := r.assign(&st.target, v, inner); err != nil {
				return nil, false, err
			}
			keep, err := st.test.eval(r, inner)
			if err != nil {
				return nil, false, err
			}
			if truth(keep) {
				return v, true, nil
			}
		}
	})
}

// call is loop(items).
func (l *loop) call(r *run, a *given) (Value, error) {
	if l.again == nil {
		return nil, errors.New("a loop that calls itself has to be marked recursive")
	}
	if len(a.pos) != 1 || len(a.named) > 0 {
		return nil, fmt.Errorf("loop() wants one value, not %d", len(a.pos)+len(a.named))
	}
	return l.again(r, a.pos[0])
}
