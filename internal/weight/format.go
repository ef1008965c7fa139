package weight

// Format is how the numbers of a tensor are stored. Devices compute with BF16, F16, F32 and the quantized
// formats. The others are listed so that an error can name them.
type Format uint8

// The formats that are not quantized, named as in the header of a safetensors file. The zero Format is not a
// format.
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

// The quantized formats, named as in GGUF files. A row is a sequence of blocks, see [Format.Block]. The value
// of a weight is a function of its block's bytes: see quants.go.
const (
	Q4_0 Format = I64 + 1 + iota
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	Q8_K
	IQ4_NL
	IQ4_XS
)

// A formatRow describes a format.
type formatRow struct {
	name    string
	bits    int // of a block
	weights int // of a block; 0, which stands for 1, if the format is not quantized
}

var formats = [...]formatRow{
	BF16: {name: "BF16", bits: 16}, F16: {name: "F16", bits: 16}, F32: {name: "F32", bits: 32},
	F64: {name: "F64", bits: 64}, C64: {name: "C64", bits: 64},
	F8E5M2: {name: "F8_E5M2", bits: 8}, F8E4M3: {name: "F8_E4M3", bits: 8},
	F8E8M0: {name: "F8_E8M0", bits: 8}, F8E4M3FNUZ: {name: "F8_E4M3FNUZ", bits: 8},
	F8E5M2FNUZ: {name: "F8_E5M2FNUZ", bits: 8},
	F6E2M3:     {name: "F6_E2M3", bits: 6}, F6E3M2: {name: "F6_E3M2", bits: 6}, F4: {name: "F4", bits: 4},
	Bool: {name: "BOOL", bits: 8}, U8: {name: "U8", bits: 8}, I8: {name: "I8", bits: 8},
	U16: {name: "U16", bits: 16}, I16: {name: "I16", bits: 16}, U32: {name: "U32", bits: 32},
	I32: {name: "I32", bits: 32}, U64: {name: "U64", bits: 64}, I64: {name: "I64", bits: 64},

	Q4_0:   {"Q4_0", 18 * 8, 32},
	Q4_1:   {"Q4_1", 20 * 8, 32},
	Q5_0:   {"Q5_0", 22 * 8, 32},
	Q5_1:   {"Q5_1", 24 * 8, 32},
	Q8_0:   {"Q8_0", 34 * 8, 32},
	Q2_K:   {"Q2_K", 84 * 8, 256},
	Q3_K:   {"Q3_K", 110 * 8, 256},
	Q4_K:   {"Q4_K", 144 * 8, 256},
	Q5_K:   {"Q5_K", 176 * 8, 256},
	Q6_K:   {"Q6_K", 210 * 8, 256},
	Q8_K:   {"Q8_K", 292 * 8, 256},
	IQ4_NL: {"IQ4_NL", 18 * 8, 32},
	IQ4_XS: {"IQ4_XS", 136 * 8, 256},
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

// String returns the format's name, such as "BF16" or "Q4_K", or "" for the zero Format.
func (f Format) String() string { return formats[f].name }

// Quantized reports whether rows of the format are blocks that [Unpack] expands to bfloat16.
func (f Format) Quantized() bool { return formats[f].weights > 0 }

// Bits returns the size of one number in bits, 4 to 64. It is 0 for the zero Format, and for quantized
// formats, whose blocks have a size only as a whole.
func (f Format) Bits() int {
	if f.Quantized() {
		return 0
	}
	return formats[f].bits
}

// Block returns the number of weights in a block and the size of a block in bytes: 32 and 18 for Q4_0, 1 and
// 2 for BF16. A row of a quantized format has a whole number of blocks.
func (f Format) Block() (weights, bytes int) {
	return max(1, formats[f].weights), formats[f].bits / 8
}

// RowBytes returns the size in bytes of a row of cols numbers, a whole number of blocks.
func (f Format) RowBytes(cols int) int {
	return cols * formats[f].bits / (8 * max(1, formats[f].weights))
}

// BitsPerWeight returns the average size of a weight in bits: 4.5 for Q4_0.
func (f Format) BitsPerWeight() float64 {
	return float64(formats[f].bits) / float64(max(1, formats[f].weights))
}
