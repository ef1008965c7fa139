// Package weight describes weights independently of the format of their file. The reader of a checkpoint
// returns each weight as a [Tensor], and devices take it in this form. A reader, such as the one in package
// safetensors, implements [Source].
package weight

// Tensor is one named array of a checkpoint.
type Tensor struct {
	Name   string
	Format Format
	Shape  []int // outermost dimension first; empty for a scalar
	// Data is the numbers, little-endian, row after row. It is in the memory of the Source: it is read-only,
	// is valid until the Source's Close, and may begin at any address. It is nil if only the sizes are
	// needed.
	Data []byte

	// For messages: the file that holds Data, and the offset of Data in the file.
	File   string
	Offset int64
}

// Elems returns the number of elements: the product of Shape, 1 for a scalar.
func (t *Tensor) Elems() int {
	n := 1
	for _, dim := range t.Shape {
		n *= dim // cannot overflow: the Source has checked it
	}
	return n
}

// Bytes returns the size of the elements in bytes, whether or not Data is there.
func (t *Tensor) Bytes() int64 { return int64(t.Format.RowBytes(t.Elems())) }

// Float32s returns the elements as float32 in memory of their own, see [Widen].
func (t *Tensor) Float32s() []float32 {
	values := make([]float32, t.Elems())
	Widen(values, t.Data, t.Format)
	return values
}

// Source is where the tensors of a checkpoint come from.
type Source interface {
	// Tensor returns the tensor of that name, and whether there is one.
	Tensor(name string) (*Tensor, bool)
	// Names returns the names of all tensors, sorted.
	Names() []string
}
