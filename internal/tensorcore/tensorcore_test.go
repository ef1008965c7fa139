package tensorcore

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// exact is DotAdd in rational numbers, as the paper words it (section "truncated fused dot-product-add").
func exact(a Arch, c float32, x, y []uint16) float32 {
	for at := 0; at < K; at += a.products {
		c = exactStep(a, c, x[at:at+a.products], y[at:at+a.products])
	}
	return c
}

func exactStep(a Arch, c float32, x, y []uint16) float32 {
	special := float64(c)
	for i := range x {
		special += value(x[i]) * value(y[i])
	}
	if math.IsNaN(special) {
		return nan
	}
	if math.IsInf(special, 0) {
		return float32(special)
	}
	// Each term is a significand in (-4, 4) times a power of two.
	split := func(v float64) (*big.Rat, int) {
		if v == 0 {
			return new(big.Rat), -126
		}
		_, e := math.Frexp(v)
		e = max(e-1, -126)
		return new(big.Rat).SetFloat64(math.Ldexp(v, -e)), e
	}
	s, e := split(float64(c))
	significands, exponents := []*big.Rat{s}, []int{e}
	for i := range x {
		s, e := split(value(x[i]))
		t, f := split(value(y[i]))
		significands, exponents = append(significands, s.Mul(s, t)), append(exponents, e+f)
	}
	largest := exponents[0]
	for _, e := range exponents {
		largest = max(largest, e)
	}
	sum := new(big.Rat)
	for i, s := range significands {
		s.Mul(s, power(a.fraction+exponents[i]-largest))
		sum.Add(sum, new(big.Rat).SetInt(new(big.Int).Quo(s.Num(), s.Denom()))) // Quo cuts toward zero
	}
	sum.Mul(sum, power(largest-a.fraction))
	return towardZero(sum)
}

func power(n int) *big.Rat {
	p := new(big.Int).Lsh(big.NewInt(1), uint(max(n, -n)))
	if n < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), p)
	}
	return new(big.Rat).SetInt(p)
}

// towardZero searches the float32s, whose bits are in their order, for the last whose absolute value is not above r's.
func towardZero(r *big.Rat) float32 {
	magnitude := new(big.Rat).Abs(r)
	if magnitude.Cmp(power(128)) >= 0 {
		return float32(math.Inf(r.Sign()))
	}
	low, high := uint32(0), uint32(0x7f800000) // low is not above, high is
	for high-low > 1 {
		middle := (low + high) / 2
		if new(big.Rat).SetFloat64(float64(math.Float32frombits(middle))).Cmp(magnitude) <= 0 {
			low = middle
		} else {
			high = middle
		}
	}
	if low > 0 && r.Sign() < 0 {
		low |= 1 << 31
	}
	return math.Float32frombits(low)
}

var kinds = map[string]func(r *rand.Rand) uint16{
	"usual":  func(r *rand.Rand) uint16 { return bf16(r.NormFloat64()) },
	"spread": func(r *rand.Rand) uint16 { return bf16(math.Ldexp(r.NormFloat64(), r.IntN(40)-20)) },
	"wide":   func(r *rand.Rand) uint16 { return uint16(r.Uint32())&0x807f | uint16(r.IntN(255))<<7 },
	"tiny":   func(r *rand.Rand) uint16 { return uint16(r.Uint32())&0x807f | uint16(r.IntN(80))<<7 },
	"zeros": func(r *rand.Rand) uint16 {
		return []uint16{0, 0x8000, bf16(r.NormFloat64()), bf16(math.Ldexp(r.NormFloat64(), 100))}[r.IntN(4)]
	},
	"any bits": func(r *rand.Rand) uint16 {
		if r.IntN(20) == 0 {
			return []uint16{0x7f80, 0xff80, 0x7fc0}[r.IntN(3)]
		}
		return uint16(r.Uint32())
	},
	"nearly 2": func(r *rand.Rand) uint16 { return 0x3fff ^ uint16(r.IntN(8)) },
}

func bf16(v float64) uint16 { return uint16(math.Float32bits(float32(v)) >> 16) }

func TestDotAddAgainstRationals(t *testing.T) {
	for name, draw := range kinds {
		r := rand.New(rand.NewPCG(1, uint64(len(name))))
		for _, a := range []Arch{Ampere, Hopper} {
			for range 3000 {
				var x, y [K]uint16
				for i := range x {
					x[i], y[i] = draw(r), draw(r)
				}
				c := math.Float32frombits(uint32(draw(r))<<16 | r.Uint32()&0xffff)
				if name == "usual" {
					c = float32(4 * r.NormFloat64())
				}
				want, got := exact(a, c, x[:], y[:]), a.DotAdd(c, x[:], y[:])
				require.Equal(t, math.Float32bits(want), math.Float32bits(got), "%s %s: %g + %x·%x: want %g, got %g", a, name, c, x, y, want, got)
			}
		}
	}
}

// What the description means, in cases that can be worked out in the head.
func TestDotAdd(t *testing.T) {
	inf := float32(math.Inf(1))
	one, two := bf16(1), bf16(2)
	type pair struct{ x, y uint16 }
	for _, c := range []struct {
		name   string
		c      float32
		pairs  map[int]pair
		ampere float32
		hopper float32
	}{
		{"nothing", 0, nil, 0, 0},
		{"no negative zero", float32(math.Copysign(0, -1)), nil, 0, 0},
		{"c alone", 1.5, nil, 1.5, 1.5},
		{"a product", 0, map[int]pair{3: {bf16(1.5), bf16(-1.5)}}, -2.25, -2.25},
		{"cut off, not rounded", 1, map[int]pair{0: {bf16(0x1p-12), bf16(0x1.8p-12)}}, 1, 1},
		{"cut off toward zero", -1, map[int]pair{0: {bf16(0x1p-12), bf16(-0x1.8p-12)}}, -1, -1},
		{"two halves of a last bit", 1, map[int]pair{0: {bf16(0x1p-12), bf16(0x1p-12)}, 1: {bf16(0x1p-12), bf16(0x1p-12)}}, 1 + 0x1p-23, 1 + 0x1p-23},
		{"two halves, in Ampere's two steps", 1, map[int]pair{0: {bf16(0x1p-12), bf16(0x1p-12)}, 8: {bf16(0x1p-12), bf16(0x1p-12)}}, 1, 1 + 0x1p-23},
		{"four quarters, below Ampere's last bit", 1, map[int]pair{
			0: {bf16(0x1p-12), bf16(0x1p-13)}, 1: {bf16(0x1p-12), bf16(0x1p-13)}, 2: {bf16(0x1p-12), bf16(0x1p-13)}, 3: {bf16(0x1p-12), bf16(0x1p-13)},
		}, 1, 1 + 0x1p-23},
		{"a large product hides c", 1, map[int]pair{0: {bf16(0x1p20), bf16(0x1p20)}, 1: {bf16(0x1p20), bf16(-0x1p20)}}, 0, 0},
		{"a product of zero has its other factor's exponent", 0x1p-126, map[int]pair{0: {0, bf16(0x1p127)}}, 0, 0},
		{"subnormal inputs", 0, map[int]pair{0: {1, bf16(0x1p100)}}, 0x1p-33, 0x1p-33},
		{"subnormal result", 0, map[int]pair{0: {bf16(0x1p-70), bf16(0x1p-70)}}, 0x1p-140, 0x1p-140},
		{"too large", 0, map[int]pair{0: {bf16(0x1p100), bf16(0x1p100)}}, inf, inf},
		{"too large but for the rest", math.MaxFloat32, map[int]pair{0: {bf16(0x1p64), bf16(0x1p63)}, 1: {bf16(-0x1p64), bf16(0x1p63)}}, math.MaxFloat32, math.MaxFloat32},
		{"infinity", 1, map[int]pair{5: {bf16(math.Inf(-1)), two}}, -inf, -inf},
		{"infinity of c", inf, map[int]pair{5: {one, two}}, inf, inf},
		{"infinities cancel", 1, map[int]pair{5: {bf16(math.Inf(-1)), two}, 6: {bf16(math.Inf(1)), two}}, nan, nan},
		{"zero times infinity", 1, map[int]pair{5: {bf16(math.Inf(-1)), 0}}, nan, nan},
		{"NaN", 1, map[int]pair{5: {0x7fc1, one}}, nan, nan},
	} {
		var x, y [K]uint16
		for i, p := range c.pairs {
			x[i], y[i] = p.x, p.y
		}
		for _, of := range []struct {
			arch Arch
			want float32
		}{{Ampere, c.ampere}, {Hopper, c.hopper}} {
			got := of.arch.DotAdd(c.c, x[:], y[:])
			require.Equal(t, math.Float32bits(of.want), math.Float32bits(got), "%s on %s: want %g, got %g", c.name, of.arch, of.want, got)
		}
	}
}

func TestDot(t *testing.T) {
	x, y := make([]uint16, 20), make([]uint16, 20)
	for i := range x {
		x[i], y[i] = bf16(float64(i)), bf16(2)
	}
	require.Equal(t, float32(380), Hopper.Dot(x, y))
	require.Equal(t, float32(380), Ampere.Dot(x, y))
	require.Panics(t, func() { Hopper.DotAdd(0, x, y) })
	require.Equal(t, []Arch{Ampere, Ampere, Hopper, Hopper, Hopper}, []Arch{For(8), For(8), For(9), For(10), For(12)})
}

func BenchmarkDot(b *testing.B) {
	x, y := make([]uint16, 3072), make([]uint16, 3072)
	for i := range x {
		x[i], y[i] = bf16(float64(i%7)), bf16(2)
	}
	b.SetBytes(3072)
	for b.Loop() {
		Hopper.Dot(x, y)
	}
}
