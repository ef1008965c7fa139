// Package weight describes weights independently of the file that they come from: [Tensor] is what a
// checkpoint's reader gives and what a device takes. A reader, such as package safetensors, is a [Source].
package weight

// Tensor is one named array of a checkpoint.
type Tensor struct {
	Name   string
	Format Format
	Shape  []int // outermost dimension first; empty for a scalar
	// Data is the numbers, little-endian, row after row. It lies in the memory of the Source: it is
	// read-only, ends with the Source's Close, and may begin at any address. It is nil where only the sizes
	// matter.
	Data []byte

	// Where Data is, for messages: the file, and the offset of Data in it.
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
func (t *Tensor) Bytes() int64 { return int64(t.Elems()) * int64(t.Format.Bits()) / 8 }

// Float32s returns the elements of a BF16, F16 or F32 tensor as float32, exactly, in memory of their own.
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
