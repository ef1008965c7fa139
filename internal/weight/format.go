package weight

// Format is how the numbers of a tensor are stored. Devices compute with BF16, F16 and F32. The other formats
// are listed so that an error can name them.
type Format uint8

// The formats, named as in the header of a safetensors file. The zero Format is none of them.
const (
	_ Format = iota

	BF16 // bfloat16: the upper half of a float32
	F16  // IEEE 754 binary16
	F32  // IEEE 754 binary32

	F64
	C64
	F8E5M2
	F8E4M3
	F8E8M0
	F8E4M3FNUZ
	F8E5M2FNUZ
	F6E2M3
	F6E3M2
	F4
	Bool
	U8
	I8
	U16
	I16
	U32
	I32
	U64
	I64
)

var formats = [...]struct {
	name string
	bits int
}{
	BF16: {"BF16", 16}, F16: {"F16", 16}, F32: {"F32", 32}, F64: {"F64", 64}, C64: {"C64", 64},
	F8E5M2: {"F8_E5M2", 8}, F8E4M3: {"F8_E4M3", 8}, F8E8M0: {"F8_E8M0", 8},
	F8E4M3FNUZ: {"F8_E4M3FNUZ", 8}, F8E5M2FNUZ: {"F8_E5M2FNUZ", 8},
	F6E2M3: {"F6_E2M3", 6}, F6E3M2: {"F6_E3M2", 6}, F4: {"F4", 4},
	Bool: {"BOOL", 8}, U8: {"U8", 8}, I8: {"I8", 8}, U16: {"U16", 16}, I16: {"I16", 16},
	U32: {"U32", 32}, I32: {"I32", 32}, U64: {"U64", 64}, I64: {"I64", 64},
}

// ParseFormat returns the format of that name, spelled as [Format.String] spells it.
func ParseFormat(name string) (Format, bool) {
	for f := BF16; int(f) < len(formats); f++ {
		if formats[f].name == name {
			return f, true
		}
	}
	return 0, false
}

// String returns the format's name, such as "BF16", or "" for the zero Format.
func (f Format) String() string { return formats[f].name }

// Bits returns the size of one number in bits: 4 to 64, or 0 for the zero Format.
func (f Format) Bits() int { return formats[f].bits }

// RowBytes returns the size in bytes of a row of cols numbers.
func (f Format) RowBytes(cols int) int { return cols * formats[f].bits / 8 }
