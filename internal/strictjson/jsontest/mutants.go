// Package jsontest makes broken variants of JSON files for tests, the same ones every time.
package jsontest

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
)

// values replace each value of a file: one of each type, and numbers, texts and lists that are hard to read.
var values = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `1e400`, `2147483648`, `9223372036854775808`, `""`, `"x"`, `"<0xZZ>"`,
	`"\u0000"`, `"\ud800"`,
	`[]`, `[null]`, `[[[]]]`, `["a b c"]`, `{}`, `{"type":7}`, `{"a":{"a":{}}}`,
}

// Mutants returns variants of a JSON text. In each, one value is replaced or removed, its key is in capitals,
// or an element of a list is doubled. Each replacing value alone is a variant too. path is the place of the
// change, such as "decoder.decoders.0.type". Only the first few entries of an object or a list are changed.
func Mutants(text []byte, few int) iter.Seq2[string, []byte] {
	return func(yield func(path string, text []byte) bool) {
		mutate(text, "", few, yield)
	}
}

// mutate yields the variants of a value, and reports whether to continue.
func mutate(text []byte, path string, few int, yield func(string, []byte) bool) bool {
	for _, v := range values {
		if !yield(path, []byte(v)) {
			return false
		}
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil && object != nil {
		keys := slices.Sorted(maps.Keys(object))
		for _, key := range keys[:min(few, len(keys))] {
			where := strings.TrimPrefix(path+"."+key, ".")
			with := func(change func(map[string]json.RawMessage)) bool {
				changed := maps.Clone(object)
				change(changed)
				return yield(where, marshal(changed))
			}
			inner := func(_ string, value []byte) bool {
				return with(func(o map[string]json.RawMessage) { o[key] = value })
			}
			if !with(func(o map[string]json.RawMessage) { delete(o, key) }) ||
				!with(func(o map[string]json.RawMessage) {
					o[strings.ToUpper(key)] = o[key]
					delete(o, key)
				}) ||
				!mutate(object[key], where, few, inner) {
				return false
			}
		}
	}
	var list []json.RawMessage
	if json.Unmarshal(text, &list) == nil {
		for i := range list[:min(few, len(list))] {
			inner := func(where string, value []byte) bool {
				changed := slices.Clone(list)
				changed[i] = value
				return yield(where, marshal(changed))
			}
			if !yield(path, marshal(slices.Delete(slices.Clone(list), i, i+1))) ||
				!yield(path, marshal(slices.Insert(slices.Clone(list), i, list[i]))) ||
				!mutate(list[i], path, few, inner) {
				return false
			}
		}
	}
	return true
}

// marshal encodes a value that was decoded from JSON, so it cannot fail.
func marshal(v any) []byte {
	text, _ := json.Marshal(v)
	return text
}
