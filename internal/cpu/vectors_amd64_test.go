package cpu

import (
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/race"
	"phi3/internal/weight"
)

// The exponential function of SiLU over the whole range of float32.
func TestExp(t *testing.T) {
	onEveryVectors(t, func(t *testing.T, v *vectors) {
		for _, s := range []*assembly{avx2Assembly, avx512Assembly} {
			if v == map[*assembly]*vectors{avx2Assembly: avx2Vectors, avx512Assembly: avx512Vectors}[s] {
				testExp(t, s)
			}
		}
	})
}

func testExp(t *testing.T, s *assembly) {
	x, y := make([]float32, 1024), make([]float32, 1024)
	worst := 0.0
	for bits := uint64(0); bits < 1<<32; {
		for i := range x {
			x[i] = math.Float32frombits(uint32(bits))
			bits += 10007 // a prime, so that the last bits take all values
		}
		copy(y, x)
		s.exp(&y[0], len(y))
		for i, v := range x {
			want := math.Exp(float64(v))
			switch {
			case v != v:
				require.True(t, y[i] != y[i], "exp(NaN) is %g", y[i])
			case want > math.MaxFloat32:
				require.True(t, math.IsInf(float64(y[i]), 1) || want < math.MaxFloat32*(1+1e-6),
					"exp(%g) is %g", v, y[i])
			case want < 1.2e-38: // subnormal: neighbouring numbers have a constant distance
				require.InDelta(t, want, float64(y[i]), 1.5e-45, "exp(%g)", v)
			default:
				worst = max(worst, math.Abs(float64(y[i])-want)/want)
			}
		}
	}
	require.Less(t, worst, 1e-7, "the largest relative error; half a unit in the last place is 6e-8")
	t.Logf("largest relative error %.3g", worst)
	edges := []float32{
		0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 89,
		-105, 88.72, -87.33, 0, 0, 0, 0, 0, 0, 0, 0,
	}
	want := []float32{1, 1, float32(math.Inf(1)), 0, float32(math.Inf(1)), 0}
	s.exp(&edges[0], len(edges))
	require.Equal(t, want, edges[:len(want)])
}

// Attention's products by AMX are compared with float64, and a row alone with the same row among others.
func TestTileProducts(t *testing.T) {
	race.SkipAlone(t)
	if !slices.Contains(nativeKernels(), amxKernels) {
		t.Skip("this processor or operating system has no AMX")
	}
	rng := rand.New(rand.NewSource(16))
	tiles := amxVectors.tiles
	const n, aStride = 96, 128
	for _, cols := range []int{32, 96, 128} {
		for _, rows := range []int{1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 65} {
			for _, of := range [][4]int{{0, n, 0, cols}, {32, 64, cols - 32, cols}} {
				first, last, from, to := of[0], of[1], of[2], of[3]
				a, b := normals(rng, rows*aStride), normals(rng, n*cols)
				for i := range b {
					if i/cols < first || i/cols >= last || i%cols < from || i%cols >= to {
						b[i] = float32(math.NaN()) // must not be read
					}
				}
				m := kvMatrixOf(b, cols, true)
				high, low := make([]uint16, len(a)), make([]uint16, len(a))
				tiles.split(high, low, a)
				c := slices.Repeat([]float32{77}, rows*(cols+5))
				p := kvProduct{
					c: c, cStride: cols + 5, high: high, low: low, aStride: aStride, rows: rows,
					b: m, first: first, last: last, from: from, to: to, ahead: 64,
				}
				tiles.products(&p)
				for r := range rows {
					one := slices.Repeat([]float32{77}, cols)
					p.c, p.cStride, p.rows, p.ahead = one, cols, 1, 0
					p.high, p.low = high[r*aStride:], low[r*aStride:]
					tiles.products(&p)
					require.Equal(t, one, c[r*(cols+5):][:cols], "row %d of %d, %d columns, %v", r, rows,
						cols, of)
					for j := from; j < to; j++ {
						var sum, size float64
						for i := first; i < last; i++ {
							p := float64(a[r*aStride+i-first]) * float64(b[i*cols+j])
							sum += p
							size += math.Abs(p)
						}
						require.InDelta(t, sum, float64(one[j]), size/(1<<16), "row %d, column %d", r, j)
					}
					for j, v := range c[r*(cols+5):][:cols+5] {
						require.True(t, j >= from && j < to || v == 77, "only these elements change")
					}
				}
			}
		}
	}
}

func TestSplitBF16(t *testing.T) {
	if !slices.Contains(nativeKernels(), amxKernels) {
		t.Skip("this processor or operating system has no AMX")
	}
	x := normals(rand.New(rand.NewSource(17)), 4096)
	x[0], x[1], x[2] = 0, 1, 1-1.0/(1<<24)
	high, low := make([]uint16, len(x)), make([]uint16, len(x))
	amxVectors.tiles.split(high, low, x)
	for i, v := range x {
		require.InDelta(t, float64(v), float64(weight.FromBF16(high[i])), math.Abs(float64(v))/(1<<8))
		require.InDelta(t, float64(v), float64(weight.FromBF16(high[i]))+float64(weight.FromBF16(low[i])),
			math.Abs(float64(v))/(1<<16))
	}
}
