package weight

import (
	"encoding/binary"
	"math"
)

// The quantized formats of GGUF files. A block stores an integer q of 2 to 8 bits for each weight. The weight
// is a scale times q minus a constant of the format, or times the q-th value of a table (IQ4); formats with a
// minimum add or subtract it. The arithmetic is float32, in the order of the reference
// (gguf-py/gguf/quants.py of llama.cpp). At most one operation rounds: the products are exact, because their
// factors have at most 24 significant bits together, so only the sum with a minimum is rounded. Q8_K, whose
// scale is a float32, has no minimum and rounds its product.
//
// Then the value is rounded to bfloat16, ties to even. Everything after that is the computation with weights
// of bfloat16. So a quantized checkpoint has the logits of the bfloat16 checkpoint that it expands to.

// Dequantize sets dst to the weights of src before they are rounded to bfloat16. len(dst) is a whole number
// of blocks. It panics if f is not quantized.
func Dequantize(dst []float32, src []byte, f Format) {
	switch f { // not a table of functions, for which the compiler would move dst to the heap
	case Q4_0:
		dequantizeQ4_0(dst, src)
	case Q4_1:
		dequantizeQ4_1(dst, src)
	case Q5_0:
		dequantizeQ5_0(dst, src)
	case Q5_1:
		dequantizeQ5_1(dst, src)
	case Q8_0:
		dequantizeQ8_0(dst, src)
	case Q2_K:
		dequantizeQ2_K(dst, src)
	case Q3_K:
		dequantizeQ3_K(dst, src)
	case Q4_K:
		dequantizeQ4_K(dst, src)
	case Q5_K:
		dequantizeQ5_K(dst, src)
	case Q6_K:
		dequantizeQ6_K(dst, src)
	case Q8_K:
		dequantizeQ8_K(dst, src)
	case IQ4_NL:
		dequantizeIQ4_NL(dst, src)
	case IQ4_XS:
		dequantizeIQ4_XS(dst, src)
	default:
		panic("weight: not a quantized format: " + f.String())
	}
}

// Unpack sets dst to the bfloat16 weights of src, whose format is quantized. len(dst) is a whole number of
// blocks. The backends' faster versions have the same bits; this one is their reference.
func Unpack(dst []uint16, src []byte, f Format) {
	weights, bytes := f.Block()
	var block [256]float32
	for len(dst) > 0 {
		values := block[:weights]
		Dequantize(values, src[:bytes], f)
		for i, v := range values {
			dst[i] = ToBF16(v)
		}
		dst, src = dst[weights:], src[bytes:]
	}
}

// halfAt returns the float16 at the beginning of src.
func halfAt(src []byte) float32 { return f16Table()[binary.LittleEndian.Uint16(src)] }

// The comments below give the bytes of a block in order, then the value of a weight q.

// dequantizeQ4_0: a scale d; 16 bytes, whose low halves are weights 0 … 15 and whose high halves are weights
// 16 … 31; d·(q-8).
func dequantizeQ4_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d := halfAt(src)
		for i, q := range src[2:18] {
			dst[i] = d * float32(int(q&15)-8)
			dst[i+16] = d * float32(int(q>>4)-8)
		}
	}
}

// dequantizeQ4_1: a scale d, a minimum m, 16 bytes as in Q4_0; d·q + m.
func dequantizeQ4_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		d, m := halfAt(src), halfAt(src[2:])
		for i, q := range src[4:20] {
			dst[i] = float32(d*float32(q&15)) + m
			dst[i+16] = float32(d*float32(q>>4)) + m
		}
	}
}

// dequantizeQ5_0: a scale d, 32 bits that are the fifth bits of the weights, 16 bytes as in Q4_0; d·(q-16).
func dequantizeQ5_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[22:] {
		d, high := halfAt(src), binary.LittleEndian.Uint32(src[2:])
		for i, q := range src[6:22] {
			dst[i] = d * float32(int(q&15|byte(high>>i&1)<<4)-16)
			dst[i+16] = d * float32(int(q>>4|byte(high>>(i+16)&1)<<4)-16)
		}
	}
}

// dequantizeQ5_1: a scale d, a minimum m, the fifth bits, 16 bytes as in Q4_0; d·q + m.
func dequantizeQ5_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[24:] {
		d, m, high := halfAt(src), halfAt(src[2:]), binary.LittleEndian.Uint32(src[4:])
		for i, q := range src[8:24] {
			dst[i] = float32(d*float32(q&15|byte(high>>i&1)<<4)) + m
			dst[i+16] = float32(d*float32(q>>4|byte(high>>(i+16)&1)<<4)) + m
		}
	}
}

// dequantizeQ8_0: a scale d, 32 signed bytes; d·q.
func dequantizeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
		d := halfAt(src)
		for i, q := range src[2:34] {
			dst[i] = d * float32(int8(q))
		}
	}
}

// kvaluesIQ4 are the 16 values of a weight of IQ4_NL and IQ4_XS.
var kvaluesIQ4 = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// dequantizeIQ4_NL: a scale d, 16 bytes as in Q4_0; d times the q-th value of a table.
func dequantizeIQ4_NL(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d := halfAt(src)
		for i, q := range src[2:18] {
			dst[i] = d * kvaluesIQ4[q&15]
			dst[i+16] = d * kvaluesIQ4[q>>4]
		}
	}
}

// dequantizeIQ4_XS: a scale d; for each of 8 groups of 32 weights, a scale s of 6 bits (two in a word of 16
// bits, the lower four in 4 bytes); 128 bytes, each 16 as in Q4_0; d·(s-32) times a value of the table.
func dequantizeIQ4_XS(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[136:] {
		d, high := halfAt(src), binary.LittleEndian.Uint16(src[2:])
		for g := range 8 {
			s := int(src[4+g/2]>>(g%2*4)&15) | int(high>>(2*g)&3)<<4
			scale := d * float32(s-32)
			for i, q := range src[8+16*g:][:16] {
				dst[32*g+i] = scale * kvaluesIQ4[q&15]
				dst[32*g+i+16] = scale * kvaluesIQ4[q>>4]
			}
		}
	}
}

// dequantizeQ8_K: a float32 scale d, 256 signed bytes, 16 sums that are not used here; d·q.
func dequantizeQ8_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[292:] {
		d := math.Float32frombits(binary.LittleEndian.Uint32(src))
		for i, q := range src[4:260] {
			dst[i] = d * float32(int8(q))
		}
	}
}
