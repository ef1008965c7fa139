package tensorcore

import (
	"math"
	"math/rand/v2"
)

// Inputs are matrices for a product with a start, c + a·bᵀ.
type Inputs struct {
	A []uint16  // [rows, k] bfloat16
	B []uint16  // [columns, k] bfloat16
	C []float32 // [rows, columns]
	K int
}

// Multiply returns the product as this generation computes it: for each sum a chain of instructions, in
// ascending order of k.
func (a Arch) Multiply(in Inputs) []float32 {
	columns := len(in.B) / in.K
	sums := make([]float32, len(in.C))
	for i, c := range in.C {
		row, column := in.A[i/columns*in.K:][:in.K], in.B[i%columns*in.K:][:in.K]
		for k := 0; k < in.K; k += K {
			c = a.DotAdd(c, row[k:k+K], column[k:k+K])
		}
		sums[i] = c
	}
	return sums
}

// Kind is a kind of numbers that shows how a tensor core adds.
type Kind struct {
	Name string
	fill func(r *rand.Rand, in Inputs)
}

// Draw returns random inputs of the kind. k must be a multiple of [K].
func (kind Kind) Draw(r *rand.Rand, rows, columns, k int) Inputs {
	in := Inputs{
		A: make([]uint16, rows*k), B: make([]uint16, columns*k), C: make([]float32, rows*columns), K: k,
	}
	kind.fill(r, in)
	return in
}

// Kinds are all kinds. A mistake may be visible with only one of them.
var Kinds = []Kind{
	{"usual numbers", each(normal(0))},
	{"a wide spread of exponents", each(normal(20))},
	{"the widest spread of exponents", each(normal(60))},
	{"zeros of both signs", hiding(func(r *rand.Rand) float64 { return math.Copysign(0, r.NormFloat64()) })},
	{"subnormal inputs", hiding(func(r *rand.Rand) float64 { return math.Ldexp(r.NormFloat64(), -130) })},
	{"subnormal sums", each(func(r *rand.Rand) float64 {
		return math.Ldexp(r.NormFloat64(), -60-r.IntN(15))
	})},
	{"sums that nearly cancel", cancelling},
	{"infinities and NaN", special},
	{"sums near the largest float", nearOverflow},
	{"products near 4", nearFour},
}

// normal draws from a normal distribution times a power of two between 2^-spread and 2^spread.
func normal(spread int) func(r *rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return math.Ldexp(r.NormFloat64(), r.IntN(2*spread+1)-spread) }
}

// each draws every factor with draw. Every start is the product of two draws and has all bits of a float32.
func each(draw func(r *rand.Rand) float64) func(r *rand.Rand, in Inputs) {
	return func(r *rand.Rand, in Inputs) {
		fill := func(to []uint16) {
			for i := range to {
				to[i] = bfloat16(draw(r))
			}
		}
		fill(in.A)
		fill(in.B)
		for i := range in.C {
			in.C[i] = float32(draw(r) * draw(r) * (1 + r.Float64()))
		}
	}
}

// hiding multiplies some large numbers by very small ones. The exponents of the products are large enough
// to hide parts of the others.
func hiding(nothing func(r *rand.Rand) float64) func(r *rand.Rand, in Inputs) {
	return func(r *rand.Rand, in Inputs) {
		each(func(r *rand.Rand) float64 { return math.Ldexp(r.NormFloat64(), -10) })(r, in)
		for k := range in.K {
			least, large := in.A, in.B
			switch r.IntN(16) {
			case 0:
			case 1:
				least, large = large, least
			default:
				continue
			}
			for at := k; at < len(least); at += in.K {
				least[at] = bfloat16(nothing(r))
			}
			for at := k; at < len(large); at += in.K {
				large[at] = bfloat16(math.Ldexp(r.NormFloat64(), 90+r.IntN(20)))
			}
		}
	}
}

// cancelling makes products k and k+8 of every 16 almost opposite. The start is small.
func cancelling(r *rand.Rand, in Inputs) {
	each(normal(3))(r, in)
	for i := range in.C {
		in.C[i] *= 0x1p-8
	}
	last := func() uint16 { return uint16(r.IntN(2) * r.IntN(2)) } // the last bit differs in one of four
	for k := range in.A {
		if k%K >= K/2 {
			in.A[k] = in.A[k-K/2] ^ 0x8000 ^ last()
		}
	}
	for k := range in.B {
		if k%K >= K/2 {
			in.B[k] = in.B[k-K/2] ^ last()
		}
	}
}

// special puts an infinity or a NaN into some rows, columns and starts. Some are multiplied with each
// other, or with a zero.
func special(r *rand.Rand, in Inputs) {
	each(normal(0))(r, in)
	draw := func() uint16 { return []uint16{0x7f80, 0xff80, 0x7f80, 0xff80, 0x7fc0, 0xff81, 0, 0}[r.IntN(8)] }
	for _, m := range [][]uint16{in.A, in.B} {
		for at := 0; at < len(m); at += in.K {
			if r.IntN(3) == 0 {
				m[at+r.IntN(in.K)] = draw()
			}
		}
		if len(m) > in.K { // the same place in two rows, or in a row and a column
			m[r.IntN(K)], m[in.K+r.IntN(K)] = draw(), draw()
		}
	}
	for i := range in.C {
		if r.IntN(8) == 0 {
			in.C[i] = math.Float32frombits(uint32(draw())<<16 | uint32(r.IntN(2)))
		}
	}
}

// nearOverflow makes large sums, some of them infinite.
func nearOverflow(r *rand.Rand, in Inputs) {
	scale := 1.5 * math.Exp2(63) / math.Sqrt(math.Sqrt(float64(in.K)))
	each(func(r *rand.Rand) float64 { return scale * r.NormFloat64() })(r, in)
}

// nearFour makes all products of a row nearly ±4, most with the same sign, which gives the largest sums
// of one step. The start is nearly 2.
func nearFour(r *rand.Rand, in Inputs) {
	fill := func(to []uint16) {
		for i := range to {
			to[i] = 0x3fff ^ uint16(r.IntN(2))
			if r.IntN(40) == 0 {
				to[i] ^= 0x8000
			}
		}
	}
	fill(in.A)
	fill(in.B)
	for i := range in.C {
		in.C[i] = math.Float32frombits(0x3fffffff ^ uint32(r.IntN(256)) ^ uint32(r.IntN(2))<<31)
	}
}

// bfloat16 is x truncated to a bfloat16.
func bfloat16(x float64) uint16 { return uint16(math.Float32bits(float32(x)) >> 16) }
