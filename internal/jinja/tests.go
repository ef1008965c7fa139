package jinja

// testFunc is a test: v is test(a).
type testFunc func(r *run, v Value, a *given) (bool, error)

// tests are those of jinja2. It is filled by init because two of them look into the tables.
var tests map[string]testFunc

func init() {
	tests = map[string]testFunc{
		"defined":   plainTest(func(v Value) bool { _, ok := v.(*Undefined); return !ok }),
		"undefined": plainTest(func(v Value) bool { _, ok := v.(*Undefined); return ok }),
		"none":      plainTest(func(v Value) bool { return v == nil }),
		"boolean":   plainTest(func(v Value) bool { _, ok := v.(bool); return ok }),
		"true":      plainTest(func(v Value) bool { return v == true }),
		"false":     plainTest(func(v Value) bool { return v == false }),
		"integer": plainTest(func(v Value) bool {
			_, isBool := v.(bool)
			_,
				whole := toBig(v)
			return whole && !isBool
		}),
		"float":    plainTest(func(v Value) bool { _, ok := v.(float64); return ok }),
		"number":   plainTest(isNumber),
		"string":   plainTest(func(v Value) bool { _, ok := asText(v); return ok }),
		"mapping":  plainTest(func(v Value) bool { _, ok := v.(*Dict); return ok }),
		"sequence": plainTest(isSequence),
		"iterable": plainTest(func(v Value) bool { _, err := iterate(v); return err == nil }),
		"callable": plainTest(isCallable),
		"escaped":  plainTest(func(v Value) bool { _, ok := v.(Markup); return ok }),
		"filter":   nameTest(func(s string) bool { return filters[s] != nil }),
		"test":     nameTest(func(s string) bool { return tests[s] != nil }),
		"lower":    caseTest(isLower),
		"upper":    caseTest(isUpper),
		"odd":      remainderTest(2, 1),
		"even":     remainderTest(2, 0),
		"divisibleby": func(r *run, v Value, a *given) (bool, error) {
			p, err := a.bind("num")
			if err != nil {
				return false, err
			}
			return r.hasRemainder(v, p[0], 0)
		},
		"sameas": func(_ *run, v Value, a *given) (bool, error) {
			p, err := a.bind("other")
			if err != nil {
				return false, err
			}
			return typeName(v) == typeName(p[0]) && v == p[0], nil
		},
		"in": compareTest("in"), "==": compareTest("=="), "eq": compareTest("=="),
		"equalto": compareTest("=="),
		"!=":      compareTest("!="), "ne": compareTest("!="),
		">": compareTest(">"), "gt": compareTest(">"), "greaterthan": compareTest(">"),
		"ge": compareTest(">="), ">=": compareTest(">="),
		"<": compareTest("<"), "lt": compareTest("<"), "lessthan": compareTest("<"), "le": compareTest("<="),
		"<=": compareTest("<="),
	}
}

func plainTest(f func(Value) bool) testFunc {
	return func(_ *run, v Value, a *given) (bool, error) {
		if _, err := a.bind(""); err != nil {
			return false, err
		}
		return f(v), nil
	}
}

// nameTest asks whether there is something of a name; like a key, it has to be hashable.
func nameTest(f func(string) bool) testFunc {
	return func(r *run, v Value, a *given) (bool, error) {
		if _, err := a.bind(""); err != nil {
			return false, err
		}
		s, ok := asText(v)
		_, err := r.hash(v)
		return ok && f(s), err
	}
}

func caseTest(f func(string) bool) testFunc {
	return func(r *run, v Value, a *given) (bool, error) {
		if _, err := a.bind(""); err != nil {
			return false, err
		}
		s, err := r.str(v)
		if err != nil {
			return false, err
		}
		return f(s), r.step(len(s))
	}
}

func remainderTest(by, want int) testFunc {
	return func(r *run, v Value, a *given) (bool, error) {
		if _, err := a.bind(""); err != nil {
			return false, err
		}
		return r.hasRemainder(v, by, want)
	}
}

// hasRemainder is v % by == want.
func (r *run) hasRemainder(v, by Value, want int) (bool, error) {
	rest, err := r.operate("%", v, by)
	if err != nil {
		return false, err
	}
	return r.equal(rest, want)
}

func compareTest(op string) testFunc {
	return func(r *run, v Value, a *given) (bool, error) {
		p, err := a.bind("/other")
		if err != nil {
			return false, err
		}
		return r.compare(op, v, p[0])
	}
}

// isSequence reports whether v has a length and items.
func isSequence(v Value) bool {
	switch v.(type) {
	case *view, *loop:
		return false
	}
	_, ok := length(v)
	return ok
}

func isCallable(v Value) bool {
	switch v.(type) {
	case *function, *macro, *loop, *joiner, *Undefined:
		return true
	}
	return false
}
