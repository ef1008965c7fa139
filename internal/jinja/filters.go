package jinja

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// filterFunc is a filter: v|filter(a).
type filterFunc func(r *run, v Value, a *given) (Value, error)

// filters are those of jinja2, with the tojson of transformers. It is filled by init because some filters
// call others.
var filters map[string]filterFunc

func init() {
	filters = map[string]filterFunc{
		"abs": absFilter, "round": roundFilter, "int": intFilter, "float": floatFilter, "sum": sumFilter,
		"filesizeformat": sizeFilter,

		"default": defaultFilter, "d": defaultFilter, "attr": attrFilter, "items": itemsFilter,
		"count": lengthFilter, "length": lengthFilter, "list": listFilter, "first": firstFilter,
		"last":   lastFilter,
		"random": randomFilter, "reverse": reverseFilter, "min": extremeFilter("<"),
		"max":  extremeFilter(">"),
		"sort": sortFilter, "dictsort": dictsortFilter, "unique": uniqueFilter, "groupby": groupbyFilter,
		"batch": batchFilter, "slice": sliceFilter, "map": mapFilter,
		"select": selectFilter(false, true), "reject": selectFilter(false, false),
		"selectattr": selectFilter(true, true), "rejectattr": selectFilter(true, false),

		"string": stringFilter, "join": joinFilter, "replace": replaceFilter, "trim": trimFilter,
		"format": formatFilter,
		"lower":  caseFilter(lower), "upper": caseFilter(upper), "capitalize": caseFilter(capitalize),
		"title": titleFilter, "center": centerFilter, "indent": indentFilter, "truncate": truncateFilter,
		"wordcount": wordcountFilter, "wordwrap": wordwrapFilter, "striptags": striptagsFilter,
		"urlencode": urlencodeFilter,
		"escape":    escapeFilter, "e": escapeFilter, "forceescape": forceescapeFilter, "safe": safeFilter,
		"xmlattr": xmlattrFilter, "tojson": tojsonFilter, "pprint": pprintFilter,
		"urlize": refusedFilter("urlize"),
	}
}

// contextFilters lists the filters that need jinja2's context. jinja2 does not fold them before it runs a
// template.
var contextFilters = map[string]struct{}{
	"map": {}, "select": {}, "reject": {}, "selectattr": {},
	"rejectattr": {},
}

func refusedFilter(name string) filterFunc {
	return func(*run, Value, *given) (Value, error) {
		return nil, fmt.Errorf("the filter %s is not supported: a chat template makes plain text", name)
	}
}

func absFilter(_ *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok && f != f {
		return f, nil
	}
	if !isNumber(v) {
		return nil, fmt.Errorf("abs of %s is not possible", typeName(v))
	}
	if c, _ := compareNumbers(v, 0); c < 0 || v == 0.0 {
		v, err := negate("-", v)
		if f, ok := v.(float64); ok && f == 0 {
			return 0.0, err
		}
		return v, err
	}
	return negate("+", v)
}

func defaultFilter(_ *run, v Value, a *given) (Value, error) {
	p, err := a.bind("default_value? boolean?")
	if err != nil {
		return nil, err
	}
	if _, ok := v.(*Undefined); ok || truth(or(p[1], false)) && !truth(v) {
		return or(p[0], ""), nil
	}
	return v, nil
}

// attrFilter is v|attr(name): the attribute, never the item.
func attrFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("name")
	if err != nil {
		return nil, err
	}
	name, err := wantText(p[0])
	if err != nil {
		return nil, err
	}
	found, ok, err := r.attr(v, name)
	if err != nil || ok {
		return found, err
	}
	return missing(v, name), nil
}

func lengthFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	if l, ok := v.(*loop); ok {
		return l.count(r)
	}
	n, ok := length(v)
	if !ok {
		return nil, fmt.Errorf("%s has no length", typeName(v))
	}
	if s, ok := asText(v); ok {
		return n, r.step(len(s))
	}
	return n, nil
}

func listFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	items, err := r.collect(v)
	return &List{items}, err
}

func itemsFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *Undefined:
		return r.generator(func() (Value, bool, error) { return nil, false, nil }), nil
	case *Dict:
		it, err := iterate(&view{v, "items"})
		if err != nil {
			return nil, err
		}
		return r.generator(it.next), nil
	}
	return r.generator(func() (Value, bool, error) {
		return nil, false, fmt.Errorf("items of %s: it is not a dict", typeName(v))
	}), nil
}

// generator is an iterator whose next may ask other generators.
func (r *run) generator(next func() (Value, bool, error)) *iterator {
	return &iterator{func() (Value, bool, error) {
		if err := r.deeper(); err != nil {
			return nil, false, err
		}
		defer r.leave()
		return next()
	}, "generator"}
}

func firstFilter(_ *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	it, err := iterate(v)
	if err != nil {
		return nil, err
	}
	item, ok, err := it.next()
	if !ok {
		return &Undefined{"there is no first item: the sequence is empty"}, err
	}
	return item, nil
}

func lastFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	it, err := r.reversed(v)
	if err != nil {
		return nil, err
	}
	item, ok, err := it.next()
	if !ok {
		return &Undefined{"there is no last item: the sequence is empty"}, err
	}
	return item, nil
}

// reversed is Python's reversed(v).
func (r *run) reversed(v Value) (*iterator, error) {
	switch v.(type) {
	case *iterator, *loop, nil, bool, int, float64:
		return nil, fmt.Errorf("%s cannot be reversed", typeName(v))
	}
	items, err := r.collect(v)
	if err != nil {
		return nil, err
	}
	return fromIndex(len(items), func(i int) Value { return items[len(items)-1-i] },
		typeName(v)+"_reverseiterator"), nil
}

func reverseFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	if _, ok := asText(v); ok {
		return r.slice(v, nil, nil, -1)
	}
	if _, ok := v.(*iterator); ok {
		items, err := r.collect(v)
		for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
			items[i], items[j] = items[j], items[i]
		}
		return &List{items}, err
	}
	return r.reversed(v)
}

func randomFilter(r *run, v Value, a *given) (Value, error) {
	if _, err := a.bind(""); err != nil {
		return nil, err
	}
	n, ok := length(v)
	if !ok {
		return nil, fmt.Errorf("%s has no length", typeName(v))
	}
	if n == 0 {
		return &Undefined{"there is no random item: the sequence is empty"}, nil
	}
	item, ok, err := r.item(v, rand.IntN(n))
	if err == nil && !ok {
		err = fmt.Errorf("%s has no items with numbers", typeName(v))
	}
	return item, err
}

// path is an attribute such as "a.b.0" as jinja2's filters take it.
type path struct {
	parts    []Value
	instead  Value // of what is undefined; nil: none
	foldCase bool
}

func newPath(attribute Value) *path {
	p := &path{}
	switch attribute := attribute.(type) {
	case nil:
	case string:
		p.parts = pathParts(attribute)
	default:
		p.parts = []Value{attribute}
	}
	return p
}

// of is the attribute of item.
func (p *path) of(r *run, item Value) (Value, error) {
	for _, part := range p.parts {
		var err error
		if item, err = r.getitem(item, part); err != nil {
			return nil, err
		}
		if _, ok := item.(*Undefined); ok && p.instead != nil {
			item = p.instead
		}
	}
	if p.foldCase {
		return r.ignoreCase(item)
	}
	return item, nil
}

// ignoreCase returns a text in lower case, and other values unchanged.
func (r *run) ignoreCase(v Value) (Value, error) {
	if s, ok := asText(v); ok {
		return lower(s), r.reserve(len(s))
	}
	return v, nil
}

var errNoFilterName = errors.New("map wants the name of a filter, or attribute=…")

func mapFilter(r *run, v Value, a *given) (Value, error) {
	var f func(item Value) (Value, error)
	prepare := func() error {
		if len(a.pos) == 0 && a.has("attribute") {
			p, err := a.bind("attribute default?")
			if err != nil {
				return err
			}
			attr := newPath(p[0])
			attr.instead = or(p[1], nil)
			f = func(item Value) (Value, error) { return attr.of(r, item) }
			return nil
		}
		if len(a.pos) == 0 {
			return errNoFilterName
		}
		name, err := wantText(a.pos[0])
		rest := &given{a.pos[1:], a.named}
		f = func(item Value) (Value, error) { return r.filter(name, item, rest) }
		return err
	}
	return r.lazily(v, prepare, func(item Value) (Value, bool, error) {
		out, err := f(item)
		return out, true, err
	}), nil
}

// lazily returns a generator over the items of v that f keeps, as f changes them. It reads nothing before the
// first item is asked for.
func (r *run) lazily(v Value, prepare func() error, f func(item Value) (Value, bool, error)) *iterator {
	var it *iterator
	return r.generator(func() (Value, bool, error) {
		if !truth(v) {
			return nil, false, nil
		}
		if it == nil {
			if err := prepare(); err != nil {
				return nil, false, err
			}
			var err error
			if it, err = iterate(v); err != nil {
				return nil, false, err
			}
		}
		for {
			item, ok, err := it.next()
			if err != nil || !ok {
				return nil, false, err
			}
			if err := r.step(0); err != nil {
				return nil, false, err
			}
			out, keep, err := f(item)
			if err != nil || keep {
				return out, err == nil, err
			}
		}
	})
}

// selectFilter is select, reject, selectattr or rejectattr.
func selectFilter(byAttr, keep bool) filterFunc {
	return func(r *run, v Value, a *given) (Value, error) {
		attr := newPath(nil)
		args := a.pos
		var test func(v Value) (bool, error) // nil: truth
		prepare := func() error {
			if byAttr {
				if len(args) == 0 {
					return errors.New("the name of an attribute is missing")
				}
				attr = newPath(args[0])
				args = args[1:]
			}
			if len(args) > 0 {
				name, err := wantText(args[0])
				if err != nil {
					return err
				}
				rest := &given{args[1:], a.named}
				test = func(v Value) (bool, error) { return r.test(name, v, rest) }
			}
			return nil
		}
		return r.lazily(v, prepare, func(item Value) (Value, bool, error) {
			of, err := attr.of(r, item)
			if err != nil {
				return nil, false, err
			}
			ok := truth(of)
			if test != nil {
				ok, err = test(of)
			}
			return item, ok == keep, err
		}), nil
	}
}
