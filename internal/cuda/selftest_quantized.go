//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/x448/float16"

	"phi3/internal/weight"
)

// Random weights of quantized formats, for the self-test.

// scaleOffsets are where a weight block of a format has its float16 scale and minimum. Q8_K has a float32.
var scaleOffsets = map[weight.Format][]int{
	weight.Q4_0:   {0},
	weight.Q4_1:   {0, 2},
	weight.Q5_0:   {0},
	weight.Q5_1:   {0, 2},
	weight.Q8_0:   {0},
	weight.Q2_K:   {80, 82},
	weight.Q3_K:   {108},
	weight.Q4_K:   {0, 2},
	weight.Q5_K:   {0, 2},
	weight.Q6_K:   {208},
	weight.IQ4_NL: {0},
	weight.IQ4_XS: {0},
}

// packed is a matrix of random weights of a quantized format: the bytes of the device's layout, and the
// bfloat16 that these expand to. Their root mean square is near deviation. Only the first blocks are drawn,
// and then repeated; their number is a prime, so that rows differ.
func packed(
	random *rand.Rand, f weight.Format, rows, k int, deviation float64,
) (data []byte, bits []uint16) {
	const drawn = 251
	n := rows * k
	weights, bytes := f.Block()
	for range min(n/weights, drawn) {
		block, values := make([]byte, bytes), make([]float32, weights)
		for i := range block {
			block[i] = byte(random.Uint32())
		}
		setScale(block, f, 1)
		weight.Dequantize(values, block, f)
		size := lengths(values, weights)[0] / math.Sqrt(float64(weights))
		setScale(block, f, deviation/max(size, 1)*(0.5+random.Float64()))
		data = append(data, block...)
	}
	bits = make([]uint16, len(data)/bytes*weights)
	weight.Unpack(bits, data, f)
	return newQuantMatrix(f, repeated(data, n/weights*bytes), rows, k).packed(), repeated(bits, n)
}

// setScale sets the scales of a weight block.
func setScale(block []byte, f weight.Format, scale float64) {
	if f == weight.Q8_K {
		binary.LittleEndian.PutUint32(block, math.Float32bits(float32(scale)))
	}
	for _, at := range scaleOffsets[f] {
		binary.LittleEndian.PutUint16(block[at:], float16.Fromfloat32(float32(scale)).Bits())
	}
}

// wholeBlocks is cols, raised to whole blocks of a type of weights.
func wholeBlocks(typ elementType, cols int) int {
	weights, _ := typ.format().Block()
	return ceilDiv(cols, weights) * weights
}

// expand runs the products with the bfloat16 weights that a case's quantized ones expand to.
func (t *tester) expand(c *productCase) {
	w := toDevice(t.workbench, c.w)
	for e := range epilogues {
		y := t.output(c, e, c.tokens)
		p := c.product(e, y, c.tokens)
		p.w, p.weight = w.devicePtr, typeBF16
		t.k.prefill(&t.q, p)
		t.run(productKernel(e, prefill, bf16Weights))
		_, c.expanded[e] = t.results(e, y)
		t.free(y)
	}
	t.free(w)
}

// packed is the whole matrix as it is on the device.
func (m *quantMatrix) packed() []byte {
	dst := make([]byte, m.groups()*m.groupBytes(m.k))
	m.pack(dst, 0)
	return dst
}
