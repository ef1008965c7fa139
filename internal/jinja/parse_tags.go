package jinja

import (
	"fmt"
	"slices"
)

func (p *parser) macroTag(line int) (stmt, error) {
	word, err := p.assignable(store)
	if err != nil {
		return nil, err
	}
	s := &macroStmt{line: line}
	s.macro.name = word
	start := len(p.uses)
	if err := p.signature(&s.macro); err != nil {
		return nil, err
	}
	return s, p.macroBody(&s.macro, start, "endmacro")
}

// macroBody reads the body of a macro or call block whose names, from its parameters on, begin at start in
// p.uses.
func (p *parser) macroBody(m *macroDef, start int, end string) (err error) {
	if m.body, err = p.scoped(true, end); err != nil {
		return err
	}
	stored := map[string]bool{}
	for _, u := range p.uses[start:] {
		if u.kind != load {
			stored[u.name] = true
			continue
		}
		if stored[u.name] || slices.Contains(m.params, u.name) {
			continue
		}
		switch u.name {
		case "caller":
			m.caller = true
		case "kwargs":
			m.kwargs = true
		case "varargs":
			m.varargs = true
		}
	}
	return nil
}

// signature reads the parameters of a macro or call block.
func (p *parser) signature(m *macroDef) error {
	if err := p.expect("("); err != nil {
		return err
	}
	for !p.skip(")") {
		if len(m.params) > 0 {
			if err := p.expect(","); err != nil {
				return err
			}
		}
		word, err := p.assignable(param)
		if err != nil {
			return err
		}
		if slices.Contains(m.params, word) {
			return p.errorf("two parameters have the name %s", word)
		}
		m.params = append(m.params, word)
		if p.skip("=") {
			x, err := p.expression()
			if err != nil {
				return err
			}
			m.defaults = append(m.defaults, x)
		} else if len(m.defaults) > 0 {
			return p.errorf("parameter %s without a default follows one with a default", word)
		}
	}
	return nil
}

func (p *parser) callTag(line int) (stmt, error) {
	s := &callBlock{line: line}
	start := len(p.uses)
	if p.current().is("(") {
		if err := p.signature(&s.caller); err != nil {
			return nil, err
		}
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	call, ok := x.(*callExpr)
	if !ok {
		return nil, &Error{line, "{% call %} wants a call, such as f()"}
	}
	s.call = call
	return s, p.macroBody(&s.caller, start, "endcall")
}

func (p *parser) filterTag(line int) (_ stmt, err error) {
	s := &filterBlock{line: line}
	defer func(soft bool) { p.soft = soft }(p.soft)
	p.soft = false
	if s.filter, err = p.filter(nil); err != nil {
		return nil, err
	}
	if s.filter, err = p.filters(s.filter); err != nil {
		return nil, err
	}
	s.body, err = p.scoped(false, "endfilter")
	return s, err
}

func (p *parser) blockTag(line int) (stmt, error) {
	word, err := p.expectKind(name)
	if err != nil {
		return nil, err
	}
	s := &blockStmt{line: line, name: word.text}
	if p.blocks[s.name] != nil {
		return nil, &Error{line, fmt.Sprintf("two blocks have the name %s", s.name)}
	}
	p.blocks[s.name] = s
	s.scoped = p.skip("scoped")
	s.required = p.skip("required")
	start := len(p.uses)
	s.body, err = p.scoped(true, "endblock")
	p.uses = p.uses[:min(start, len(p.uses))]
	p.skip(s.name)
	return s, err
}

func (p *parser) printTag() (stmt, error) {
	s := &output{}
	for p.current().kind != blockEnd {
		if len(s.parts) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		line := p.current().line
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, part{line: line, expr: x})
	}
	return s, nil
}
