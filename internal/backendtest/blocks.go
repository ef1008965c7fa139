package backendtest

import (
	"encoding/binary"
	"math"
	"math/rand"

	"phi3/internal/weight"
)

// scalesOf are the offsets of the float16 scales in a weight block of each quantized format. Q8_K has a
// float32 scale at offset 0.
var scalesOf = map[weight.Format][]int{
	weight.Q4_0: {0}, weight.Q4_1: {0, 2}, weight.Q5_0: {0}, weight.Q5_1: {0, 2}, weight.Q8_0: {0},
	weight.Q2_K: {80, 82}, weight.Q3_K: {108}, weight.Q4_K: {0, 2}, weight.Q5_K: {0, 2}, weight.Q6_K: {208},
	weight.Q8_K: nil, weight.IQ4_NL: {0}, weight.IQ4_XS: {0},
}

// QuantizedFormats are the formats of quantized weights.
func QuantizedFormats() (all []weight.Format) {
	for f := weight.Q4_0; f <= weight.IQ4_XS; f++ {
		all = append(all, f)
	}
	return all
}

// RandomBlocks returns n quantized weights, a whole number of weight blocks. All bytes are random but the
// scales: these make weights that are about as large as those of a model.
func RandomBlocks(rng *rand.Rand, f weight.Format, n int) []byte {
	data := make([]byte, f.RowBytes(n))
	for i := range data {
		data[i] = byte(rng.Int63())
	}
	_, size := f.Block()
	for block := data; len(block) > 0; block = block[size:] {
		for _, at := range scalesOf[f] {
			// a float16 between 2^-10 and 2^-8 in size
			binary.LittleEndian.PutUint16(block[at:], uint16(rng.Intn(2<<10)+5<<10|rng.Intn(2)<<15))
		}
		if f == weight.Q8_K {
			scale := (rng.Float32() - 0.5) / 256
			binary.LittleEndian.PutUint32(block, math.Float32bits(scale))
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
