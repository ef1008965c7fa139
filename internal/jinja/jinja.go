// Package jinja runs chat templates: the language of jinja2 3.1 as transformers uses it, which is
// ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True) with {% break %}, {% continue %}, {%
// generation %}, raise_exception, strftime_now and a tojson that escapes nothing. Values and operators are
// Python's.
//
// How a template runs: lex.go cuts the source into tokens, parse*.go makes statements and expressions from
// them (node.go), and statements.go and expressions.go run these on values (value.go). filters*.go, tests.go,
// methods*.go and functions.go are the library. limits.go bounds the time and memory that a template may
// take, because templates are programs from untrusted sources.
package jinja

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Template is a parsed template. It may be rendered any number of times, concurrently too.
type Template struct {
	body   []stmt
	blocks map[string]*blockStmt
}

// Error says what is wrong with a template, or which impossible operation it tried.
type Error struct {
	Line int // in the source, from 1
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Raised is the error of raise_exception: the template refuses its input, in its own words.
type Raised struct{ Message string }

func (e *Raised) Error() string { return e.Message }

// Parse reads a template. The error is an [*Error].
func Parse(source string) (*Template, error) {
	if len(source) > MaxSource {
		return nil, &Error{1, fmt.Sprintf("the template has %d bytes, more than %d", len(source), MaxSource)}
	}
	tokens, err := lex(strings.ToValidUTF8(source, "\uFFFD"))
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens, blocks: map[string]*blockStmt{}}
	body, err := p.statements()
	if err != nil {
		return nil, err
	}
	if len(p.unknown) > 0 {
		return nil, p.unknown[0]
	}
	return &Template{body, p.blocks}, nil
}

// Options of a rendering. The zero value is valid.
type Options struct {
	MaxOutput int              // bytes of the text; 0: DefaultOutput
	Now       func() time.Time // for strftime_now; nil: time.Now
}

// Render runs the template. Its variables are values as package jinja makes them; see [FromJSON].
//
// The error is a [*Raised], ctx's error, or an [*Error], whose text is made for users.
func (t *Template) Render(ctx context.Context, variables *Dict, o Options) (string, error) {
	if o.MaxOutput <= 0 {
		o.MaxOutput = DefaultOutput
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &run{template: t, options: o}
	r.ctx = ctx
	r.input = sizeOf(variables)
	globals := newScope(nil)
	for name, value := range functions {
		globals.vars[name] = value
	}
	for _, e := range variables.entries {
		if name, ok := e.key.(string); ok {
			globals.vars[name] = e.value
		}
	}
	r.top = newScope(globals)
	globals.vars["self"] = r.self()
	r.out = &strings.Builder{}
	r.maxOut = o.MaxOutput
	if _, err := r.statements(t.body, r.top); err != nil {
		return "", err
	}
	return r.out.String(), nil
}

// run is one rendering.
type run struct {
	meter
	template *Template
	options  Options
	top      *scope
	out      *strings.Builder // where text goes at present
	maxOut   int              // bytes that out may get
	folding  bool             // see fold
}

// write adds to the text.
func (r *run) write(s string) error {
	if r.out.Len()+len(s) > r.maxOut {
		return limitf("it writes more than %d bytes", r.maxOut)
	}
	r.out.WriteString(s)
	return r.step(len(s))
}

// capture runs f and gives what it wrote.
func (r *run) capture(f func() error) (string, error) {
	out, maxOut := r.out, r.maxOut
	r.out, r.maxOut = &strings.Builder{}, r.largest()
	err := f()
	s := r.out.String()
	r.out, r.maxOut = out, maxOut
	if err == nil {
		err = r.reserve(len(s))
	}
	return s, err
}

// at adds the line to an error that has none.
func at(line int, err error) error {
	var placed *Error
	var raised *Raised
	if err == nil || errors.As(err, &placed) || errors.As(err, &raised) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{line, err.Error()}
}

// scope holds the variables of one block. Other names are looked up in the enclosing scope.
type scope struct {
	vars  map[string]Value
	outer *scope
}

func newScope(outer *scope) *scope { return &scope{map[string]Value{}, outer} }

func (s *scope) lookup(name string) Value {
	for ; s != nil; s = s.outer {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	return &Undefined{quote(name) + " is undefined"}
}

// sizeOf estimates the memory of v in bytes.
func sizeOf(v Value) int {
	n := itemBytes
	switch v := v.(type) {
	case string:
		n += len(v)
	case *List:
		for _, item := range v.Items {
			n += sizeOf(item)
		}
	case *Dict:
		for _, e := range v.entries {
			n += sizeOf(e.key) + sizeOf(e.value)
		}
	}
	return n
}
