//go:build cuda && linux && cgo

package cuda

import (
	_ "embed"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func TestConformanceLdmatrix(t *testing.T) {
	c := openConformance(t)
	var rows [32][8]uint16
	for i := range rows {
		for j := range rows[i] {
			rows[i][j] = uint16(i<<8 | j)
		}
	}
	// Element (row, column) of matrix m, and the two neighbours in a row, or in a column, that a lane gets.
	plain := func(m, lane int) uint32 {
		row, col := 8*m+lane/4, 2*(lane%4)
		return uint32(rows[row][col]) | uint32(rows[row][col+1])<<16
	}
	transposed := func(m, lane int) uint32 {
		row, col := 8*m+2*(lane%4), lane/4
		return uint32(rows[row][col]) | uint32(rows[row+1][col])<<16
	}
	var want []uint32
	for _, form := range []struct {
		matrices int
		element  func(m, lane int) uint32
	}{{4, plain}, {4, transposed}, {2, plain}, {2, transposed}} {
		for lane := range 32 {
			var registers [4]uint32 // those a form does not use stay 0
			for m := range form.matrices {
				registers[m] = form.element(m, lane)
			}
			want = append(want, registers[:]...)
		}
	}
	require.Equal(t, want, run[uint32](c, "load_matrices", 32, len(want), 0, rows))
}

func TestConformanceCopyAsync(t *testing.T) {
	c := openConformance(t)
	const threads, valid = 64, 41
	in := make([][4]uint32, 2*threads)
	for i := range in {
		for j := range in[i] {
			in[i][j] = uint32(1 + 4*i + j)
		}
	}
	want := make([][4]uint32, 2*threads)
	for group := range 2 {
		for thread := range threads {
			if from := (thread + 1) % threads; from < valid {
				want[group*threads+thread] = in[group*threads+from]
			}
		}
	}
	require.Equal(t, want, run[[4]uint32](c, "copy_async", threads, 2*threads, valid, in))
}

func TestConformanceConversions(t *testing.T) {
	c := openConformance(t)
	rng := rand.New(rand.NewPCG(1, 1))
	x := []uint32{
		0, 1 << 31, 1, 0x7fffff, 0x800000, // zeros and subnormals
		0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, // ties and their neighbours
		0x7f7fffff, 0x7f7f8000, 0x7f7f7fff, 0x7f800000, 0xff800000, // overflow, infinities
		0x7f800001, 0x7fc00000, 0xffffffff, // NaN
	}
	for range 10_000 {
		x = append(x, rng.Uint32())
	}
	got := run[[3]uint32](c, "convert", 256, len(x), int32(len(x)), x)
	for i, u := range x {
		v := math.Float32frombits(u)
		nearest := (u + 0x7fff + u>>16&1) >> 16
		half := float16.Frombits(uint16(u >> 16)).Float32()
		if !math.IsNaN(float64(v)) {
			require.Equal(t, nearest, got[i][0], "float_to_bf16(%v), bits %x", v, u)
			require.Equal(t, nearest|(nearest^0x8000)<<16, got[i][1], "pack_bf16(%v, %v), bits %x", v, -v, u)
		} else {
			for _, b := range []uint32{got[i][0], got[i][1], got[i][1] >> 16} {
				require.Greater(t, b&0x7fff, uint32(0x7f80), "NaN, bits %x, became %x", u, b)
			}
		}
		if !math.IsNaN(float64(half)) {
			require.Equal(t, math.Float32bits(half), got[i][2], "half_to_float(%x)", u>>16)
		} else {
			require.Greater(t, got[i][2]&0x7fffffff, uint32(0x7f800000), "half_to_float(%x)", u>>16)
		}
	}
}

// TestConformanceExp2: exp2_approx is within 2 units in the last place of 2ˣ where that is a normal float32,
// and 0 where it is less. Attention and SiLU rely on that. Its bits may differ between a GPU and the
// emulator.
func TestConformanceExp2(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	special := []struct{ x, want float32 }{
		{0, 1},
		{float32(math.Copysign(0, -1)), 1}, // what softmax takes of the greatest score is exactly 1
		{math.SmallestNonzeroFloat32, 1},
		{-0x1p-127, 1},
		{inf, inf},
		{-inf, 0},
		{128, inf},
		{1000, inf},
		{math.MaxFloat32, inf},
		{-126.5, 0},
		{-130, 0},
		{-149, 0},
		{-1000, 0},
		{-math.MaxFloat32, 0}, // less than any normal float32
	}
	x := []float32{nan, -nan}
	for _, s := range special {
		x = append(x, s.x)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	first := len(x)
	for i := range 100_000 {
		switch i % 4 {
		case 0: // over the whole range
			x = append(x, -126+254*rng.Float32())
		case 1: // where most of attention's and SiLU's are
			x = append(x, float32(10*rng.NormFloat64()))
		case 2: // around 0
			x = append(x, float32(math.Ldexp(rng.NormFloat64(), -rng.IntN(30))))
		default: // around whole numbers
			x = append(x, float32(rng.IntN(254)-126)*(1+float32(rng.IntN(5)-2)*0x1p-23))
		}
	}
	c := openConformance(t)
	got := run[float32](c, "powers", 256, len(x), int32(len(x)), x)
	require.True(t, got[0] != got[0] && got[1] != got[1], "of NaN")
	for i, s := range special {
		require.Equal(t, math.Float32bits(s.want), math.Float32bits(got[2+i]),
			"exp2_approx(%g) is %g, not %g", s.x, got[2+i], s.want)
	}
	most := 0.0
	for i, x := range x[first:] {
		got, exact := float64(got[first+i]), math.Exp2(float64(x))
		if exact < 0x1p-126 {
			require.Zero(t, got, "exp2_approx(%g)", x)
			continue
		}
		units := math.Abs(got-exact) / math.Ldexp(1, math.Ilogb(exact)-23)
		require.LessOrEqual(t, units, 2.0, "exp2_approx(%g) is %g, not %g", x, got, exact)
		most = max(most, units)
	}
	t.Logf("greatest error: %.3f units in the last place", most)
}
