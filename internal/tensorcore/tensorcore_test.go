package tensorcore

import (
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
)

// exact is DotAdd in rational numbers, as in the paper's section "truncated fused dot-product-add".
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

// towardZero is the float32 with the largest absolute value not above r's. It searches the bits, whose
// order is that of the values.
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

// More kinds of factors, for single instructions.
var factors = map[string]func(r *rand.Rand) uint16{
	"wide": func(r *rand.Rand) uint16 { return uint16(r.Uint32())&0x807f | uint16(r.IntN(255))<<7 },
	"tiny": func(r *rand.Rand) uint16 { return uint16(r.Uint32())&0x807f | uint16(r.IntN(80))<<7 },
	"zeros": func(r *rand.Rand) uint16 {
		return []uint16{0, 0x8000, bf16(r.NormFloat64()), bf16(math.Ldexp(r.NormFloat64(), 100))}[r.IntN(4)]
	},
	"any bits": func(r *rand.Rand) uint16 {
		if r.IntN(20) == 0 {
			return []uint16{0x7f80, 0xff80, 0x7fc0}[r.IntN(3)]
		}
		return uint16(r.Uint32())
	},
}

func bf16(v float64) uint16 { return uint16(math.Float32bits(float32(v)) >> 16) }

func TestDotAddAgainstRationals(t *testing.T) {
	race.SkipAlone(t)
	check := func(name string, c float32, x, y []uint16) {
		t.Helper()
		for _, a := range []Arch{Ampere, Hopper} {
			want, got := exact(a, c, x, y), a.DotAdd(c, x, y)
			require.Equal(t, math.Float32bits(want), math.Float32bits(got),
				"%s on %s: %g + %x·%x: want %g, got %g", name, a, c, x, y, want, got)
		}
	}
	for name, draw := range factors {
		r := rand.New(rand.NewPCG(1, uint64(len(name))))
		for range 1000 {
			var x, y [K]uint16
			for i := range x {
				x[i], y[i] = draw(r), draw(r)
			}
			check(name, math.Float32frombits(uint32(draw(r))<<16|r.Uint32()&0xffff), x[:], y[:])
		}
	}
	for i, kind := range Kinds {
		r := rand.New(rand.NewPCG(2, uint64(i)))
		for range 50 {
			in := kind.Draw(r, 8, 8, K)
			for j, c := range in.C {
				check(kind.Name, c, in.A[j/8*K:][:K], in.B[j%8*K:][:K])
			}
		}
	}
}

// vector is a line of testdata/mma_vectors.txt.
type vector struct {
	kind string
	c    uint32
	x, y [K]uint16
	want map[Arch]uint32
}

func vectors(t *testing.T) (all []vector) {
	text, err := os.ReadFile("testdata/mma_vectors.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		require.Len(t, fields, 4+2*K)
		number := func(i int) uint32 {
			n, err := strconv.ParseUint(fields[i], 16, 32)
			require.NoError(t, err)
			return uint32(n)
		}
		v := vector{kind: fields[0], c: number(1)}
		v.want = map[Arch]uint32{Ampere: number(2 + 2*K), Hopper: number(3 + 2*K)}
		for i := range K {
			v.x[i], v.y[i] = uint16(number(2+i)), uint16(number(2+K+i))
		}
		all = append(all, v)
	}
	require.Greater(t, len(all), 400)
	return all
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		for arch, want := range v.want {
			got := math.Float32bits(arch.DotAdd(math.Float32frombits(v.c), v.x[:], v.y[:]))
			require.Equal(t, want, got, "%s on %s: %08x + %04x·%04x: want %08x, got %08x",
				v.kind, arch, v.c, v.x, v.y, want, got)
		}
	}
}

// A tensor core that keeps one bit more or less, or adds in other steps, agrees neither with the vectors
// nor with usual random numbers.
func TestVectorsTellArchitecturesApart(t *testing.T) {
	race.SkipAlone(t)
	for _, wrong := range []struct{ like, arch Arch }{
		{Hopper, Arch{"24 bits", 24, 16}},
		{Hopper, Arch{"26 bits", 26, 16}},
		{Hopper, Arch{"two steps", 25, 8}},
		{Ampere, Arch{"23 bits", 23, 8}},
		{Ampere, Arch{"25 bits", 25, 8}},
		{Ampere, Arch{"one step", 24, 16}},
		{Ampere, Arch{"four steps", 24, 4}},
	} {
		differ := 0
		for _, v := range vectors(t) {
			got := wrong.arch.DotAdd(math.Float32frombits(v.c), v.x[:], v.y[:])
			if math.Float32bits(got) != v.want[wrong.like] {
				differ++
			}
		}
		require.Greater(t, differ, 20, "%s for %s", wrong.arch, wrong.like)
		in := Kinds[0].Draw(rand.New(rand.NewPCG(1, 1)), 16, 8, 1024)
		require.NotEqual(t, wrong.like.Multiply(in), wrong.arch.Multiply(in),
			"%s for %s", wrong.arch, wrong.like)
	}
}

// A kind whose sums are nearly all infinite, NaN or zero would test nothing.
func TestKindsMakeSums(t *testing.T) {
	race.SkipAlone(t)
	for i, kind := range Kinds {
		for _, k := range []int{K, 3072} {
			in := kind.Draw(rand.New(rand.NewPCG(3, uint64(i))), 16, 8, k)
			plain := 0
			for _, sum := range Hopper.Multiply(in) {
				if sum-sum == 0 && sum != 0 {
					plain++
				}
			}
			require.Greater(t, plain, len(in.C)/5, "%s, K = %d: finite sums", kind.Name, k)
			if kind.Name == "infinities and NaN" {
				require.Less(t, plain, len(in.C)*3/4, "%s, K = %d: finite sums", kind.Name, k)
			}
		}
	}
}

// How often sums differ between the two generations: in one chain of instructions, and in 8 chains that
// are added in order, as in phi3's kernels. docs/exactness.md quotes the log.
func TestGenerationsDiffer(t *testing.T) {
	race.SkipAlone(t)
	for _, k := range []int{16, 1024, 3072, 8192} {
		for _, chains := range []int{1, 8} {
			if k%(chains*K) != 0 {
				continue
			}
			r := rand.New(rand.NewPCG(1, uint64(k)))
			sum := func(a Arch, x, y []uint16) (total float32) {
				for at := 0; at < k; at += k / chains {
					total += a.Dot(x[at:at+k/chains], y[at:at+k/chains])
				}
				return total
			}
			differ, sums := 0, 1000
			for range sums {
				in := Kinds[0].Draw(r, 1, 1, k)
				if sum(Ampere, in.A, in.B) != sum(Hopper, in.A, in.B) {
					differ++
				}
			}
			share := 100 * float64(differ) / float64(sums)
			t.Logf("K = %d, chains: %d: %.0f %% of the sums differ", k, chains, share)
			require.Positive(t, differ)
		}
	}
}

// Cases of the description that are simple enough to work out by hand.
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
		{"two halves of a last bit", 1, map[int]pair{
			0: {bf16(0x1p-12), bf16(0x1p-12)},
			1: {bf16(0x1p-12), bf16(0x1p-12)},
		}, 1 + 0x1p-23, 1 + 0x1p-23},
		{
			"two halves, in Ampere's two steps", 1,
			map[int]pair{0: {bf16(0x1p-12), bf16(0x1p-12)}, 8: {bf16(0x1p-12), bf16(0x1p-12)}},
			1,
			1 + 0x1p-23,
		},
		{"four quarters, below Ampere's last bit", 1, map[int]pair{
			0: {bf16(0x1p-12), bf16(0x1p-13)}, 1: {bf16(0x1p-12), bf16(0x1p-13)}, 2: {
				bf16(0x1p-12),
				bf16(0x1p-13),
			}, 3: {bf16(0x1p-12), bf16(0x1p-13)},
		}, 1, 1 + 0x1p-23},
		{"a large product hides c", 1, map[int]pair{
			0: {bf16(0x1p20), bf16(0x1p20)},
			1: {bf16(0x1p20), bf16(-0x1p20)},
		}, 0, 0},
		{
			"a product of zero has its other factor's exponent", 0x1p-126,
			map[int]pair{0: {0, bf16(0x1p127)}},
			0, 0,
		},
		{"subnormal inputs", 0, map[int]pair{0: {1, bf16(0x1p100)}}, 0x1p-33, 0x1p-33},
		{"subnormal result", 0, map[int]pair{0: {bf16(0x1p-70), bf16(0x1p-70)}}, 0x1p-140, 0x1p-140},
		{"too large", 0, map[int]pair{0: {bf16(0x1p100), bf16(0x1p100)}}, inf, inf},
		{
			"too large but for the rest", math.MaxFloat32,
			map[int]pair{0: {bf16(0x1p64), bf16(0x1p63)}, 1: {bf16(-0x1p64), bf16(0x1p63)}},
			math.MaxFloat32,
			math.MaxFloat32,
		},
		{"infinity", 1, map[int]pair{5: {bf16(math.Inf(-1)), two}}, -inf, -inf},
		{"infinity of c", inf, map[int]pair{5: {one, two}}, inf, inf},
		{
			"infinities cancel", 1,
			map[int]pair{5: {bf16(math.Inf(-1)), two}, 6: {bf16(math.Inf(1)), two}},
			nan,
			nan,
		},
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
			require.Equal(t, math.Float32bits(of.want), math.Float32bits(got), "%s on %s: want %g, got %g",
				c.name, of.arch, of.want, got)
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
	require.Equal(t, []Arch{Ampere, Ampere, Hopper, Hopper, Hopper},
		[]Arch{For(8), For(8), For(9), For(10), For(12)})
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
