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

// needAVX2 leaves a test out where its instructions do not exist.
func needAVX2(t *testing.T) {
	t.Helper()
	if !slices.Contains(nativeKernels(), avx2Kernels) {
		t.Skip("this processor or operating system has no AVX2")
	}
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
	needAVX2(t)
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
				s := newScratch(avx2Kernels, k, tokens)
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
