package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"phi3/internal/show"
	"phi3/internal/weight"
)

// Entry is a tensor to write.
type Entry struct {
	Name   string
	Format weight.Format
	Shape  []int // outermost dimension first; empty for a scalar
	// WriteTo writes the elements, little-endian, row after row: exactly the bytes that Format and Shape
	// require.
	WriteTo func(w io.Writer) error
}

// Write writes a safetensors file: the header, then each tensor by its WriteTo, so that no whole tensor
// need be in memory. It orders the tensors like the reference implementation, wide formats first and then
// by name, so equal input gives equal bytes. metadata may be nil. After an error, w has not received a
// valid file.
func Write(w io.Writer, tensors []Entry, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Entry) int {
		return cmp.Or(-cmp.Compare(a.Format.Bits(), b.Format.Bits()),
			cmp.Compare(a.Format.String(), b.Format.String()),
			cmp.Compare(a.Name, b.Name))
	})
	header, err := makeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	for _, t := range tensors {
		size, _ := sizeInBytes(t.Format, t.Shape) // makeHeader has returned its error
		counted := &countingWriter{w: w, left: size}
		if err := t.WriteTo(counted); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if counted.left != 0 {
			return fmt.Errorf("tensor %q: %d of its %d bytes were not written", t.Name, counted.left, size)
		}
	}
	return nil
}

// HeaderBytes returns the number of bytes that Write writes before the first tensor.
func HeaderBytes(tensors []Entry, metadata map[string]string) (int, error) {
	header, err := makeHeader(tensors, metadata)
	return len(header), err
}

// makeHeader returns the length and the JSON, padded with spaces to a multiple of 8 bytes so that the
// data is aligned.
func makeHeader(tensors []Entry, metadata map[string]string) ([]byte, error) {
	header := bytes.NewBuffer(make([]byte, lengthBytes))
	header.WriteByte('{')
	if len(metadata) > 0 {
		for key, value := range metadata {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, fmt.Errorf("metadata %q: not valid UTF-8", show.Brief(key))
			}
		}
		appendJSON(header, metadataKey)
		header.WriteByte(':')
		appendJSON(header, metadata)
	}
	seen := map[string]bool{metadataKey: true}
	var begin uint64
	for i, t := range tensors {
		if !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor %q: name is not valid UTF-8", show.Brief(t.Name))
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: name is reserved or taken", show.Brief(t.Name))
		}
		seen[t.Name] = true
		size, err := sizeInBytes(t.Format, t.Shape)
		if err == nil && len(t.Shape) > maxRank {
			err = fmt.Errorf("has %d dimensions, over the limit of %d", len(t.Shape), maxRank)
		}
		if err == nil && begin+size < begin {
			err = errors.New("the file would have more than 2^64 bytes")
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", show.Brief(t.Name), err)
		}
		if i > 0 || len(metadata) > 0 {
			header.WriteByte(',')
		}
		appendJSON(header, t.Name)
		header.WriteByte(':')
		appendJSON(header, struct {
			DType   string    `json:"dtype"`
			Shape   []int     `json:"shape"`
			Offsets [2]uint64 `json:"data_offsets"`
		}{t.Format.String(), append([]int{}, t.Shape...), [2]uint64{begin, begin + size}})
		begin += size
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	n := header.Len() - lengthBytes
	if n > maxHeaderBytes {
		return nil, fmt.Errorf("header of %d bytes is over the format's limit of %d", n, maxHeaderBytes)
	}
	binary.LittleEndian.PutUint64(header.Bytes(), uint64(n))
	return header.Bytes(), nil
}

// appendJSON appends v without HTML escapes or spaces, as the reference implementation does. v must be
// encodable.
func appendJSON(buf *bytes.Buffer, v any) {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	buf.Truncate(buf.Len() - 1) // Encode's newline
}

// countingWriter refuses more bytes than the header says.
type countingWriter struct {
	w    io.Writer
	left uint64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if uint64(len(p)) > c.left {
		return 0, errors.New("more bytes than its dtype and shape require")
	}
	n, err := c.w.Write(p)
	c.left -= uint64(n)
	return n, err
}
