package jinja

import (
	"fmt"
	"slices"
)

// parser turns tokens into statements. Its grammar is jinja2's.
type parser struct {
	tokens []token
	depth  int
	loops  int  // that break and continue may leave
	sliced bool // a slice was read
	soft   bool // within an if, where jinja2 looks for filters and tests only when they run

	uses    []use   // of names, in the order of the source
	unknown []error // filters and tests that do not exist
	blocks  map[string]*blockStmt
}

// use is one appearance of a name.
type use struct {
	name string
	kind useKind
}

type useKind uint8

const (
	load useKind = iota
	store
	param
)

func (p *parser) current() token { return p.tokens[0] }

func (p *parser) look() token {
	if len(p.tokens) > 1 {
		return p.tokens[1]
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.tokens[0]
	if len(p.tokens) > 1 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// skip moves over s, a name or an operator, if it is next.
func (p *parser) skip(s string) bool {
	if p.current().is(s) {
		p.next()
		return true
	}
	return false
}

func (p *parser) errorf(format string, a ...any) error {
	return &Error{Line: p.current().line, Text: fmt.Sprintf(format, a...)}
}

func (p *parser) expect(s string) error {
	if !p.skip(s) {
		return p.errorf("expected '%s', found %s", s, p.current().describe())
	}
	return nil
}

func (p *parser) expectKind(k kind) (token, error) {
	if p.current().kind != k {
		return token{}, p.errorf("expected %s, found %s", kindWords[k], p.current().describe())
	}
	return p.next(), nil
}

var kindWords = map[kind]string{name: "a name", blockEnd: "%}", variableEnd: "}}"}

// deeper counts a level of nesting; p.depth-- ends it.
func (p *parser) deeper() error {
	if p.depth++; p.depth > maxNesting {
		return p.errorf("it nests more than %d deep", maxNesting)
	}
	return nil
}

// statements reads up to one of the tags in ends, which it leaves as the current token. Without ends it reads
// up to the end.
func (p *parser) statements(ends ...string) (body []stmt, err error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var out output
	flush := func() {
		if len(out.parts) > 0 {
			body = append(body, &output{out.parts})
			out.parts = nil
		}
	}
	for {
		t := p.next()
		switch t.kind {
		case data:
			out.parts = append(out.parts, part{line: t.line, text: t.text})
		case variableBegin:
			p.sliced = false
			x, err := p.tuple(tupleOptions{})
			if err != nil {
				return nil, err
			}
			out.parts = append(out.parts, part{line: t.line, expr: x, fold: p.sliced})
			if _, err := p.expectKind(variableEnd); err != nil {
				return nil, err
			}
		case blockBegin:
			flush()
			word := p.current()
			if word.kind == name && slices.Contains(ends, word.text) {
				return body, nil
			}
			s, err := p.statement()
			if err != nil {
				return nil, err
			}
			body = append(body, s)
			if _, err := p.expectKind(blockEnd); err != nil {
				return nil, err
			}
		default:
			flush()
			if len(ends) > 0 {
				return nil, p.errorf("the template ends before {%% %s %%}", ends[len(ends)-1])
			}
			return body, nil
		}
	}
}

// body reads the rest of a tag, and statements up to one of ends.
func (p *parser) body(ends ...string) ([]stmt, error) {
	p.skip(":")
	if _, err := p.expectKind(blockEnd); err != nil {
		return nil, err
	}
	return p.statements(ends...)
}

// scoped is body up to one tag, which it moves over, in a scope of its own. In a function, break and continue
// do not reach the loops around it.
func (p *parser) scoped(function bool, end string) ([]stmt, error) {
	defer func(soft bool, loops int) { p.soft, p.loops = soft, loops }(p.soft, p.loops)
	p.soft = false
	if function {
		p.loops = 0
	}
	body, err := p.body(end)
	p.next()
	return body, err
}

// statement reads one tag, from its name to before its end, with all that belongs to it.
func (p *parser) statement() (stmt, error) {
	word := p.current()
	if word.kind != name {
		return nil, p.errorf("expected the name of a tag, found %s", word.describe())
	}
	p.next()
	line := word.line
	switch word.text {
	case "if":
		return p.ifTag(line)
	case "for":
		return p.forTag(line)
	case "break", "continue":
		if p.loops == 0 {
			return nil, &Error{line, word.text + " is outside of a loop"}
		}
		return &breakStmt{map[string]signal{"break": leaveLoop, "continue": nextRound}[word.text]}, nil
	case "set":
		return p.setTag(line)
	case "with":
		return p.withTag(line)
	case "macro":
		return p.macroTag(line)
	case "call":
		return p.callTag(line)
	case "filter":
		return p.filterTag(line)
	case "block":
		return p.blockTag(line)
	case "print":
		return p.printTag()
	case "generation": // of transformers: it marks what the assistant said
		body, err := p.scoped(true, "endgeneration")
		return &scopeStmt{body}, err
	case "include", "import", "from", "extends":
		for p.current().kind != blockEnd && p.current().kind != eof {
			p.next()
		}
		return &refused{line, word.text}, nil
	case "autoescape":
		return nil, &Error{line, "autoescape is not supported: a chat template makes plain text"}
	}
	return nil, &Error{line, fmt.Sprintf("there is no tag named %q here", word.text)}
}

func (p *parser) ifTag(line int) (_ stmt, err error) {
	defer func(soft bool) { p.soft = soft }(p.soft)
	p.soft = true
	s := &ifStmt{line: line}
	if s.test, err = p.tuple(tupleOptions{noCondition: true}); err != nil {
		return nil, err
	}
	if s.then, err = p.body("elif", "else", "endif"); err != nil {
		return nil, err
	}
	switch word := p.next(); word.text {
	case "elif":
		elif, err := p.ifTag(word.line)
		s.or = []stmt{elif}
		return s, err
	case "else":
		s.or, err = p.body("endif")
		p.next()
	}
	return s, err
}

func (p *parser) forTag(line int) (_ stmt, err error) {
	s := &forStmt{line: line}
	start := len(p.uses)
	if s.target, err = p.target(targetOptions{}); err != nil {
		return nil, err
	}
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	if s.items, err = p.tuple(tupleOptions{noCondition: true}); err != nil {
		return nil, err
	}
	defer func(soft bool) { p.soft = soft }(p.soft)
	p.soft = false
	if p.skip("if") {
		if s.test, err = p.expression(); err != nil {
			return nil, err
		}
	}
	s.recursive = p.skip("recursive")
	p.loops++
	s.body, err = p.body("else", "endfor")
	p.loops--
	if err != nil {
		return nil, err
	}
	if p.next().text == "else" {
		if s.or, err = p.body("endfor"); err != nil {
			return nil, err
		}
		p.next()
	}
	if slices.Contains(p.uses[start:], use{"loop", store}) {
		return nil, &Error{line, "nothing in a loop may assign to the special variable loop"}
	}
	return s, nil
}

func (p *parser) setTag(line int) (stmt, error) {
	to, err := p.target(targetOptions{attr: true})
	if err != nil {
		return nil, err
	}
	if p.skip("=") {
		value, err := p.tuple(tupleOptions{})
		return &setStmt{line, to, value}, err
	}
	s := &setBlock{line: line, target: to}
	defer func(soft bool) { p.soft = soft }(p.soft)
	p.soft = false
	if s.filter, err = p.filters(nil); err != nil {
		return nil, err
	}
	s.body, err = p.scoped(false, "endset")
	return s, err
}

func (p *parser) withTag(line int) (stmt, error) {
	s := &withStmt{line: line}
	for p.current().kind != blockEnd {
		if len(s.targets) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		to, err := p.target(targetOptions{param: true})
		if err != nil {
			return nil, err
		}
		if err := p.expect("="); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		s.targets, s.values = append(s.targets, to), append(s.values, value)
	}
	var err error
	s.body, err = p.scoped(false, "endwith")
	return s, err
}
