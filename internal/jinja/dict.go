package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Dict is a dict: its keys keep the order in which they came.
type Dict struct {
	entries []entry
	index   map[any]int // by hashed key
}

type entry struct{ key, value Value }

// NewDict makes an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set sets the value of a key that is a string, a whole number or a bool.
func (d *Dict) Set(key, value Value) { d.put(simpleKey(key), key, value) }

// Update sets all keys of other.
func (d *Dict) Update(other *Dict) {
	for _, e := range other.entries {
		d.Set(e.key, e.value)
	}
}

// Has reports whether the dict has the key, with a value other than None.
func (d *Dict) Has(key string) bool {
	v, ok := d.text(key)
	return ok && v != nil
}

func (d *Dict) put(hashed any, key, value Value) {
	if i, ok := d.index[hashed]; ok {
		d.entries[i].value = value
		return
	}
	d.index[hashed] = len(d.entries)
	d.entries = append(d.entries, entry{key, value})
}

// text is the value of a key that is a string.
func (d *Dict) text(key string) (Value, bool) {
	i, ok := d.index[key]
	if !ok {
		return nil, false
	}
	return d.entries[i].value, true
}

// get is d[key].
func (r *run) get(d *Dict, key Value) (Value, bool, error) {
	hashed, err := r.hash(key)
	if err != nil {
		return nil, false, err
	}
	i, ok := d.index[hashed]
	if !ok {
		return nil, false, nil
	}
	return d.entries[i].value, true, nil
}

// set is d[key] = value.
func (r *run) set(d *Dict, key, value Value) error {
	hashed, err := r.hash(key)
	if err != nil {
		return err
	}
	d.put(hashed, key, value)
	return r.reserve(2 * itemBytes)
}

type (
	tupleKey string
	bigKey   string
	noneKey  struct{}
	undefKey struct{}
)

// simpleKey returns a key that is the same for equal values, such as 1, 1.0 and True; nil for values that are
// not simple.
func simpleKey(v Value) any {
	switch v := v.(type) {
	case nil:
		return noneKey{}
	case bool, int:
		n, _ := asInt(v)
		return n
	case float64:
		if v == math.Trunc(v) && !math.IsInf(v, 0) {
			n, _ := big.NewFloat(v).Int(nil)
			return simpleKey(normal(n))
		}
		return v
	case *big.Int:
		return bigKey(v.String())
	case string:
		return v
	case Markup:
		return string(v)
	case *Undefined:
		return undefKey{}
	}
	return nil
}

// hash is the key of v in the index of a dict.
func (r *run) hash(v Value) (any, error) {
	if key := simpleKey(v); key != nil {
		return key, nil
	}
	switch v := v.(type) {
	case *List, *Dict:
		return nil, fmt.Errorf("a %s cannot be a key", typeName(v))
	case *Tuple:
		if err := r.deeper(); err != nil {
			return nil, err
		}
		defer r.leave()
		var s strings.Builder
		for _, item := range v.Items {
			key, err := r.hash(item)
			if err != nil {
				return nil, err
			}
			part := fmt.Sprintf("%T %v", key, key)
			fmt.Fprintf(&s, "%d:%s", len(part), part)
			if err := r.reserve(len(part)); err != nil {
				return nil, err
			}
		}
		return tupleKey(s.String()), nil
	case *Range:
		return *v, nil
	}
	return v, nil // by identity
}
