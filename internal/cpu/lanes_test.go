//go:build amd64 || arm64

package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/safetensors"
)

// needLanes leaves a test out where the processor has no such path.
func needLanes(t *testing.T) *kernels {
	t.Helper()
	for _, k := range nativeKernels() {
		if k.name == "avx2" || k.name == "neon" {
			return k
		}
	}
	t.Skip("this processor or operating system has no AVX2")
	return nil
}

// stored are values as a checkpoint holds them, at an odd address, and what they become.
func stored(dtype safetensors.DType, x []float32) (data []byte, values []float32) {
	data = []byte{0}
	for _, v := range x {
		switch dtype {
		case safetensors.BF16:
			data = binary.LittleEndian.AppendUint16(data, toBF16(v))
		case safetensors.F16: // a float16 near v's size; every exponent but those of infinity and NaN comes up
			bits := uint16(math.Float32bits(v)>>16) & 0xbfff
			data = binary.LittleEndian.AppendUint16(data, bits)
		case safetensors.F32:
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	data = slices.Clip(data)[1:]
	values = make([]float32, len(x))
	widen(values, data, dtype)
	return data, values
}

// The product of a tile against float64, for one token and for many, which must agree in every bit.
func TestAVX2Dots(t *testing.T) {
	needLanes(t)
	rng := rand.New(rand.NewSource(6))
	for _, dtype := range []safetensors.DType{safetensors.BF16, safetensors.F16, safetensors.F32} {
		for _, k := range []int{1, 7, 8, 9, 16, 31, 32, 33, 40, 96, 1024, 1032, 2056 + 3} {
			for _, shape := range []struct{ rows, count, second int }{{16, 16, 0}, {18, 2, 0}, {9, 9, 0}, {1, 1, 0}, {16, 8, 8}, {6, 3, 3}, {11, 1, 7}} {
				name := fmt.Sprintf("%s,k=%d,%v", dtype, k, shape)
				data, w := stored(dtype, normals(rng, shape.rows*k))
				const tokens = 6*maxGroups + 7 // more groups than fit at once, and one token more
				x := normals(rng, tokens*k)
				in := &input{x: x, tokens: tokens, k: k, packed: make([]float32, tokenGroups(tokens)*tokenGroup*k)}
				(&packing{in}).work(0, 0, tokenGroups(tokens))
				s := newScratch(needLanes(t), k, tokens)
				tl := &tile{bytes: data, dtype: dtype, k: k, n: max(0, shape.rows-shape.count-shape.second), count: shape.count, second: shape.second}
				if shape.second > 0 {
					tl.n = shape.rows - shape.second - shape.count
				}
				sums := make([]float32, tokens*avx2TileRows)
				avx2Dots(sums, tl, in, s)
				for _, token := range []int{0, 1, 5, 6, tokens - 1} {
					one := make([]float32, avx2TileRows)
					avx2Dots(one, tl, &input{x: in.row(token), tokens: 1, k: k}, s)
					for i := range shape.count {
						for half := range min(2, 1+shape.second) {
							at := half*avx2TileRows/2 + i
							var want, size float64
							for j, v := range in.row(token) {
								p := float64(v) * float64(w[(tl.n+half*shape.second+i)*k+j])
								want += p
								size += math.Abs(p)
							}
							require.InDelta(t, want, float64(one[at]), size*1e-6, "%s: row %d of token %d", name, at, token)
							require.Equal(t, math.Float32bits(one[at]), math.Float32bits(sums[token*avx2TileRows+at]), "%s: row %d of token %d", name, at, token)
						}
					}
				}
			}
		}
	}
}

// exp8 is the exponential function of the assembly.
func exp8(x []float32) { expSum(&x[0], len(x), 0) }

func TestAVX2Exp(t *testing.T) {
	needLanes(t)
	x, y := make([]float32, 1024), make([]float32, 1024)
	worst := 0.0
	for bits := uint64(0); bits < 1<<32; {
		for i := range x {
			x[i] = math.Float32frombits(uint32(bits))
			bits += 1009 // a prime: all the ways of the last bits
		}
		copy(y, x)
		exp8(y)
		for i, v := range x {
			want := math.Exp(float64(v))
			switch {
			case v != v:
				require.True(t, y[i] != y[i], "exp(NaN) is %g", y[i])
			case want > math.MaxFloat32:
				require.True(t, math.IsInf(float64(y[i]), 1) || want < math.MaxFloat32*(1+1e-6), "exp(%g) is %g", v, y[i])
			case want < 1.2e-38: // subnormal: the distance between two numbers does not shrink any more
				require.InDelta(t, want, float64(y[i]), 1.5e-45, "exp(%g)", v)
			default:
				worst = max(worst, math.Abs(float64(y[i])-want)/want)
			}
		}
	}
	require.Less(t, worst, 1e-7, "the largest relative error; half a unit in the last place is 6e-8")
	t.Logf("largest relative error %.3g", worst)
	edges := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 89, -105, 88.72, -87.33}
	want := []float32{1, 1, float32(math.Inf(1)), 0, float32(math.Inf(1)), 0}
	exp8(edges)
	require.Equal(t, want, edges[:len(want)])
}

func TestAVX2Gate(t *testing.T) {
	needLanes(t)
	rng := rand.New(rand.NewSource(7))
	for _, n := range []int{1, 3, 7, 8, 9, 16, 31} {
		gate, up, y, want := normals(rng, n), normals(rng, n), make([]float32, n), make([]float32, n)
		for i := range gate {
			gate[i] *= 20
		}
		avx2Gate(y, gate, up)
		goGate(want, gate, up)
		for i := range y {
			require.InEpsilon(t, float64(want[i]), float64(y[i]), 1e-6, "SiLU(%g)·%g", gate[i], up[i])
		}
	}
}

// Attention to some keys of a chunk against the version in Go, where what lies outside must not matter even if it is NaN.
func TestAVX2Attend(t *testing.T) {
	needLanes(t)
	rng := rand.New(rand.NewSource(8))
	nan := float32(math.NaN())
	for _, dim := range []int{4, 8, 12, 40, 64, 96, 128} {
		for _, of := range [][2]int{{0, 1}, {0, 8}, {0, chunk}, {3, 5}, {7, 17}, {120, chunk}, {127, chunk}, {0, 127}, {5, 6}} {
			from, to := of[0], of[1]
			q, keys, vals := normals(rng, dim), normals(rng, chunk*dim), normals(rng, chunk*dim)
			bf16 := func(x []float32) (bits []uint16) {
				roundBF16(x)
				for i := range x {
					if i < from*dim || i >= to*dim {
						x[i] = nan
					}
					bits = append(bits, toBF16(x[i]))
				}
				return bits
			}
			keys16, vals16 := bf16(keys), bf16(vals)
			scores, want, got, got16 := make([]float32, chunk), make([]float32, dim), make([]float32, dim), make([]float32, dim)
			wantM, wantL := goAttend(want, q, kvRows{f32: keys}, kvRows{f32: vals}, from, to, 0.3, scores)
			m, l := avx2Attend(got, q, kvRows{f32: keys}, kvRows{f32: vals}, from, to, 0.3, scores)
			m16, l16 := avx2Attend(got16, q, kvRows{bf16: keys16}, kvRows{bf16: vals16}, from, to, 0.3, scores)
			require.InEpsilon(t, wantM, m, 1e-5, "dim %d, %v", dim, of)
			require.InEpsilon(t, wantL, l, 1e-5, "dim %d, %v", dim, of)
			for d := range want {
				require.InDelta(t, float64(want[d]), float64(got[d]), 1e-5*float64(1+wantL), "dim %d, %v, element %d", dim, of, d)
			}
			require.Equal(t, []any{m, l, got}, []any{m16, l16, got16}, "bfloat16 and the same values as float32")
		}
	}
}
