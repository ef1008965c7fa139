package cpu

import (
	"encoding/binary"
	"math"
	"sync"
	"unsafe"

	"github.com/x448/float16"

	"phi3/internal/safetensors"
)

// The innermost loops. Products are written float32(a*b): the conversion forbids the compiler to fuse
// multiply and add, which it does on some processors and not on others and may do in one loop and not in the
// next.

// goTileRows is how many weight rows dotTile multiplies at once.
const goTileRows = 6

// goLinear are the loops of a matrix product that run everywhere.
var goLinear = &linearKernels{
	tileRows: func(int, int, int) int { return goTileRows },
	multiply: func(p *product, t *tile, s *scratch) {
		sums := s.sums[:p.in.tokens*goTileRows]
		goDots(sums, t, &p.in, s)
		p.finishSums(sums, goTileRows, t)
	},
	newScratch: func(s *scratch, widest, maxTokens int) {
		grow(&s.sums, maxTokens*goTileRows)
		grow(&s.rows, goTileRows*widest)
	},
}

// goDots sets sums [tokens, goTileRows] to the products of a tile's rows with every row of x.
func goDots(sums []float32, t *tile, x *input, s *scratch) {
	rows := s.rows[:goTileRows*t.k]
	group, halves := goTileRows, 1
	if t.second > 0 {
		group, halves = goTileRows/2, 2
	}
	for half := range halves {
		for i := range t.count {
			widen(row(rows, half*group+i, t.k), t.row(t.n+half*t.second+i), t.dtype)
		}
	}
	for token := range x.tokens {
		s := dotTile(rows, x.row(token))
		copy(row(sums, token, goTileRows), s[:])
	}
}

// dotTile returns the dot products of x with the rows of w, each summed in natural order from k = 0. w is
// [goTileRows, k], x is [k].
//
// Independent sums hide the latency of an addition, and each value of x is loaded once for all of them. Six
// is what fits the registers: with eight, the compiler keeps one sum in memory, and that one sets the pace.
// The order within a sum is the order that makes logits reproducible: it is the same for one token and for a
// thousand.
func dotTile(w, x []float32) [goTileRows]float32 {
	k := len(x)
	w0, w1, w2 := w[0*k:1*k], w[1*k:2*k], w[2*k:3*k]
	w3, w4, w5 := w[3*k:4*k], w[4*k:5*k], w[5*k:6*k]
	w0, w1, w2 = w0[:len(x)], w1[:len(x)], w2[:len(x)] // for the compiler: no bounds checks below
	w3, w4, w5 = w3[:len(x)], w4[:len(x)], w5[:len(x)]
	var s0, s1, s2, s3, s4, s5 float32
	for i, v := range x {
		s0 += float32(w0[i] * v)
		s1 += float32(w1[i] * v)
		s2 += float32(w2[i] * v)
		s3 += float32(w3[i] * v)
		s4 += float32(w4[i] * v)
		s5 += float32(w5[i] * v)
	}
	return [goTileRows]float32{s0, s1, s2, s3, s4, s5}
}

// toBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func toBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func fromBF16(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }

// elemSize returns the bytes of one element of a weight.
func elemSize(t safetensors.DType) int {
	if t == safetensors.F32 {
		return 4
	}
	return 2
}

// widen converts the little-endian elements of src, stored as t, to float32. It is exact for all three types.
// Checkpoints may place a tensor at any byte, so src is read as bytes; the compiler makes plain loads of
// that.
func widen(dst []float32, src []byte, t safetensors.DType) {
	switch t {
	case safetensors.BF16:
		// A bfloat16 is the upper half of a float32. Writing bits, not floats, saves the way through a
		// floating-point register.
		bits := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst))
		src = src[:2*len(bits)]
		for len(bits) >= 4 {
			v := binary.LittleEndian.Uint64(src)
			bits[0] = uint32(v) << 16
			bits[1] = uint32(v) & 0xffff0000
			bits[2] = uint32(v>>32) << 16
			bits[3] = uint32(v>>32) & 0xffff0000
			bits, src = bits[4:], src[8:]
		}
		for i := range bits {
			bits[i] = uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16
		}
	case safetensors.F16:
		table := f16Table()
		for i := range dst {
			dst[i] = table[binary.LittleEndian.Uint16(src[2*i:])]
		}
	case safetensors.F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	}
}

// f16Table maps every float16 to float32: 256 KB, made when the first F16 weight is met.
var f16Table = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = float16.Frombits(uint16(i)).Float32()
	}
	return t
})

// argmax is the lowest id among the greatest logits, or ^id of the first that is NaN or infinite.
func argmax(logits []float32) int32 {
	best := 0
	for id, l := range logits {
		if l-l != 0 { // NaN - NaN and Inf - Inf are NaN
			return int32(^id)
		}
		if l > logits[best] {
			best = id
		}
	}
	return int32(best)
}
