package gguf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"phi3/internal/show"
)

// Metadata is the key-value pairs of a GGUF file. The accessors return an error if the value is of another
// kind; it names the file and the key.
type Metadata struct {
	file   string
	values map[string]value
}

// A value is one metadata value as it lies in the file.
type value struct {
	kind    Kind // of an array, the kind of its elements
	isArray bool
	n       int    // elements of an array; 1 otherwise
	raw     string // the elements, little-endian; each string after its length (8 bytes)
}

// describe returns words for the value's kind, for messages.
func (v value) describe() string {
	if v.isArray {
		return fmt.Sprintf("an array of %d × %s", v.n, v.kind)
	}
	article := "a "
	if strings.ContainsRune("if", rune(v.kind.String()[0])) { // an i32, an f32
		article = "an "
	}
	return article + v.kind.String()
}

// Has reports whether the file has the key.
func (m *Metadata) Has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// Keys returns all keys, sorted.
func (m *Metadata) Keys() []string { return slices.Sorted(maps.Keys(m.values)) }

// File returns the name of the file, for messages.
func (m *Metadata) File() string { return m.file }

// Errorf returns an error that names the file and the key before the text.
func (m *Metadata) Errorf(key, format string, args ...any) error {
	return fmt.Errorf("%s: key %s "+format, append([]any{m.file, show.Brief(key)}, args...)...)
}

// Text returns a string, otherwise if the file does not have the key.
func (m *Metadata) Text(key, otherwise string) (string, error) {
	v, ok := m.values[key]
	if !ok {
		return otherwise, nil
	}
	if v.isArray || v.kind != String {
		return "", m.Errorf(key, "is %s, not a string", v.describe())
	}
	return v.raw[8:], nil
}

// Int returns a whole number of any integer kind, otherwise if the file does not have the key.
func (m *Metadata) Int(key string, otherwise int64) (int64, error) {
	v, ok := m.values[key]
	if !ok {
		return otherwise, nil
	}
	if v.isArray {
		return 0, m.Errorf(key, "is %s, not a whole number", v.describe())
	}
	n, ok := v.int(0)
	if !ok {
		return 0, m.Errorf(key, "is %s, not a whole number below 2^63", v.describe())
	}
	return n, nil
}

// Float returns a number of any kind, otherwise if the file does not have the key.
func (m *Metadata) Float(key string, otherwise float64) (float64, error) {
	v, ok := m.values[key]
	if !ok {
		return otherwise, nil
	}
	if v.isArray {
		return 0, m.Errorf(key, "is %s, not a number", v.describe())
	}
	x, ok := v.float(0)
	if !ok {
		return 0, m.Errorf(key, "is %s, not a number", v.describe())
	}
	return x, nil
}

// Bool returns a bool, otherwise if the file does not have the key.
func (m *Metadata) Bool(key string, otherwise bool) (bool, error) {
	v, ok := m.values[key]
	if !ok {
		return otherwise, nil
	}
	if v.isArray || v.kind != Bool {
		return false, m.Errorf(key, "is %s, not a bool", v.describe())
	}
	return v.raw[0] != 0, nil
}

// Texts returns an array of strings, nil if the file does not have the key.
func (m *Metadata) Texts(key string) ([]string, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, nil
	}
	if !v.isArray || v.kind != String && v.n > 0 {
		return nil, m.Errorf(key, "is %s, not an array of strings", v.describe())
	}
	texts := make([]string, v.n)
	raw := v.raw
	for i := range texts {
		n := binary.LittleEndian.Uint64([]byte(raw[:8]))
		texts[i], raw = raw[8:8+n], raw[8+n:]
	}
	return texts, nil
}

// Ints returns an array of integers of any kind that fit 32 bits, nil if the file does not have the key.
func (m *Metadata) Ints(key string) ([]int32, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, nil
	}
	if !v.isArray {
		return nil, m.Errorf(key, "is %s, not an array of whole numbers", v.describe())
	}
	list := make([]int32, v.n)
	for i := range list {
		n, ok := v.int(i)
		if !ok || n != int64(int32(n)) {
			return nil, m.Errorf(key, "is %s, not an array of whole numbers of 32 bits", v.describe())
		}
		list[i] = int32(n)
	}
	return list, nil
}

// Floats returns an array of numbers of any kind, nil if the file does not have the key.
func (m *Metadata) Floats(key string) ([]float32, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, nil
	}
	if !v.isArray {
		return nil, m.Errorf(key, "is %s, not an array of numbers", v.describe())
	}
	list := make([]float32, v.n)
	for i := range list {
		x, ok := v.float(i)
		if !ok {
			return nil, m.Errorf(key, "is %s, not an array of numbers", v.describe())
		}
		list[i] = float32(x)
	}
	return list, nil
}

// element returns the bits of element i. The value is not a string.
func (v value) element(i int) (bits uint64) {
	size := kinds[v.kind].size
	raw := v.raw[i*size:][:size]
	for j := range size {
		bits |= uint64(raw[j]) << (8 * j)
	}
	return bits
}

// int returns element i. ok is false if it is not an integer below 2⁶³.
func (v value) int(i int) (n int64, ok bool) {
	switch v.kind {
	case Uint8, Uint16, Uint32, Uint64:
		n = int64(v.element(i))
		return n, n >= 0
	case Int8:
		return int64(int8(v.element(i))), true
	case Int16:
		return int64(int16(v.element(i))), true
	case Int32:
		return int64(int32(v.element(i))), true
	case Int64:
		return int64(v.element(i)), true
	default:
		return 0, false
	}
}

// float returns element i. ok is false if it is not a number.
func (v value) float(i int) (x float64, ok bool) {
	switch v.kind {
	case Float32:
		return float64(math.Float32frombits(uint32(v.element(i)))), true
	case Float64:
		return math.Float64frombits(v.element(i)), true
	case Uint64:
		return float64(v.element(i)), true
	default:
		n, ok := v.int(i)
		return float64(n), ok
	}
}
