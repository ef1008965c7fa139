package quantize

import (
	"encoding/binary"
	"math"

	"phi3/internal/weight"
)

// The formats of 32 weights a block. For their layouts see quants.go of package weight.

var (
	grid8   = &grid{lo: -127, hi: 127, spread: 0.02} // without -128, as everywhere
	grid5   = &grid{lo: -16, hi: 15, spread: 0.14}
	grid4   = &grid{lo: -8, hi: 7, spread: 0.25}
	gridIQ4 = &grid{lo: -127, hi: 113, spread: 0.25, iq4: true}
)

// kvaluesIQ4 are the levels of IQ4_NL and IQ4_XS.
var kvaluesIQ4 = [16]float64{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// codesIQ4 maps twice a number, plus 256, to the index of the nearest level.
var codesIQ4 = func() (codes [512]byte) {
	for i := range codes {
		for k, v := range kvaluesIQ4 {
			x := float64(i-256) / 2
			if math.Abs(x-v) < math.Abs(x-kvaluesIQ4[codes[i]]) {
				codes[i] = byte(k)
			}
		}
	}
	return codes
}()

// codeIQ4 returns the index of the level nearest to x.
func codeIQ4(x float64) byte {
	return codesIQ4[int(math.Round(2*min(max(x, -127), 127)))+256]
}

func nearestIQ4(x float64) float64 { return kvaluesIQ4[codeIQ4(x)] }

// scaled chooses the float16 scale of the block, sets best to the levels, and returns the scale's bits.
func (f *fitter) scaled(values []float32, g *grid) uint16 {
	f.set(values, 1)
	bits, scale := f.bestHalf(f.fitScale(g), func(scale float64) float64 {
		return f.loss(f.q[:], g, scale, 0)
	})
	f.loss(f.best[:], g, scale, 0)
	if c := f.correction(func(i int) float64 { return scale * f.best[i] }); c != 1 {
		bits, _ = half(scale * c)
	}
	return bits
}

// bestHalf returns the one of three float16 numbers near x that has the least loss.
func (f *fitter) bestHalf(x float64, loss func(float64) float64) (bits uint16, value float64) {
	best := math.Inf(1)
	middle, _ := half(x)
	for _, b := range []uint16{middle, middle + 1, middle - 1} {
		v := halfValue(b)
		if v-v != 0 || middle&0x7fff == 0 && b == middle-1 {
			continue
		}
		if l := loss(v); l < best {
			best, bits, value = l, b, v
		}
	}
	return bits, value
}

// affine chooses the float16 scale and minimum of the block, sets best to the levels, and returns the bits
// of the scale and of the minimum.
func (f *fitter) affine(values []float32, hi float64) (scale, minimum uint16) {
	f.set(values, 1)
	g := &grid{hi: hi}
	for _, levels := range []float64{hi, hi - 1} {
		if scale, minimum, ok := f.exact(values, g, levels); ok {
			return scale, minimum
		}
	}
	s, m := f.fitAffine(hi, false)
	minimum, m = half(m)
	scale, s = f.bestHalf(s, func(scale float64) float64 { return f.loss(f.q[:], g, scale, m) })
	f.loss(f.best[:], g, s, m)
	if c := f.correction(func(i int) float64 { return float64(s*f.best[i]) + m }); c != 1 {
		scale, _ = half(s * c)
		minimum, _ = half(m * c)
	}
	return scale, minimum
}

// exact tries the scale with which the range of the block is that many levels. It reports whether this gives
// the values of the block, rounded to bfloat16: weights that were quantized before stay as they are.
func (f *fitter) exact(values []float32, g *grid, levels float64) (scale, minimum uint16, ok bool) {
	low, high := f.extremes()
	scale, s := half((high - low) / levels)
	minimum, m := half(low)
	f.loss(f.best[:], g, s, m)
	for i, x := range values {
		if weight.FromBF16(weight.ToBF16(float32(s*f.best[i])+float32(m))) != x {
			return 0, 0, false
		}
	}
	return scale, minimum, true
}

// code returns weight i of the block as an unsigned number: its level minus lo.
func (f *fitter) code(i int, lo int) byte { return byte(int(f.best[i]) - lo) }

// halves sets dst to 16 bytes, whose low halves are codes 0 … 15 and whose high halves are codes 16 … 31,
// and returns the fifth bits.
func (f *fitter) halves(dst []byte, lo int) (fifth uint32) {
	for i := range 16 {
		a, b := f.code(i, lo), f.code(i+16, lo)
		dst[i] = a&15 | b<<4
		fifth |= uint32(a>>4)<<i | uint32(b>>4)<<(i+16)
	}
	return fifth
}

func quantizeQ8_0(f *fitter, dst []byte, values []float32) {
	binary.LittleEndian.PutUint16(dst, f.scaled(values, grid8))
	for i := range 32 {
		dst[2+i] = f.code(i, 0)
	}
}

func quantizeQ4_0(f *fitter, dst []byte, values []float32) {
	binary.LittleEndian.PutUint16(dst, f.scaled(values, grid4))
	f.halves(dst[2:], -8)
}

func quantizeQ5_0(f *fitter, dst []byte, values []float32) {
	binary.LittleEndian.PutUint16(dst, f.scaled(values, grid5))
	binary.LittleEndian.PutUint32(dst[2:], f.halves(dst[6:], -16))
}

func quantizeIQ4_NL(f *fitter, dst []byte, values []float32) {
	binary.LittleEndian.PutUint16(dst, f.scaled(values, gridIQ4))
	for i := range 16 {
		dst[2+i] = codeIQ4(f.best[i]) | codeIQ4(f.best[i+16])<<4
	}
}

func quantizeQ4_1(f *fitter, dst []byte, values []float32) {
	scale, minimum := f.affine(values, 15)
	binary.LittleEndian.PutUint16(dst, scale)
	binary.LittleEndian.PutUint16(dst[2:], minimum)
	f.halves(dst[4:], 0)
}

func quantizeQ5_1(f *fitter, dst []byte, values []float32) {
	scale, minimum := f.affine(values, 31)
	binary.LittleEndian.PutUint16(dst, scale)
	binary.LittleEndian.PutUint16(dst[2:], minimum)
	binary.LittleEndian.PutUint32(dst[4:], f.halves(dst[8:], 0))
}
