package gguf

import (
	"fmt"

	"phi3/internal/weight"
)

// Kind is the type of a metadata value.
type Kind uint32

// The kinds, with the numbers that GGUF gives them.
const (
	Uint8 Kind = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var kinds = [...]struct {
	name string
	size int // bytes of a value; of a string, the length before it
}{
	Uint8: {"u8", 1}, Int8: {"i8", 1}, Uint16: {"u16", 2}, Int16: {"i16", 2}, Uint32: {"u32", 4},
	Int32: {"i32", 4}, Float32: {"f32", 4}, Bool: {"bool", 1}, String: {"string", 8}, Array: {"array", 12},
	Uint64: {"u64", 8}, Int64: {"i64", 8}, Float64: {"f64", 8},
}

// String returns the name of the kind, such as "u32".
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return fmt.Sprintf("type %d", uint32(k))
	}
	return kinds[k].name
}

// A ggmlType is how a GGUF file says that a tensor is stored. The numbers are those of ggml.
type ggmlType uint32

// ggmlTypes has every type that ggml has or had. format is 0 if phi3 does not read it.
var ggmlTypes = [...]struct {
	name   string
	format weight.Format
}{
	0: {"F32", weight.F32}, 1: {"F16", weight.F16}, 2: {"Q4_0", weight.Q4_0}, 3: {"Q4_1", weight.Q4_1},
	4: {"Q4_2", 0}, 5: {"Q4_3", 0}, 6: {"Q5_0", weight.Q5_0}, 7: {"Q5_1", weight.Q5_1},
	8: {"Q8_0", weight.Q8_0}, 9: {"Q8_1", 0}, 10: {"Q2_K", weight.Q2_K}, 11: {"Q3_K", weight.Q3_K},
	12: {"Q4_K", weight.Q4_K}, 13: {"Q5_K", weight.Q5_K}, 14: {"Q6_K", weight.Q6_K},
	15: {"Q8_K", weight.Q8_K}, 16: {"IQ2_XXS", 0}, 17: {"IQ2_XS", 0}, 18: {"IQ3_XXS", 0}, 19: {"IQ1_S", 0},
	20: {"IQ4_NL", weight.IQ4_NL}, 21: {"IQ3_S", 0}, 22: {"IQ2_S", 0}, 23: {"IQ4_XS", weight.IQ4_XS},
	24: {"I8", weight.I8}, 25: {"I16", weight.I16}, 26: {"I32", weight.I32}, 27: {"I64", weight.I64},
	28: {"F64", weight.F64}, 29: {"IQ1_M", 0}, 30: {"BF16", weight.BF16}, 31: {"Q4_0_4_4", 0},
	32: {"Q4_0_4_8", 0}, 33: {"Q4_0_8_8", 0}, 34: {"TQ1_0", 0}, 35: {"TQ2_0", 0}, 36: {"IQ4_NL_4_4", 0},
	37: {"IQ4_NL_4_8", 0}, 38: {"IQ4_NL_8_8", 0}, 39: {"MXFP4", 0}, 40: {"NVFP4", 0}, 41: {"Q1_0", 0},
	42: {"Q2_0", 0},
}

// readableTypes is for errors about the others.
const readableTypes = "phi3 reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K, IQ4_NL " +
	"and IQ4_XS"

// format returns the type as a [weight.Format].
func (t ggmlType) format() (weight.Format, error) {
	if int(t) >= len(ggmlTypes) {
		return 0, fmt.Errorf("has the type %d, which ggml does not have; %s", uint32(t), readableTypes)
	}
	if f := ggmlTypes[t].format; f != 0 {
		return f, nil
	}
	return 0, fmt.Errorf("is stored as %s; %s", ggmlTypes[t].name, readableTypes)
}

// typeOf returns the type of a format, and whether there is one.
func typeOf(f weight.Format) (ggmlType, bool) {
	for t := range ggmlTypes {
		if f != 0 && ggmlTypes[t].format == f {
			return ggmlType(t), true
		}
	}
	return 0, false
}
