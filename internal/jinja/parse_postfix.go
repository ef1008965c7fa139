package jinja

import "slices"

// postfix reads what follows a value: .name, [key] and (arguments).
func (p *parser) postfix(x expr) (_ expr, err error) {
	for n := 0; err == nil; n++ {
		if n > maxNesting {
			return nil, p.errorf("it has more than %d attributes and calls in a row", maxNesting)
		}
		switch {
		case p.skip("."):
			switch t := p.next(); t.kind {
			case name:
				x = &attribute{x, t.text}
			case integer:
				x = &itemOf{x, &constant{wholeNumber(t.text)}}
			default:
				return nil, &Error{t.line, "expected a name or a number after '.', found " + t.describe()}
			}
		case p.skip("["):
			x, err = p.subscript(x)
		case p.skip("("):
			call := &callExpr{fn: x}
			err = p.arguments(&call.args)
			x = call
		default:
			return x, nil
		}
	}
	return x, err
}

// subscript reads the expression within [ ].
func (p *parser) subscript(x expr) (expr, error) {
	var keys []expr
	slice := false
	for !p.skip("]") {
		if len(keys) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		key, isSlice, err := p.subscribed(x)
		if err != nil {
			return nil, err
		}
		keys, slice = append(keys, key), slice || isSlice
	}
	switch {
	case slice && len(keys) > 1:
		return nil, p.errorf("[ ] with several slices is not possible")
	case slice:
		return keys[0], nil
	case len(keys) == 1:
		return &itemOf{x, keys[0]}, nil
	}
	return &itemOf{x, &tupleOf{keys}}, nil
}

// subscribed reads a key, or a slice of x: start:stop:step.
func (p *parser) subscribed(x expr) (_ expr, isSlice bool, err error) {
	s := &sliceOf{x: x}
	if !p.skip(":") {
		if s.start, err = p.expression(); err != nil {
			return nil, false, err
		}
		if !p.skip(":") {
			return s.start, false, nil
		}
	}
	if t := p.current(); !t.is(":") && !t.is("]") && !t.is(",") {
		if s.stop, err = p.expression(); err != nil {
			return nil, false, err
		}
	}
	if p.skip(":") {
		if t := p.current(); !t.is("]") && !t.is(",") {
			s.step, err = p.expression()
		}
	}
	p.sliced = true
	return s, true, err
}

// arguments reads the arguments of a call, up to and over the ")".
func (p *parser) arguments(a *args) (err error) {
	for first := true; !p.skip(")"); first = false {
		if !first {
			if err := p.expect(","); err != nil {
				return err
			}
			if p.skip(")") {
				return nil
			}
		}
		var wrong bool
		switch t := p.current(); {
		case t.is("*"):
			wrong = a.star != nil || a.kws != nil
			p.next()
			a.star, err = p.expression()
		case t.is("**"):
			wrong = a.kws != nil
			p.next()
			a.kws, err = p.expression()
		case t.kind == name && p.look().is("="):
			wrong = a.kws != nil || slices.Contains(a.names, t.text)
			p.next()
			p.next()
			var x expr
			x, err = p.expression()
			a.names, a.named = append(a.names, t.text), append(a.named, x)
		default:
			wrong = a.star != nil || a.kws != nil || len(a.names) > 0
			var x expr
			x, err = p.expression()
			a.pos = append(a.pos, x)
		}
		if err != nil {
			return err
		}
		if wrong {
			return p.errorf("the arguments of a call are in an impossible order, or one has two values")
		}
	}
	return nil
}

// filters reads |filter, is test, and calls, behind x; x is nil where the text of a block is filtered.
func (p *parser) filters(x expr) (_ expr, err error) {
	for n := 0; err == nil; n++ {
		if n > maxNesting {
			return nil, p.errorf("it has more than %d filters in a row", maxNesting)
		}
		switch {
		case p.skip("|"):
			x, err = p.filter(x)
		case x == nil:
			return nil, nil
		case p.skip("is"):
			x, err = p.test(x)
		case p.skip("("):
			call := &callExpr{fn: x}
			err = p.arguments(&call.args)
			x = call
		default:
			return x, nil
		}
	}
	return x, err
}

// dotted reads a name that may have dots.
func (p *parser) dotted() (string, error) {
	word, err := p.expectKind(name)
	s := word.text
	for err == nil && p.skip(".") {
		word, err = p.expectKind(name)
		s += "." + word.text
	}
	return s, err
}

// filter reads a filter's name and arguments.
func (p *parser) filter(x expr) (expr, error) {
	f := &filterExpr{x: x}
	var err error
	if f.name, err = p.dotted(); err != nil {
		return nil, err
	}
	if _, ok := filters[f.name]; !ok && !p.soft {
		p.unknown = append(p.unknown, p.errorf("there is no filter named %s", f.name))
	}
	if p.skip("(") {
		err = p.arguments(&f.args)
	}
	return f, err
}

// test reads a test's name and argument, behind "is".
func (p *parser) test(x expr) (_ expr, err error) {
	negated := p.skip("not")
	f := &testExpr{x: x}
	if f.name, err = p.dotted(); err != nil {
		return nil, err
	}
	if _, ok := tests[f.name]; !ok && !p.soft {
		p.unknown = append(p.unknown, p.errorf("there is no test named %s", f.name))
	}
	switch t := p.current(); {
	case p.skip("("):
		err = p.arguments(&f.args)
	case t.is("is"):
		return nil, p.errorf("two tests with 'is' in a row are not possible")
	case t.is("else"), t.is("or"), t.is("and"):
	case t.kind == name, t.kind == text, t.kind == integer, t.kind == float, t.is("["), t.is("{"):
		var y expr
		if y, err = p.primary(); err == nil {
			y, err = p.postfix(y)
		}
		f.pos = []expr{y}
	}
	if negated {
		return &notExpr{f}, err
	}
	return f, err
}
