package quantize

import (
	"encoding/binary"
	"math"
)

// The formats of 256 weights a block. The scales and the minimums of its groups are integers times float16
// numbers of the block. For the layouts see kquants.go of package weight.

var (
	grid6 = &grid{lo: -32, hi: 31, spread: 0.1}
	grid3 = &grid{lo: -4, hi: 3, spread: 0.5}
)

// scaledGroups quantizes a block of groups of n weights, which become scale·ints[group]·level. The
// integers are from lo to -lo-1. It sets best and ints, and returns the bits of the scale.
func (f *fitter) scaledGroups(values []float32, n int, g *grid, lo int) uint16 {
	f.set(values, 1)
	groups := 256 / n
	large := 0.0
	for i := range groups {
		f.group(i*n, n)
		f.scales[i] = f.fitScale(g)
		if math.Abs(f.scales[i]) > math.Abs(large) {
			large = f.scales[i]
		}
	}
	bits, d := half(large / float64(lo))
	for range 2 {
		bits, d = half(f.refitScale(n, g, lo, d))
	}
	f.chooseScales(n, g, lo, d)
	f.group(0, 256)
	if c := f.correction(func(i int) float64 { return d * float64(f.ints[i/n]) * f.best[i] }); c != 1 {
		bits, _ = half(d * c)
	}
	return bits
}

// chooseScales chooses the integers of the groups for the scale d, and sets best.
func (f *fitter) chooseScales(n int, g *grid, lo int, d float64) {
	for i := range 256 / n {
		f.group(i*n, n)
		around := 0
		if d != 0 {
			around = int(math.Round(min(max(f.scales[i]/d, float64(lo)), float64(-lo-1))))
		}
		best := math.Inf(1)
		for k := max(lo, around-1); k <= min(-lo-1, around+1); k++ {
			if l := f.loss(f.q[:], g, d*float64(k), 0); l < best {
				best, f.ints[i] = l, k
				copy(f.best[i*n:][:n], f.q[:n])
			}
		}
	}
}

// refitScale returns the best scale for the levels and integers that are best with d.
func (f *fitter) refitScale(n int, g *grid, lo int, d float64) float64 {
	f.chooseScales(n, g, lo, d)
	var xq, qq float64
	for i := range 256 {
		q := f.best[i] * float64(f.ints[i/n])
		xq += float64(f.wxs[i] * q)
		qq += float64(f.ws[i] * float64(q*q))
	}
	if qq == 0 {
		return d
	}
	return xq / qq
}

// affineGroups quantizes a block of groups of n weights, which become scale·ints[group]·level -
// minimum·mins[group]. The levels are from 0 to hi, the integers from 0 to most. It sets best, ints and
// mins, and returns the bits of scale and minimum.
func (f *fitter) affineGroups(values []float32, n int, hi float64, most int) (scale, minimum uint16) {
	floor := 1.0
	if hi == 3 {
		floor = 0 // two bits: without a floor, small weights cost the large ones less
	}
	f.set(values, floor)
	var largeS, largeM float64
	for i := range 256 / n {
		f.group(i*n, n)
		s, m := f.fitAffine(hi, true)
		f.scales[i], f.minimums[i] = s, -m
		largeS, largeM = max(largeS, s), max(largeM, -m)
	}
	scale, s := half(largeS / float64(most))
	minimum, m := half(largeM / float64(most))
	g := &grid{hi: hi}
	for range 2 {
		f.choosePairs(n, g, most, s, m)
		s, m = f.refitPair(n, s, m)
		scale, s = half(s)
		minimum, m = half(m)
	}
	f.choosePairs(n, g, most, s, m)
	f.group(0, 256)
	if c := f.correction(func(i int) float64 {
		return float64(s*float64(f.ints[i/n])*f.best[i]) - float64(m*float64(f.mins[i/n]))
	}); c != 1 {
		scale, _ = half(s * c)
		minimum, _ = half(m * c)
	}
	return scale, minimum
}

// choosePairs chooses ints and mins for the scales d and dmin, and sets best.
func (f *fitter) choosePairs(n int, g *grid, most int, d, dmin float64) {
	around := func(x, unit float64) int {
		if unit == 0 {
			return 0
		}
		return int(math.Round(min(max(x/unit, 0), float64(most))))
	}
	for i := range 256 / n {
		f.group(i*n, n)
		s, m := around(f.scales[i], d), around(f.minimums[i], dmin)
		best := math.Inf(1)
		for j := max(0, s-1); j <= min(most, s+1); j++ {
			for k := max(0, m-1); k <= min(most, m+1); k++ {
				if l := f.loss(f.q[:], g, d*float64(j), -dmin*float64(k)); l < best {
					best, f.ints[i], f.mins[i] = l, j, k
					copy(f.best[i*n:][:n], f.q[:n])
				}
			}
		}
	}
}

// refitPair returns the best scales for the levels and integers that are chosen, or d and dmin if the best
// ones are negative or not determined.
func (f *fitter) refitPair(n int, d, dmin float64) (float64, float64) {
	var aa, ab, bb, xa, xb float64
	for i := range 256 {
		a, b := f.best[i]*float64(f.ints[i/n]), -float64(f.mins[i/n])
		aa += float64(f.ws[i] * float64(a*a))
		ab += float64(f.ws[i] * float64(a*b))
		bb += float64(f.ws[i] * float64(b*b))
		xa += float64(f.wxs[i] * a)
		xb += float64(f.wxs[i] * b)
	}
	det := float64(aa*bb) - float64(ab*ab)
	if det > 1e-9*float64(aa*bb) {
		s := (float64(xa*bb) - float64(xb*ab)) / det
		m := (float64(xb*aa) - float64(xa*ab)) / det
		if s > 0 && m >= 0 {
			return s, m
		}
	}
	if bb == 0 && aa > 0 && xa > 0 {
		return xa / aa, dmin
	}
	return d, dmin
}

func quantizeQ2_K(f *fitter, dst []byte, values []float32) {
	d, dmin := f.affineGroups(values, 16, 3, 15)
	clear(dst)
	for g := range 16 {
		dst[g] = byte(f.ints[g]) | byte(f.mins[g])<<4
	}
	for i := range 256 {
		dst[16+i/128*32+i%32] |= f.code(i, 0) << (i / 32 % 4 * 2)
	}
	binary.LittleEndian.PutUint16(dst[80:], d)
	binary.LittleEndian.PutUint16(dst[82:], dmin)
}

func quantizeQ3_K(f *fitter, dst []byte, values []float32) {
	d := f.scaledGroups(values, 16, grid3, -32)
	clear(dst)
	for g := range 16 {
		s := byte(f.ints[g] + 32)
		dst[96+g%8] |= s & 15 << (g / 8 * 4)
		dst[104+g%4] |= s >> 4 << (g / 4 * 2)
	}
	for i := range 256 {
		q := f.code(i, -4)
		dst[32+i/128*32+i%32] |= q & 3 << (i / 32 % 4 * 2)
		dst[i%32] |= q >> 2 << (i / 32)
	}
	binary.LittleEndian.PutUint16(dst[108:], d)
}

// scalesAndMins packs ints and mins, six bits each, into the 12 bytes that Q4_K and Q5_K have for them.
func (f *fitter) scalesAndMins(dst []byte) {
	for g := range 4 {
		dst[g] = byte(f.ints[g]) | byte(f.ints[g+4])>>4<<6
		dst[g+4] = byte(f.mins[g]) | byte(f.mins[g+4])>>4<<6
		dst[g+8] = byte(f.ints[g+4])&15 | byte(f.mins[g+4])<<4
	}
}

// pairs packs the lower four bits: the low halves of 32 bytes are a group, the high halves the next one.
func (f *fitter) pairs(dst []byte) {
	for i := range 128 {
		from := i/32*64 + i%32
		dst[i] = f.code(from, 0)&15 | f.code(from+32, 0)<<4
	}
}

func quantizeQ4_K(f *fitter, dst []byte, values []float32) {
	d, dmin := f.affineGroups(values, 32, 15, 63)
	binary.LittleEndian.PutUint16(dst, d)
	binary.LittleEndian.PutUint16(dst[2:], dmin)
	f.scalesAndMins(dst[4:16])
	f.pairs(dst[16:])
}

func quantizeQ5_K(f *fitter, dst []byte, values []float32) {
	d, dmin := f.affineGroups(values, 32, 31, 63)
	binary.LittleEndian.PutUint16(dst, d)
	binary.LittleEndian.PutUint16(dst[2:], dmin)
	f.scalesAndMins(dst[4:16])
	clear(dst[16:48])
	for i := range 256 {
		dst[16+i%32] |= f.code(i, 0) >> 4 << (i / 32)
	}
	f.pairs(dst[48:])
}

func quantizeQ6_K(f *fitter, dst []byte, values []float32) {
	d := f.scaledGroups(values, 16, grid6, -128)
	clear(dst)
	for i := range 256 {
		q, part := f.code(i, -32), i/128
		dst[part*64+i%64] |= q & 15 << (i / 64 % 2 * 4)
		dst[128+part*32+i%32] |= q >> 4 << (i / 32 % 4 * 2)
	}
	for g := range 16 {
		dst[192+g] = byte(int8(f.ints[g]))
	}
	binary.LittleEndian.PutUint16(dst[208:], d)
}

func quantizeIQ4_XS(f *fitter, dst []byte, values []float32) {
	bits := f.scaledGroups(values, 32, gridIQ4, -32)
	binary.LittleEndian.PutUint16(dst, bits)
	var high uint16
	clear(dst[4:8])
	for g := range 8 {
		s := f.ints[g] + 32
		dst[4+g/2] |= byte(s&15) << (g % 2 * 4)
		high |= uint16(s>>4) << (2 * g)
		for i := range 16 {
			dst[8+16*g+i] = codeIQ4(f.best[32*g+i]) | codeIQ4(f.best[32*g+16+i])<<4
		}
	}
	binary.LittleEndian.PutUint16(dst[2:], high)
}
