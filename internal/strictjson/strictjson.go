// Package strictjson reads the JSON files of a checkpoint without guessing.
//
// encoding/json accepts the key "deCoder" for the field "decoder", keeps the last of two equal keys, and
// repairs invalid UTF-8, all without an error. Hugging Face's readers do not, so phi3 and transformers would
// read such a file differently. [Unmarshal] refuses it. [Scanner] is for types that read their own JSON.
//
// internal/safetensors has its own reader with the same rules, because it reads its header number by number.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"phi3/internal/show"
)

// Unmarshal is like [json.Unmarshal], but refuses text that is not UTF-8, an object that has a key twice, and
// a key that differs from a field's name only in case. It does not look inside the values of unknown keys,
// nor inside values that a type reads with its own UnmarshalJSON, such as json.RawMessage. Errors are for
// users: they name the key, or the line and column, and no Go types.
func Unmarshal(text []byte, into any) error {
	if err := foreign(text); err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return errors.New("is not valid UTF-8")
	}
	if err := json.Unmarshal(text, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return inWords(wrong)
		}
		return syntax(text, err)
	}
	c := checker{Scanner{text: string(text)}, map[reflect.Type][]string{}}
	return c.value(reflect.TypeOf(into))
}

// inWords returns an error such as "rope_scaling.short_factor is a string, not an array".
func inWords(wrong *json.UnmarshalTypeError) error {
	where := wrong.Field
	if where == "" {
		where = "the value"
	}
	got := wrong.Value // "object", "number", "number 1.5"
	switch {
	case strings.HasPrefix(got, "number "):
		got = "the " + got
	case got == "array" || got == "object":
		got = "an " + got
	case got == "bool":
		got = "true or false"
	default:
		got = "a " + got
	}
	want := map[reflect.Kind]string{
		reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "an array",
		reflect.Array:  "an array",
		reflect.Struct: "an object", reflect.Map: "an object", reflect.Float32: "a number",
		reflect.Float64: "a number",
	}[wrong.Type.Kind()]
	switch {
	case want == "a number" && strings.HasPrefix(wrong.Value, "number "):
		want = fmt.Sprintf("one that %d bits hold", wrong.Type.Bits())
	case want == "":
		want = fmt.Sprintf("a whole number of up to %d bits", wrong.Type.Bits())
	}
	return fmt.Errorf("%s is %s, not %s", where, got, want)
}

// checker checks the keys of the objects in a text that json.Unmarshal has accepted. It follows the types
// that the values were read into.
type checker struct {
	Scanner
	names map[reflect.Type][]string // the JSON names of a struct's fields
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// value checks the next value, which was read into a variable of type t.
func (c *checker) value(t reflect.Type) error {
	for t.Kind() == reflect.Pointer && !t.Implements(unmarshaler) {
		t = t.Elem()
	}
	switch {
	case t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler):
		c.Skip()
		return nil
	case c.Take('['):
		for !c.Take(']') {
			if err := c.value(elem(t)); err != nil {
				return err
			}
			c.Take(',')
		}
		return nil
	case c.Take('{'):
		return c.object(t)
	}
	c.Skip()
	return nil
}

// object checks the rest of an object, after its "{".
func (c *checker) object(t reflect.Type) error {
	seen := map[string]bool{}
	for !c.Take('}') {
		key, err := c.Str()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("has the key %q twice", show.Brief(key))
		}
		seen[key] = true
		c.Take(':')
		of := elem(t)
		if t.Kind() == reflect.Struct {
			if of, err = c.field(t, key); err != nil {
				return err
			}
		}
		if of == nil {
			c.Skip()
		} else if err := c.value(of); err != nil {
			return fmt.Errorf("%s: %w", show.Brief(key), err)
		}
		c.Take(',')
	}
	return nil
}

// field returns the type of the field that a key names, nil if there is none.
func (c *checker) field(t reflect.Type, key string) (reflect.Type, error) {
	names, ok := c.names[t]
	if !ok {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		c.names[t] = names
	}
	for i, name := range names {
		if key == name {
			return t.Field(i).Type, nil
		}
		if strings.EqualFold(key, name) {
			return nil, fmt.Errorf("the key %q should be %q", key, name)
		}
	}
	return nil, nil
}

// elem returns the type of the elements of a list or map of type t. For any other type it returns any.
func elem(t reflect.Type) reflect.Type {
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return t.Elem()
	}
	return reflect.TypeFor[any]()
}
