package safetensors

// DType is the type of a tensor's elements, spelled as in the file's header.
type DType string

// The types that Phi-3 checkpoints use. The reader knows the format's other types too, so that an error can name one.
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
