package backendtest

import (
	"encoding/binary"
	"math"
	"math/rand"

	"github.com/x448/float16"

	"phi3/internal/weight"
)

// scales says where the float16 scales are in a weight block of a quantized format, and how large a weight
// can be if these scales are 1. Q8_K has a float32 scale at offset 0.
var scales = map[weight.Format]struct {
	offsets []int
	largest float32
}{
	weight.Q4_0: {[]int{0}, 8}, weight.Q4_1: {[]int{0, 2}, 16}, weight.Q5_0: {[]int{0}, 16},
	weight.Q5_1: {[]int{0, 2}, 32}, weight.Q8_0: {[]int{0}, 128}, weight.Q2_K: {[]int{80, 82}, 45},
	weight.Q3_K: {[]int{108}, 128}, weight.Q4_K: {[]int{0, 2}, 945}, weight.Q5_K: {[]int{0, 2}, 1953},
	weight.Q6_K: {[]int{208}, 4096}, weight.Q8_K: {nil, 128}, weight.IQ4_NL: {[]int{0}, 127},
	weight.IQ4_XS: {[]int{0}, 4064},
}

// QuantizedFormats are the formats of quantized weights.
func QuantizedFormats() (all []weight.Format) {
	for f := weight.Q4_0; f <= weight.IQ4_XS; f++ {
		all = append(all, f)
	}
	return all
}

// RandomBlocks returns n quantized weights, a whole number of weight blocks. All bytes are random but the
// scales, with which the weights are at most 0.2 in size.
func RandomBlocks(rng *rand.Rand, f weight.Format, n int) []byte {
	data := make([]byte, f.RowBytes(n))
	for i := range data {
		data[i] = byte(rng.Int63())
	}
	_, size := f.Block()
	layout := scales[f]
	scale := func() float32 { return (0.1 + 0.1*rng.Float32()) * float32(1-2*rng.Intn(2)) / layout.largest }
	for block := data; len(block) > 0; block = block[size:] {
		for _, at := range layout.offsets {
			binary.LittleEndian.PutUint16(block[at:], float16.Fromfloat32(scale()).Bits())
		}
		if f == weight.Q8_K {
			binary.LittleEndian.PutUint32(block, math.Float32bits(scale()))
		}
	}
	return data
}

// Expand returns the bfloat16 weights, little-endian, of quantized ones.
func Expand(data []byte, f weight.Format) []byte {
	weights, size := f.Block()
	values := make([]uint16, len(data)/size*weights)
	weight.Unpack(values, data, f)
	var bytes []byte
	for _, v := range values {
		bytes = binary.LittleEndian.AppendUint16(bytes, v)
	}
	return bytes
}
