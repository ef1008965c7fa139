package gguf

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"unicode/utf8"

	"phi3/internal/regular"
	"phi3/internal/show"
	"phi3/internal/weight"
)

// KV is a metadata key and its value, to write. The value's Go type decides its kind: a sized integer,
// float32, float64, bool, string, or a slice of one of these.
type KV struct {
	Key   string
	Value any
}

// Entry is a tensor to write.
type Entry struct {
	Name   string // as GGUF names it, see [FileName]
	Format weight.Format
	Shape  []int // outermost dimension first; empty for a scalar
	// WriteTo writes the elements, little-endian, row after row: exactly the bytes that Format and Shape
	// require.
	WriteTo func(w io.Writer) error
}

// version is the version of the files that Write makes.
const version = 3

// Write writes a GGUF file: the header, then each tensor by its WriteTo, so that no whole tensor need be in
// memory. Metadata and tensors keep their order. After an error, w has not received a valid file.
func Write(w io.Writer, metadata []KV, tensors []Entry) error {
	head, alignment, err := makeHeader(metadata, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	for _, t := range tensors {
		size, _ := sizeInBytes(t.Format, t.Shape) // makeHeader has returned its error
		counted := &countingWriter{w: w, left: size}
		if err := t.WriteTo(counted); err != nil {
			return fmt.Errorf("tensor %s: %w", show.Brief(t.Name), err)
		}
		if counted.left != 0 {
			return fmt.Errorf("tensor %s: %d of its %d bytes were not written", show.Brief(t.Name),
				counted.left, size)
		}
		if _, err := w.Write(make([]byte, padding(size, alignment))); err != nil {
			return fmt.Errorf("tensor %s: %w", show.Brief(t.Name), err)
		}
	}
	return nil
}

// WriteFile writes a GGUF file to path. Until the file is complete, it has a name in the same directory that
// begins with a dot. After an error no file is left.
func WriteFile(path string, metadata []KV, tensors []Entry) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".unfinished-*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, regular.Reason(err))
	}
	defer func() {
		if err != nil {
			_ = f.Close() // harmless if it is closed already
			_ = os.Remove(f.Name())
			err = fmt.Errorf("%s: %w", path, regular.Reason(err))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := Write(buffered, metadata, tensors); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil { // CreateTemp makes it readable only for its owner
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// padding returns the bytes after size up to the next multiple of the alignment.
func padding(size, alignment uint64) uint64 { return -size & (alignment - 1) }

// makeHeader returns the header, padded to the alignment, and the alignment.
func makeHeader(metadata []KV, tensors []Entry) (_ []byte, alignment uint64, err error) {
	var b bytes.Buffer
	b.WriteString(magic)
	put(&b, uint32(version))
	put(&b, uint64(len(tensors)))
	put(&b, uint64(len(metadata)))
	seen := map[string]bool{}
	alignment = defaultAlignment
	for _, kv := range metadata {
		if err = checkKey(kv.Key, maxKeyBytes, seen); err == nil {
			putString(&b, kv.Key)
			err = putValue(&b, kv.Value)
		}
		if n, ok := kv.Value.(uint32); kv.Key == alignmentKey && err == nil {
			if alignment = uint64(n); !ok || n == 0 || n&(n-1) != 0 || n > maxAlignment {
				err = fmt.Errorf("must be a uint32 and a power of two up to %d", maxAlignment)
			}
		}
		if err != nil {
			return nil, 0, fmt.Errorf("key %s: %w", show.Brief(kv.Key), err)
		}
	}
	seen = map[string]bool{}
	var offset uint64
	for _, t := range tensors {
		kind, ok := typeOf(t.Format)
		size, err := sizeInBytes(t.Format, t.Shape)
		switch {
		case !ok:
			err = fmt.Errorf("GGUF has no type for %s", t.Format)
		case len(t.Shape) > maxRank:
			err = fmt.Errorf("has %d dimensions, over the format's limit of %d", len(t.Shape), maxRank)
		case err == nil:
			err = checkKey(t.Name, maxNameBytes, seen)
		}
		if err == nil && size > math.MaxInt64-alignment-offset {
			err = errors.New("the file would have more than 2^63 bytes")
		}
		if err != nil {
			return nil, 0, fmt.Errorf("tensor %s: %w", show.Brief(t.Name), err)
		}
		putString(&b, t.Name)
		put(&b, uint32(len(t.Shape)))
		for i := range t.Shape {
			put(&b, uint64(t.Shape[len(t.Shape)-1-i])) // the file has the innermost first
		}
		put(&b, uint32(kind))
		put(&b, offset)
		offset += size + padding(size, alignment)
	}
	b.Write(make([]byte, padding(uint64(b.Len()), alignment)))
	if b.Len() > maxHeaderBytes {
		return nil, 0, fmt.Errorf("the header has %d bytes, over the limit of %d", b.Len(), maxHeaderBytes)
	}
	return b.Bytes(), alignment, nil
}

// checkKey refuses what the reader refuses, and records the key.
func checkKey(key string, limit int, seen map[string]bool) error {
	switch {
	case key == "" || len(key) > limit:
		return fmt.Errorf("the name has %d bytes, not 1 to %d", len(key), limit)
	case !utf8.ValidString(key):
		return errors.New("the name is not UTF-8")
	case seen[key]:
		return errors.New("occurs twice")
	}
	seen[key] = true
	return nil
}

// goKinds maps Go's types to the kinds of GGUF.
var goKinds = map[reflect.Kind]Kind{
	reflect.Uint8: Uint8, reflect.Int8: Int8, reflect.Uint16: Uint16, reflect.Int16: Int16,
	reflect.Uint32: Uint32, reflect.Int32: Int32, reflect.Float32: Float32, reflect.Bool: Bool,
	reflect.String: String, reflect.Uint64: Uint64, reflect.Int64: Int64, reflect.Float64: Float64,
}

// putValue appends the kind of a value and the value.
func putValue(b *bytes.Buffer, v any) error {
	r := reflect.ValueOf(v)
	if v == nil {
		return errors.New("has no value")
	}
	isArray := r.Kind() == reflect.Slice
	elem := r.Type()
	if isArray {
		elem = elem.Elem()
	}
	kind, ok := goKinds[elem.Kind()]
	if !ok {
		return fmt.Errorf("GGUF has no kind for a %T", v)
	}
	if isArray {
		put(b, uint32(Array))
	}
	put(b, uint32(kind))
	if isArray {
		put(b, uint64(r.Len()))
	}
	if kind != String {
		put(b, v)
		return nil
	}
	texts, ok := v.([]string)
	if !isArray {
		texts, ok = []string{r.String()}, true
	}
	if !ok {
		return fmt.Errorf("GGUF has no kind for a %T", v)
	}
	for i, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("string %d is not UTF-8: %q", i, show.Brief(s))
		}
		putString(b, s)
	}
	return nil
}

// put appends numbers or bools, little-endian.
func put(b *bytes.Buffer, v any) { _ = binary.Write(b, binary.LittleEndian, v) }

func putString(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// countingWriter refuses more bytes than the header says.
type countingWriter struct {
	w    io.Writer
	left uint64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if uint64(len(p)) > c.left {
		return 0, errors.New("more bytes than its format and shape require")
	}
	n, err := c.w.Write(p)
	c.left -= uint64(n)
	return n, err
}
