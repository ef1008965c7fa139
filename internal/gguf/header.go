package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"
	"unsafe"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/weight"
)

const (
	magic = "GGUF"

	// Bounds of a header. Real ones have 1 to 10 MB, almost all of it the vocabulary, 30 to 50 keys, and 200
	// to 500 tensors.
	maxHeaderBytes = 100_000_000
	maxKeys        = 1 << 18 // and tensors
	maxRank        = 4       // ggml's
	maxNameBytes   = 63      // of a tensor, ggml's
	maxKeyBytes    = 65535

	defaultAlignment = 32
	maxAlignment     = 1 << 20
	alignmentKey     = "general.alignment"
)

// A tensorInfo is a tensor as the header describes it.
type tensorInfo struct {
	name   string // in the file
	format weight.Format
	shape  []int  // outermost dimension first
	offset uint64 // from the start of the data
	size   uint64 // bytes
}

// A header is what a GGUF file has before its data.
type header struct {
	meta    Metadata
	tensors []tensorInfo // in the order of their bytes
	data    uint64       // where the data starts, from the beginning of the file
}

// parse checks a whole file and returns its header. It reads only the header. The result does not refer to
// data.
func parse(file string, data []byte) (*header, error) {
	if err := regular.Placeholder(data); err != nil {
		return nil, err
	}
	view := unsafe.String(unsafe.SliceData(data), min(len(data), maxHeaderBytes))
	first := scanner{text: view, whole: len(data)}
	err := first.walk(
		func(string, value) error { return nil },
		func(tensorInfo) error { return nil },
	)
	if err != nil {
		return nil, err
	}
	// Strings of the metadata are parts of this copy, which stays when the file is unmapped.
	s := scanner{text: strings.Clone(view[:first.at]), whole: len(data)}
	h := &header{meta: Metadata{file: file, values: map[string]value{}}}
	names := map[string]bool{}
	err = s.walk(h.meta.add, func(t tensorInfo) error {
		if names[t.name] {
			return errors.New("occurs twice")
		}
		names[t.name] = true
		h.tensors = append(h.tensors, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, h.place(uint64(s.at), uint64(len(data)))
}

// add records a value. It checks what the accessors rely on.
func (m *Metadata) add(key string, v value) error {
	if _, ok := m.values[key]; ok {
		return errors.New("occurs twice")
	}
	for i, raw := 0, v.raw; i < v.n && v.kind == String; i++ {
		n := binary.LittleEndian.Uint64([]byte(raw[:8]))
		if !utf8.ValidString(raw[8 : 8+n]) {
			if v.isArray {
				return fmt.Errorf("has an element that is not UTF-8: number %d, %q", i,
					show.Brief(raw[8:8+n]))
			}
			return fmt.Errorf("is a string that is not UTF-8: %q", show.Brief(raw[8:]))
		}
		raw = raw[8+n:]
	}
	if v.kind == Bool {
		if i := strings.IndexFunc(v.raw, func(r rune) bool { return r > 1 }); i >= 0 {
			return fmt.Errorf("is a bool with the value %d, not 0 or 1", v.raw[i])
		}
	}
	m.values[key] = v
	return nil
}

// place compares the places of the tensors with each other and with the size of the file, by the rule of
// ggml: each begins where the one before it ends, rounded up to the alignment.
func (h *header) place(end, size uint64) error {
	alignment, err := h.alignment()
	if err != nil {
		return err
	}
	align := func(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }
	h.data = align(end)
	var next uint64
	for i := range h.tensors {
		t := &h.tensors[i]
		switch {
		case t.offset < next:
			err = fmt.Errorf("begins at byte %d of the data, inside of the tensor before it, which takes "+
				"the bytes up to %d", t.offset, next)
		case t.offset > next:
			err = fmt.Errorf("begins at byte %d of the data and leaves a hole: the bytes before it end at %d",
				t.offset, next)
		case t.size > math.MaxInt64-h.data-next || h.data+next+t.size > size:
			err = fmt.Errorf("takes %d bytes from byte %d, but the file has %d: is the download complete?",
				t.size, h.data+next, size)
		}
		if err != nil {
			return fmt.Errorf("tensor %s %w", show.Brief(t.name), err)
		}
		next = align(next + t.size)
	}
	return nil
}

// alignment returns the multiple of which every tensor's place is one.
func (h *header) alignment() (uint64, error) {
	if v, ok := h.meta.values[alignmentKey]; ok && (v.isArray || v.kind != Uint32) {
		return 0, fmt.Errorf("key %s is %s, not a u32", alignmentKey, v.describe())
	}
	n, err := h.meta.Int(alignmentKey, defaultAlignment)
	if err == nil && (bits.OnesCount64(uint64(n)) != 1 || n > maxAlignment) {
		err = fmt.Errorf("key %s is %d, not a power of two up to %d", alignmentKey, n, maxAlignment)
	}
	return uint64(n), err
}

// A scanner reads a header from its beginning.
type scanner struct {
	text  string // the file, or the part of it that a header may take
	whole int    // bytes of the file
	at    int
}

// walk reads the header: the fixed part, then the metadata, then the tensors.
func (s *scanner) walk(kv func(string, value) error, tensor func(tensorInfo) error) error {
	nTensors, nKeys, err := s.counts()
	if err != nil {
		return err
	}
	for range nKeys {
		key, err := s.name("a key", maxKeyBytes)
		if err != nil {
			return err
		}
		v, err := s.value()
		if err == nil {
			err = kv(key, v)
		}
		if err != nil {
			return fmt.Errorf("key %s %w", show.Brief(key), err)
		}
	}
	for range nTensors {
		name, err := s.name("a tensor's name", maxNameBytes)
		if err != nil {
			return err
		}
		t, err := s.tensor()
		if err == nil {
			t.name = name
			err = tensor(t)
		}
		if err != nil {
			return fmt.Errorf("tensor %s %w", show.Brief(name), err)
		}
	}
	return nil
}

// counts reads the magic, the version, and the number of tensors and keys.
func (s *scanner) counts() (tensors, keys uint64, err error) {
	if s.text == "" {
		return 0, 0, errors.New("is empty: is the download complete?")
	}
	if !strings.HasPrefix(s.text, magic) {
		return 0, 0, fmt.Errorf("begins with %q, not with %q: not a GGUF file?",
			s.text[:min(4, len(s.text))], magic)
	}
	s.at = len(magic)
	version, err := s.uint(4)
	switch {
	case err != nil:
		return 0, 0, err
	case version == 1:
		return 0, 0, errors.New("is a GGUF file of version 1, which nothing has written since 2023: " +
			"convert the model again")
	case version&0xffff == 0 && version != 0:
		return 0, 0, errors.New("is a big-endian GGUF file; phi3 reads little-endian ones, which are the " +
			"usual ones")
	case version != 2 && version != 3:
		return 0, 0, fmt.Errorf("is a GGUF file of version %d; phi3 reads versions 2 and 3", version)
	}
	if tensors, err = s.uint(8); err == nil {
		keys, err = s.uint(8)
	}
	// At least 25 bytes for a tensor: the length of its name, a name, the rank, the type and the offset. At
	// least 14 for a key: its length, a key, the type and a value.
	left := uint64(s.whole - s.at)
	switch {
	case err != nil:
		return 0, 0, err
	case tensors > maxKeys:
		return 0, 0, fmt.Errorf("says that it has %d tensors, over the limit of %d", tensors, maxKeys)
	case keys > maxKeys:
		return 0, 0, fmt.Errorf("says that it has %d keys, over the limit of %d", keys, maxKeys)
	case tensors*25+keys*14 > left:
		return 0, 0, fmt.Errorf("says that it has %d tensors and %d keys, which do not fit in %d bytes: is "+
			"the download complete?", tensors, keys, s.whole)
	}
	return tensors, keys, nil
}

// take returns the next n bytes.
func (s *scanner) take(n uint64) (string, error) {
	if n <= uint64(len(s.text)-s.at) {
		s.at += int(n)
		return s.text[s.at-int(n) : s.at], nil
	}
	if n <= uint64(s.whole-s.at) {
		return "", fmt.Errorf("leads beyond byte %d, the limit of phi3 for a header", maxHeaderBytes)
	}
	return "", fmt.Errorf("needs %d bytes from byte %d, but the file has %d: is the download complete?", n,
		s.at, s.whole)
}

// uint reads an unsigned integer of size bytes.
func (s *scanner) uint(size int) (n uint64, err error) {
	raw, err := s.take(uint64(size))
	for i := range len(raw) {
		n |= uint64(raw[i]) << (8 * i)
	}
	return n, err
}

// name reads a key or the name of a tensor.
func (s *scanner) name(what string, limit uint64) (string, error) {
	at := s.at
	n, err := s.uint(8)
	switch {
	case err != nil:
	case n == 0 || n > limit:
		err = fmt.Errorf("has %d bytes, not 1 to %d", n, limit)
	default:
		var name string
		if name, err = s.take(n); err == nil && utf8.ValidString(name) {
			return name, nil
		}
		if err == nil {
			err = fmt.Errorf("is not UTF-8: %q", show.Brief(name))
		}
	}
	return "", fmt.Errorf("%s at byte %d %w", what, at, err)
}

// value reads the kind of a value, and finds its end.
func (s *scanner) value() (v value, err error) {
	kind, err := s.kind()
	if err != nil {
		return v, err
	}
	v = value{kind: kind, n: 1}
	count := uint64(1)
	if kind == Array {
		v.isArray = true
		if v.kind, err = s.kind(); err == nil {
			count, err = s.uint(8)
		}
		switch {
		case err != nil:
			return v, err
		case v.kind == Array:
			return v, errors.New("is an array of arrays, which no model needs")
		}
	}
	size := uint64(kinds[v.kind].size)
	left := uint64(s.whole - s.at)
	if count > left/size {
		return v, fmt.Errorf("has %d elements, which do not fit in the %d bytes that are left in the "+
			"file: is the download complete?", count, left)
	}
	v.n = int(count)
	if v.kind != String {
		v.raw, err = s.take(count * size)
		return v, err
	}
	start := s.at
	for range count {
		n, err := s.uint(8)
		if err == nil {
			_, err = s.take(n)
		}
		if err != nil {
			return v, err
		}
	}
	v.raw = s.text[start:s.at]
	return v, nil
}

func (s *scanner) kind() (Kind, error) {
	n, err := s.uint(4)
	if err == nil && n >= uint64(len(kinds)) {
		err = fmt.Errorf("has the type %d, which GGUF does not have", n)
	}
	return Kind(n), err
}

// tensor reads a tensor's shape, type and offset.
func (s *scanner) tensor() (t tensorInfo, err error) {
	rank, err := s.uint(4)
	if err == nil && rank > maxRank {
		err = fmt.Errorf("has %d dimensions, over the format's limit of %d", rank, maxRank)
	}
	if err != nil {
		return t, err
	}
	t.shape = make([]int, rank)
	for i := range t.shape {
		n, err := s.uint(8)
		if err == nil && n > math.MaxInt {
			err = fmt.Errorf("has the dimension %d, over this machine's limit of %d", n, math.MaxInt)
		}
		if err != nil {
			return t, err
		}
		t.shape[int(rank)-1-i] = int(n) // the file has the innermost first
	}
	kind, err := s.uint(4)
	if err == nil {
		t.offset, err = s.uint(8)
	}
	if err == nil {
		t.format, err = ggmlType(kind).format()
	}
	if err == nil {
		t.size, err = sizeInBytes(t.format, t.shape)
	}
	return t, err
}

// sizeInBytes returns the bytes that a tensor takes. It returns an error if a row is not a whole number of
// blocks, or if the number of elements or of bytes does not fit an int.
func sizeInBytes(f weight.Format, shape []int) (uint64, error) {
	elements := uint64(1)
	for _, n := range shape {
		over, product := bits.Mul64(elements, uint64(n))
		if n < 0 || over != 0 || product > math.MaxInt {
			return 0, fmt.Errorf("has the shape %v, which has too many elements to count", shape)
		}
		elements = product
	}
	weights, bytes := f.Block()
	row := 1
	if len(shape) > 0 {
		row = shape[len(shape)-1]
	}
	if row%weights != 0 {
		return 0, fmt.Errorf("has rows of %d, which are not whole blocks of %d as %s has them", row,
			weights, f)
	}
	over, size := bits.Mul64(elements/uint64(weights), uint64(bytes))
	if over != 0 || size > math.MaxInt {
		return 0, fmt.Errorf("of the shape %v and the format %s has too many bytes to count", shape, f)
	}
	return size, nil
}
