package safetensors

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// DType is the type of a tensor's elements, spelled as in the file's header.
type DType string

// The types that Phi-3 checkpoints use. The reader knows the format's other types too, so that an error can
// name one.
const (
	BF16 DType = "BF16" // bfloat16: the upper half of a float32
	F16  DType = "F16"  // IEEE 754 binary16
	F32  DType = "F32"  // IEEE 754 binary32
)

var bitsOf = map[DType]int{
	"BOOL": 8, "U8": 8, "I8": 8,
	"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, F16: 16, BF16: 16,
	"I32": 32, "U32": 32, F32: 32,
	"I64": 64, "U64": 64, "F64": 64, "C64": 64,
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}

// String returns the type's name in the file, such as "BF16".
func (d DType) String() string { return string(d) }

// Bits returns the size of one element in bits (4 to 64), or 0 if the format has no such type.
func (d DType) Bits() int { return bitsOf[d] }

// Float32s returns the elements of a BF16, F16 or F32 tensor as float32, exactly, in memory of their own.
func (t *Tensor) Float32s() []float32 {
	values := make([]float32, t.Elems())
	for i := range values {
		switch t.DType {
		case BF16:
			values[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		case F16:
			values[i] = float16.Frombits(binary.LittleEndian.Uint16(t.Data[2*i:])).Float32()
		case F32:
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		default:
			panic("safetensors: Float32s of " + t.DType)
		}
	}
	return values
}
