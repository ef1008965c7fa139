package tokenizer

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/builtins"
	jinja "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	jinjaconfig "github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// This file keeps a chat template, a stranger's program, from taking the machine's memory or time. gonja has no limits of its
// own and cannot be interrupted within an expression, so what a template may be made of is chosen such that every expression is
// finite and small, and what lasts from one to the next is measured:
//
//   - An expression grows by what it names: {{ x ~ x }} is twice x. checkSource bounds the names in a block and refuses the
//     operators that multiply (* and **), so that a block makes at most maxNames times the largest value.
//   - A value reaches the next expression through a variable only: {% set %}, an attribute of a namespace, or a loop's items.
//     All three are measured, to the last nested list, and are refused above budget.value. Nothing else can change a value:
//     methods such as list.append are left out, and a namespace may not lie within another value, so no value contains itself.
//   - Filters and methods are those that real templates use. Each one measures what goes in and what comes out; the few that can
//     multiply (replace, join, tojson's indent) are checked before they run.
//   - Everything measured is charged to one budget, and every statement and step of a loop looks whether it is spent or time is up.

// Bounds on what a template is made of. Those of the Phi family have 16 names in a block and no loop within a loop.
const (
	maxNames     = 64        // names in one block: variables, attributes, filters, words of the language
	maxAllNames  = 4096      // names in the template
	maxCalls     = 8         // methods called in one block: gonja evaluates the object of each twice, so n in a row take 2ⁿ steps
	maxVariables = 64        // different names that the template sets
	maxValue     = 256 << 10 // bytes of a value, besides twice those of the conversation
	maxLoops     = 8         // loops within each other
	maxDepth     = 32        // lists within lists
	maxSpent     = 256 << 20 // bytes made and looked at in all, besides 64 times the largest value
)

// checkSource looks at a template's blocks, {{ }} and {% %}, before anything runs.
func checkSource(template string, config *jinjaconfig.Config) error {
	variables := map[string]bool{}
	all, loops := 0, 0
	var block []*tokens.Token // of the block at hand
	for stream := tokens.LexAll(template, config); !stream.End(); stream.Next() {
		token := stream.Current()
		switch token.Type {
		case tokens.Multiply, tokens.Power:
			return fmt.Errorf("line %d: the operator %s is not supported", token.Line, token.Val)
		case tokens.VariableBegin, tokens.BlockBegin:
			block = block[:0]
		case tokens.VariableEnd, tokens.BlockEnd:
			n, err := checkBlock(block)
			if err != nil {
				return fmt.Errorf("line %d: %w", token.Line, err)
			}
			if all += n; all > maxAllNames {
				return fmt.Errorf("it has more than %d names", maxAllNames)
			}
			if token.Type == tokens.VariableEnd || len(block) == 0 {
				break
			}
			switch block[0].Val {
			case "for":
				if loops++; loops > maxLoops {
					return fmt.Errorf("line %d: more than %d loops within each other", token.Line, maxLoops)
				}
			case "endfor":
				loops--
			case "set":
				if !settable(block) {
					return fmt.Errorf("line %d: set wants a name, or a name and an attribute, and a value", token.Line)
				}
				if variables[block[1].Val] = true; len(variables) > maxVariables {
					return fmt.Errorf("it sets more than %d variables", maxVariables)
				}
			}
		default:
			block = append(block, token)
		}
	}
	return nil
}

// checkBlock counts the names of one block.
func checkBlock(block []*tokens.Token) (names int, err error) {
	calls := 0
	for i, token := range block {
		if token.Type == tokens.Name {
			names++
		}
		if i >= 2 && token.Type == tokens.LeftParenthesis && block[i-1].Type == tokens.Name && block[i-2].Type == tokens.Dot {
			calls++
		}
	}
	switch {
	case names > maxNames:
		return 0, fmt.Errorf("a block has %d names, more than %d", names, maxNames)
	case calls > maxCalls:
		return 0, fmt.Errorf("a block calls %d methods, more than %d", calls, maxCalls)
	}
	return names, nil
}

// settable tells whether a set block begins as "set name =" or "set name.attribute =".
func settable(block []*tokens.Token) bool {
	var types []tokens.Type
	for _, token := range block[1:min(len(block), 5)] {
		types = append(types, token.Type)
	}
	plain := len(types) >= 2 && types[0] == tokens.Name && types[1] == tokens.Assign
	attribute := len(types) == 4 && types[0] == tokens.Name && types[1] == tokens.Dot && types[2] == tokens.Name && types[3] == tokens.Assign
	return plain || attribute
}

// budget is what a rendering may still use up.
type budget struct {
	stop  *atomic.Bool // time is up
	value int          // bytes of the largest value
	turns int          // bytes of the conversation
	spent int          // bytes made by filters and methods, and elements looked at, so far
}

var (
	errStopped = errors.New("takes too long to render")
	errTooBig  = errors.New("makes values that are too large")
)

// check tells whether the rendering may go on.
func (b *budget) check() error {
	if b.stop.Load() || b.spent > maxSpent+64*b.value {
		return errStopped
	}
	return nil
}

// elementBytes is what an element of a list counts besides its contents.
const elementBytes = 16

// measure refuses values that are above the limit together, with everything in them. Looking costs what there is to look at.
func (b *budget) measure(values ...any) error {
	_, err := b.size(values...)
	return err
}

// size is measure that also tells the bytes.
func (b *budget) size(values ...any) (int, error) {
	left := b.value
	for _, v := range values {
		if err := b.walk(reflect.ValueOf(v), 0, &left); err != nil {
			return 0, err
		}
	}
	return b.value - left, b.check()
}

func (b *budget) walk(v reflect.Value, depth int, left *int) error {
	b.spent += elementBytes
	if *left -= elementBytes; *left < 0 {
		return errTooBig
	}
	if depth > maxDepth {
		return fmt.Errorf("nests values more than %d deep", maxDepth)
	}
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if value, ok := asType[*exec.Value](v); ok {
			if value == nil {
				return nil
			}
			v = value.Val
			continue
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if _, ok := asType[turns](v); ok { // or a part of it; templates ask for its length in every turn
		if *left -= b.turns; *left < 0 {
			return errTooBig
		}
		return nil
	}
	if _, ok := asType[namespace](v); ok && depth > 0 {
		return errors.New("puts a namespace into another value")
	}
	switch v.Kind() {
	case reflect.String:
		if *left -= v.Len(); *left < 0 {
			return errTooBig
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := b.walk(v.Index(i), depth+1, left); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			if err := errors.Join(b.walk(entry.Key(), depth+1, left), b.walk(entry.Value(), depth+1, left)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		if value, ok := asType[exec.Value](v); ok {
			return b.walk(value.Val, depth, left)
		}
		if dict, ok := asType[exec.Dict](v); ok {
			return b.walk(reflect.ValueOf(dict.Pairs), depth, left)
		}
		if pair, ok := asType[exec.Pair](v); ok {
			return errors.Join(b.walk(reflect.ValueOf(pair.Key), depth, left), b.walk(reflect.ValueOf(pair.Value), depth, left))
		}
	}
	return nil
}

// asType is v's value where v holds a T and may be looked at.
func asType[T any](v reflect.Value) (T, bool) {
	if v.Type() != reflect.TypeFor[T]() || !v.CanInterface() {
		var none T
		return none, false
	}
	return v.Interface().(T), true
}

// call measures what a filter or method is given and what it gives back, and runs it in between.
func (b *budget) call(in *exec.Value, args *exec.VarArgs, run func() any) (any, error) {
	given := []any{in}
	for _, a := range args.Args {
		given = append(given, a)
	}
	for _, a := range args.KwArgs {
		given = append(given, a)
	}
	if err := b.measure(given...); err != nil {
		return nil, err
	}
	result := run()
	made, err := b.size(result)
	b.spent += made
	return result, err
}

// allowedFilters are Jinja's filters that templates use, but for those that can multiply without end: center, indent, format, …
var allowedFilters = []string{
	"abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "join", "last", "length", "list",
	"lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string",
	"sum", "title", "tojson", "trim", "unique", "upper",
}

func (b *budget) filters() *exec.FilterSet {
	allowed := map[string]exec.FilterFunction{}
	for _, name := range allowedFilters {
		filter, ok := builtins.Filters.Get(name)
		if !ok {
			continue
		}
		allowed[name] = func(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
			if in.IsError() && name != "default" && name != "d" {
				return in
			}
			if err := b.checkGrowth(name, in, args); err != nil {
				return exec.AsValue(err)
			}
			result, err := b.call(in, args, func() any { return filter(e, in, args) })
			if err != nil {
				return exec.AsValue(err)
			}
			return result.(*exec.Value)
		}
	}
	return exec.NewFilterSet(allowed)
}

// checkGrowth refuses calls of those filters and methods whose result can be much larger than what they are given.
func (b *budget) checkGrowth(name string, in *exec.Value, args *exec.VarArgs) error {
	given := args.Args
	for _, a := range args.KwArgs {
		given = append(given, a)
	}
	if err := b.measure(in); err != nil { // String and Len below walk over it
		return err
	}
	switch name {
	case "replace":
		if len(args.KwArgs) > 0 {
			return errors.New("replace wants its arguments without names")
		}
		if len(given) >= 2 {
			old, text := given[0].String(), in.String()
			times := len(text) + 1
			if old != "" {
				times = strings.Count(text, old)
			}
			longest := 0
			for _, a := range given[1:] {
				longest = max(longest, len(a.String()))
			}
			if longest > 0 && times > b.value/longest {
				return errTooBig
			}
		}
	case "join": // of a list with a separator, or as a method, of a separator with a list
		for _, a := range given {
			if longest, times := len(a.String()), in.Len(); longest > 0 && times > b.value/longest {
				return errTooBig
			}
			if longest, times := len(in.String()), a.Len(); longest > 0 && times > b.value/longest && in.IsString() {
				return errTooBig
			}
		}
	case "tojson":
		for _, a := range given {
			if a.IsInteger() && (a.Integer() < 0 || a.Integer() > 8) {
				return errors.New("tojson wants an indent of 0 to 8")
			}
		}
	case "int", "float": // of a text of a million digits it would take minutes
		if in.IsString() && len(in.String()) > 64 {
			return fmt.Errorf("%s of a text of %d bytes", name, len(in.String()))
		}
	}
	return nil
}

// Methods that templates use and that change nothing.
var (
	allowedStrMethods = []string{
		"capitalize", "endswith", "find", "isalnum", "isalpha", "isdigit", "islower", "isspace", "isupper", "join", "lower", "lstrip", "removeprefix",
		"removesuffix", "replace", "rfind", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper",
	}
	allowedDictMethods = []string{"get", "items", "keys", "values"}
)

func (b *budget) methods() exec.Methods {
	return exec.Methods{
		Bool:  exec.NewMethodSet(map[string]exec.Method[bool]{}),
		Int:   exec.NewMethodSet(map[string]exec.Method[int]{}),
		Float: exec.NewMethodSet(map[string]exec.Method[float64]{}),
		List:  exec.NewMethodSet(map[string]exec.Method[[]any]{}),
		Str:   allow(b, builtins.Methods.Str, allowedStrMethods),
		Dict:  allow(b, builtins.Methods.Dict, allowedDictMethods),
	}
}

func allow[T any](b *budget, all *exec.MethodSet[T], names []string) *exec.MethodSet[T] {
	allowed := map[string]exec.Method[T]{}
	for _, name := range names {
		method, ok := all.Get(name)
		if !ok {
			continue
		}
		allowed[name] = func(self T, value *exec.Value, args *exec.VarArgs) (any, error) {
			if err := b.checkGrowth(name, value, args); err != nil {
				return nil, err
			}
			var failed error
			result, err := b.call(value, args, func() (result any) {
				result, failed = method(self, value, args)
				return result
			})
			return result, errors.Join(failed, err)
		}
	}
	return exec.NewMethodSet(allowed)
}

// namespace is Jinja's namespace(): the one value that a template can change.
type namespace map[string]any

func newNamespace(_ *exec.Evaluator, args *exec.VarArgs) (namespace, error) {
	if len(args.Args) > 0 {
		return nil, errors.New("namespace wants named values")
	}
	ns := namespace{}
	for key, value := range args.KwArgs {
		ns[key] = value
	}
	return ns, nil
}

// functions are the global functions of a template: a range and a namespace that are bounded, and raise_exception.
func (b *budget) functions() map[string]any {
	return map[string]any{
		"range":     boundedRange,
		"namespace": newNamespace,
		"raise_exception": func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
			if len(args.Args) == 0 {
				return "", errors.New("the template refuses these messages")
			}
			return "", errors.New(args.Args[0].String())
		},
		checkName: func(_ *exec.Evaluator, _ *exec.VarArgs) (bool, error) { return true, b.check() },
	}
}

// checkName is a function that no template can name.
const checkName = " check"

// boundedRange is Jinja's range([start, ]stop[, step]).
func boundedRange(_ *exec.Evaluator, args *exec.VarArgs) ([]int, error) {
	var start, stop int
	step := 1
	for _, a := range args.Args {
		if !a.IsInteger() {
			return nil, errors.New("range wants whole numbers")
		}
	}
	switch a := args.Args; len(a) {
	case 1:
		stop = a[0].Integer()
	case 2:
		start, stop = a[0].Integer(), a[1].Integer()
	case 3:
		start, stop, step = a[0].Integer(), a[1].Integer(), a[2].Integer()
	default:
		return nil, errors.New("range wants one to three numbers")
	}
	if step == 0 {
		return nil, errors.New("range with step 0 never ends")
	}
	numbers := []int{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(numbers) == maxLoop {
			return nil, fmt.Errorf("range gives more than %d numbers", maxLoop)
		}
		numbers = append(numbers, i)
	}
	return numbers, nil
}

// statements are those a template may use. Left out are those that load other templates, that can call themselves (a stack
// overflow could not be caught) or that collect output without a bound.
func (b *budget) statements() *exec.ControlStructureSet {
	allowed := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"if", "set", "for", "raw", "break", "continue"} {
		parse, ok := builtins.ControlStructures.Get(name)
		if !ok {
			continue
		}
		allowed[name] = func(p, args *parser.Parser) (nodes.ControlStructure, error) {
			target, attribute := "", false
			if name == "set" { // settable has seen that the tokens are there
				target, attribute = args.Current().Val, args.Peek(tokens.Dot) != nil
			}
			inner, err := parse(p, args)
			if err != nil {
				return nil, err
			}
			s := &checked{Node: inner, budget: b, target: target, attribute: attribute}
			if s.run, ok = inner.(exec.ControlStructure); !ok { // nothing runs
				return inner, nil
			}
			if name == "for" {
				if s.loop, ok = inner.(*jinja.ForControlStructure); !ok {
					return nil, errors.New("unexpected kind of for loop")
				}
				return s, b.boundLoop(s.loop)
			}
			return s, nil
		}
	}
	return exec.NewControlStructureSet(allowed)
}

// boundLoop makes every step of a loop, and every look at its condition, check the budget first.
func (b *budget) boundLoop(loop *jinja.ForControlStructure) error {
	if loop.Recursive {
		return errors.New("recursive loops are not supported")
	}
	check := &checked{Node: loop, budget: b}
	loop.BodyWrapper.Nodes = append([]nodes.Node{&nodes.ControlStructureBlock{Location: loop.Position(), Name: "check", ControlStructure: check}}, loop.BodyWrapper.Nodes...)
	if loop.IfCondition != nil {
		at := loop.Position()
		loop.IfCondition = &nodes.BinaryExpression{
			Left:     &nodes.Call{Location: at, Func: &nodes.Name{Name: &tokens.Token{Type: tokens.Name, Val: checkName, Line: at.Line}}},
			Operator: &nodes.BinOperator{Token: &tokens.Token{Type: tokens.And, Val: "and"}},
			Right:    loop.IfCondition,
		}
	}
	return nil
}

// checked is a statement that looks at the budget first, and measures what it gives a name.
type checked struct {
	nodes.Node
	run       exec.ControlStructure // nil: nothing but the check
	budget    *budget
	target    string                     // the variable that a set changes
	attribute bool                       // an attribute of it, rather
	loop      *jinja.ForControlStructure // a for
}

// Execute implements [exec.ControlStructure].
func (c *checked) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	if err := c.budget.check(); err != nil {
		return err
	}
	switch {
	case c.run == nil:
		c.budget.spent += elementBytes
		return nil
	case c.attribute:
		target, _ := r.Environment.Context.Get(c.target)
		if _, ok := target.(namespace); !ok {
			return fmt.Errorf("%s is no namespace: its attributes cannot be set", c.target)
		}
	case c.loop != nil:
		items := r.Eval(c.loop.ObjectEvaluator)
		if err := c.budget.measure(items); err != nil {
			return err
		}
		n := items.Len()
		if items.IsString() {
			n = utf8.RuneCountInString(items.String())
		}
		if n > maxLoop {
			return fmt.Errorf("a loop over %d items, more than %d", n, maxLoop)
		}
	}
	if err := c.run.Execute(r, block); err != nil || c.target == "" {
		return err
	}
	value, _ := r.Environment.Context.Get(c.target)
	return c.budget.measure(value)
}
