package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// tupleOptions describe the place of an expression that may be a tuple such as a, b.
type tupleOptions struct {
	noCondition bool // "a if b" is not part of it
	parentheses bool // around it, so that it may be empty
}

// tuple reads an expression, or several between commas.
func (p *parser) tuple(o tupleOptions) (expr, error) {
	var items []expr
	isTuple := false
	for {
		if len(items) > 0 {
			p.next() // the comma
		}
		if p.atTupleEnd() {
			break
		}
		read := p.expression
		if o.noCondition {
			read = p.or
		}
		x, err := read()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
		if !p.current().is(",") {
			break
		}
		isTuple = true
	}
	switch {
	case isTuple:
		return &tupleOf{items}, nil
	case len(items) > 0:
		return items[0], nil
	case !o.parentheses:
		return nil, p.errorf("expected an expression, found %s", p.current().describe())
	}
	return &tupleOf{}, nil
}

func (p *parser) atTupleEnd() bool {
	t := p.current()
	return t.kind == variableEnd || t.kind == blockEnd || t.is(")")
}

// targetOptions describe the place of a target.
type targetOptions struct {
	attr  bool // it may be the attribute of a namespace
	param bool // of with
}

// target reads what is assigned to.
func (p *parser) target(o targetOptions) (target, error) {
	if err := p.deeper(); err != nil {
		return target{}, err
	}
	defer func() { p.depth-- }()
	var items []target
	isTuple := false
	for {
		if len(items) > 0 {
			p.next() // the comma
		}
		if p.atTupleEnd() {
			break
		}
		item, err := p.oneTarget(o)
		if err != nil {
			return target{}, err
		}
		items = append(items, item)
		if !p.current().is(",") {
			break
		}
		isTuple = true
	}
	switch {
	case isTuple:
		return target{is: toTuple, tuple: items}, nil
	case len(items) > 0:
		return items[0], nil
	}
	return target{}, p.errorf("expected a name to assign to, found %s", p.current().describe())
}

func (p *parser) oneTarget(o targetOptions) (target, error) {
	if p.skip("(") {
		t, err := p.target(targetOptions{param: o.param})
		if err != nil {
			return target{}, err
		}
		return t, p.expect(")")
	}
	if o.attr && p.current().kind == name && p.look().is(".") {
		word := p.next().text
		p.next()
		attr, err := p.expectKind(name)
		p.uses = append(p.uses, use{word, load})
		return target{is: toAttr, name: word, attr: attr.text}, err
	}
	kind := store
	if o.param {
		kind = param
	}
	word, err := p.assignable(kind)
	return target{name: word}, err
}

// assignable reads a name that may be assigned to.
func (p *parser) assignable(k useKind) (string, error) {
	word := p.current()
	if word.kind != name {
		return "", p.errorf("expected a name to assign to, found %s", word.describe())
	}
	if _, ok := constants[word.text]; ok {
		return "", p.errorf("%s cannot be assigned to", word.text)
	}
	p.next()
	p.uses = append(p.uses, use{word.text, k})
	return word.text, nil
}

var constants = map[string]Value{
	"true": true, "True": true, "false": false, "False": false, "none": nil,
	"None": nil,
}

// expression reads a if b else c.
func (p *parser) expression() (expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	unknown := len(p.unknown)
	x, err := p.or()
	for n := 0; err == nil && p.skip("if"); n++ {
		c := &conditional{then: x}
		if c.test, err = p.or(); err == nil && p.skip("else") {
			c.or, err = p.expression()
		}
		p.unknown = p.unknown[:unknown] // they are looked for when they run
		x = c
		if n > maxNesting {
			return nil, p.errorf("it has more than %d conditions in a row", maxNesting)
		}
	}
	return x, err
}

// chain reads operands of one kind with operators between them.
func (p *parser) chain(
	operand func() (expr, error), ops []string, join func(op string, x, y expr) expr,
) (expr, error) {
	x, err := operand()
	for n := 0; err == nil && (p.current().kind == operator || p.current().kind == name) &&
		slices.Contains(ops, p.current().text); n++ {
		op := p.next().text
		var y expr
		if y, err = operand(); err == nil {
			x = join(op, x, y)
		}
		if n > maxNesting {
			return nil, p.errorf("it has more than %d operators in a row", maxNesting)
		}
	}
	return x, err
}

func (p *parser) or() (expr, error) {
	return p.chain(p.and, []string{"or"}, func(_ string, x, y expr) expr { return &logic{false, x, y} })
}

func (p *parser) and() (expr, error) {
	return p.chain(p.not, []string{"and"}, func(_ string, x, y expr) expr { return &logic{true, x, y} })
}

func (p *parser) not() (expr, error) {
	if !p.skip("not") {
		return p.comparison()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	return &notExpr{x}, err
}

var comparisons = []string{"==", "!=", "<", "<=", ">", ">=", "in"}

func (p *parser) comparison() (expr, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &compare{first: x}
	for {
		t := p.current()
		op := t.text
		switch {
		case (t.kind == operator || t.kind == name) && slices.Contains(comparisons, op):
			p.next()
		case t.is("not") && p.look().is("in"):
			p.next()
			p.next()
			op = "not in"
		default:
			if len(c.ops) == 0 {
				return x, nil
			}
			return c, nil
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, y)
	}
}

func newBinary(op string, x, y expr) expr { return &binary{op, x, y} }

func (p *parser) sum() (expr, error) { return p.chain(p.tilde, []string{"+", "-"}, newBinary) }

func (p *parser) tilde() (expr, error) {
	x, err := p.product()
	if err != nil || !p.current().is("~") {
		return x, err
	}
	c := &concat{[]expr{x}}
	for p.skip("~") {
		y, err := p.product()
		if err != nil {
			return nil, err
		}
		c.items = append(c.items, y)
	}
	return c, nil
}

func (p *parser) product() (expr, error) {
	return p.chain(p.power, []string{"*", "/", "//", "%"}, newBinary)
}

func (p *parser) power() (expr, error) {
	return p.chain(func() (expr, error) { return p.unary(true) }, []string{"**"}, newBinary)
}

func (p *parser) unary(filters bool) (x expr, err error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if t := p.current(); t.is("-") || t.is("+") {
		p.next()
		x, err = p.unary(false)
		x = &unary{t.text, x}
	} else {
		x, err = p.primary()
	}
	if err == nil {
		x, err = p.postfix(x)
	}
	if err == nil && filters {
		x, err = p.filters(x)
	}
	return x, err
}

func (p *parser) primary() (expr, error) {
	t := p.next()
	switch {
	case t.kind == name:
		if value, ok := constants[t.text]; ok {
			return &constant{value}, nil
		}
		p.uses = append(p.uses, use{t.text, load})
		return &variable{t.text}, nil
	case t.kind == text:
		var s strings.Builder
		s.WriteString(t.text)
		for p.current().kind == text {
			s.WriteString(p.next().text)
		}
		return &constant{s.String()}, nil
	case t.kind == integer:
		return &constant{wholeNumber(t.text)}, nil
	case t.kind == float:
		f, _ := strconv.ParseFloat(t.text, 64) // out of range is infinity, as in Python
		return &constant{f}, nil
	case t.is("("):
		x, err := p.tuple(tupleOptions{parentheses: true})
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case t.is("["):
		items, err := p.list("]")
		return &listOf{items}, err
	case t.is("{"):
		return p.dict()
	}
	return nil, &Error{t.line, "unexpected " + t.describe()}
}

// list reads expressions between commas, up to end, and moves over it.
func (p *parser) list(end string) (items []expr, err error) {
	for !p.skip(end) {
		if len(items) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
			if p.skip(end) {
				break
			}
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return items, nil
}

func (p *parser) dict() (expr, error) {
	d := &dictOf{}
	for !p.skip("}") {
		if len(d.keys) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
			if p.skip("}") {
				break
			}
		}
		key, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		d.keys, d.values = append(d.keys, key), append(d.values, value)
	}
	return d, nil
}
