package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pathParts cuts "a.b.0" at its dots; numbers are positions.
func pathParts(s string) []Value {
	var parts []Value
	for _, part := range strings.Split(s, ".") {
		if n, err := strconv.Atoi(part); err == nil && part[0] != '-' && part[0] != '+' {
			parts = append(parts, n)
		} else {
			parts = append(parts, part)
		}
	}
	return parts
}

// sortBy returns the items sorted by their keys. The sort is stable.
func (r *run) sortBy(items []Value, key func(Value) (Value, error), reverse bool) ([]Value, error) {
	keys := make([]Value, len(items))
	order := make([]int, len(items))
	if err := r.reserveTimes(len(items), 2*itemBytes); err != nil {
		return nil, err
	}
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		keys[i], order[i] = k, i
	}
	var failed error
	less := func(i, j int) bool {
		if failed != nil {
			return false
		}
		if failed = r.step(0); failed != nil {
			return false
		}
		ok, err := r.ordered("<", keys[i], keys[j])
		if err != nil {
			failed = err
		}
		return ok
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if reverse {
			i, j = j, i
		}
		switch {
		case less(i, j):
			return -1
		case less(j, i):
			return 1
		}
		return 0
	})
	sorted := make([]Value, len(items))
	for i, j := range order {
		sorted[i] = items[j]
	}
	return sorted, failed
}

func sortFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("reverse? case_sensitive? attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.collect(v)
	if err != nil {
		return nil, err
	}
	paths := []*path{newPath(or(p[2], nil))}
	if s, ok := or(p[2], nil).(string); ok {
		paths = nil
		for _, attr := range strings.Split(s, ",") {
			paths = append(paths, newPath(attr))
		}
	}
	for _, attr := range paths {
		attr.foldCase = !truth(or(p[1], false))
	}
	sorted, err := r.sortBy(items, func(item Value) (Value, error) {
		keys := make([]Value, len(paths))
		for i, attr := range paths {
			if keys[i], err = attr.of(r, item); err != nil {
				return nil, err
			}
		}
		return &List{keys}, nil
	}, truth(or(p[0], false)))
	return &List{sorted}, err
}

func dictsortFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("case_sensitive? by? reverse?")
	if err != nil {
		return nil, err
	}
	by := slices.Index([]Value{"key", "value"}, or(p[1], "key"))
	if by < 0 {
		return nil, errors.New("dictsort sorts by 'key' or 'value'")
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("dictsort of %s: it is not a dict", typeName(v))
	}
	items, err := r.collect(&view{d, "items"})
	if err != nil {
		return nil, err
	}
	sorted, err := r.sortBy(items, func(item Value) (Value, error) {
		key := item.(*Tuple).Items[by]
		if truth(or(p[0], false)) {
			return key, nil
		}
		return r.ignoreCase(key)
	}, truth(or(p[2], false)))
	return &List{sorted}, err
}

func uniqueFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("case_sensitive? attribute?")
	if err != nil {
		return nil, err
	}
	attr := newPath(or(p[1], nil))
	attr.foldCase = !truth(or(p[0], false))
	seen := NewDict()
	var it *iterator
	return r.generator(func() (Value, bool, error) {
		if it == nil {
			if it, err = iterate(v); err != nil {
				return nil, false, err
			}
		}
		for {
			item, ok, err := it.next()
			if err != nil || !ok {
				return nil, false, err
			}
			key, err := attr.of(r, item)
			if err != nil {
				return nil, false, err
			}
			if _, ok, err := r.get(seen, key); err != nil || !ok {
				if err == nil {
					err = r.set(seen, key, nil)
				}
				return item, err == nil, err
			}
			if err := r.step(0); err != nil {
				return nil, false, err
			}
		}
	}), nil
}

// extremeFilter is min or max.
func extremeFilter(op string) filterFunc {
	return func(r *run, v Value, a *given) (Value, error) {
		p, err := a.bind("case_sensitive? attribute?")
		if err != nil {
			return nil, err
		}
		attr := newPath(or(p[1], nil))
		attr.foldCase = !truth(or(p[0], false))
		var best, bestKey Value = &Undefined{"the sequence is empty"}, nil
		first := true
		err = r.each(v, func(item Value) error {
			key, err := attr.of(r, item)
			if err != nil {
				return err
			}
			if !first {
				if better, err := r.ordered(op, key, bestKey); err != nil || !better {
					return err
				}
			}
			first, best, bestKey = false, item, key
			return nil
		})
		return best, err
	}
}

func groupbyFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("attribute default? case_sensitive?")
	if err != nil {
		return nil, err
	}
	items, err := r.collect(v)
	if err != nil {
		return nil, err
	}
	attr := newPath(p[0])
	attr.instead = or(p[1], nil)
	plain := *attr
	attr.foldCase = !truth(or(p[2], false))
	sorted, err := r.sortBy(items, func(item Value) (Value, error) { return attr.of(r, item) }, false)
	if err != nil {
		return nil, err
	}
	var groups []Value
	var members *List
	var last Value
	for _, item := range sorted {
		key, err := attr.of(r, item)
		if err != nil {
			return nil, err
		}
		same := false
		if members != nil {
			if same, err = r.same(last, key); err != nil {
				return nil, err
			}
		}
		if !same {
			grouper, err := plain.of(r, item)
			if err != nil {
				return nil, err
			}
			members = &List{}
			groups = append(groups, &Tuple{[]Value{grouper, members}, []string{"grouper", "list"}})
		}
		members.Items = append(members.Items, item)
		last = key
		if err := r.reserve(2 * itemBytes); err != nil {
			return nil, err
		}
	}
	return &List{groups}, nil
}

func batchFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("linecount fill_with?")
	if err != nil {
		return nil, err
	}
	fill := or(p[1], nil)
	var it *iterator
	items, done := []Value{}, false
	return r.generator(func() (Value, bool, error) {
		if it == nil {
			if it, err = iterate(v); err != nil {
				return nil, false, err
			}
		}
		for !done {
			item, ok, err := it.next()
			if err == nil {
				err = r.reserve(itemBytes)
			}
			if err != nil {
				return nil, false, err
			}
			if done = !ok; done {
				break
			}
			if c, isNumber := compareNumbers(len(items), p[0]); isNumber && c == 0 {
				full := items
				items = []Value{item}
				return &List{full}, true, nil
			}
			items = append(items, item)
		}
		last := items
		items = nil
		if len(last) == 0 {
			return nil, false, nil
		}
		if c, _ := compareNumbers(len(last), p[0]); fill != nil && c < 0 {
			n, err := wantInt(p[0])
			if err == nil {
				err = r.reserveTimes(n-len(last), itemBytes)
			}
			if err != nil {
				return nil, false, err
			}
			for len(last) < n {
				last = append(last, fill)
			}
		}
		return &List{last}, true, nil
	}), nil
}

func sliceFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("slices fill_with?")
	if err != nil {
		return nil, err
	}
	var items []Value
	i, offset := -1, 0
	return r.generator(func() (Value, bool, error) {
		n, err := wantInt(p[0])
		if err != nil {
			return nil, false, err
		}
		if i < 0 {
			if items, err = r.collect(v); err != nil {
				return nil, false, err
			}
			i = 0
			if n == 0 {
				return nil, false, errByZero
			}
		}
		if i >= n {
			return nil, false, nil
		}
		each, extra := len(items)/n, len(items)%n
		from := offset + i*each
		if i < extra {
			offset++
		}
		part := slices.Clone(items[from : offset+(i+1)*each])
		if fill := or(p[1], nil); fill != nil && i >= extra {
			part = append(part, fill)
		}
		i++
		return &List{part}, true, r.reserve(itemBytes * (len(part) + 1))
	}), nil
}

func sumFilter(r *run, v Value, a *given) (Value, error) {
	p, err := a.bind("attribute? start?")
	if err != nil {
		return nil, err
	}
	attr := newPath(or(p[0], nil))
	total := or(p[1], 0)
	if _, ok := asText(total); ok {
		return nil, errors.New("sum does not join str; use join")
	}
	err = r.each(v, func(item Value) error {
		of, err := attr.of(r, item)
		if err == nil {
			total, err = r.operate("+", total, of)
		}
		return err
	})
	return total, err
}

func roundFilter(_ *run, v Value, a *given) (Value, error) {
	p, err := a.bind("precision? method?")
	if err != nil {
		return nil, err
	}
	digits, err := wantInt(or(p[0], 0))
	if err != nil {
		return nil, err
	}
	if err := undefinedIn(v); err != nil {
		return nil, err
	}
	switch method := or(p[1], "common"); method {
	case "common":
		return round(v, digits)
	case "ceil", "floor":
		return roundTo(v, digits, method == "ceil")
	}
	return nil, errors.New("round has the methods common, ceil and floor")
}
