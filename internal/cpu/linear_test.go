package cpu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// stored returns the values as a checkpoint holds them, at an odd address, and their exact values.
func stored(format weight.Format, x []float32) (data []byte, values []float32) {
	data = []byte{0}
	for _, v := range x {
		switch format {
		case weight.BF16:
			data = binary.LittleEndian.AppendUint16(data, weight.ToBF16(v))
		case weight.F16: // a float16 near v's size, of any exponent but that of infinity and NaN
			bits := uint16(math.Float32bits(v)>>16) & 0xbfff
			data = binary.LittleEndian.AppendUint16(data, bits)
		case weight.F32:
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	data = slices.Clip(data)[1:]
	values = make([]float32, len(x))
	weight.Widen(values, data, format)
	return data, values
}

// Every product is compared with float64. Products for one token and for many tokens must agree in every bit.
func TestProducts(t *testing.T) { onEveryPath(t, testProducts) }

func testProducts(t *testing.T) {
	for _, format := range []weight.Format{weight.BF16, weight.F16, weight.F32} {
		for _, float32 := range []bool{false, true} {
			for _, k := range []int{
				1, 7, 8, 9, 16, 31, 32, 33, 40, 96, 1000, 1024, 1030, 1056, 2056 + 3,
				4200,
			} {
				if race.Enabled && k != 33 && k != 96 && k != 1056 {
					continue // goroutines share out rows and tokens, whatever their length
				}
				for _, cols := range []int{1, 3, 9, 16, 18, 47, 300} {
					if k > 100 && cols > 20 && (k != 1056 || testing.Short() || race.Enabled) {
						continue
					}
					most := 50
					if k == 96 && cols == 18 || k == 33 && cols == 3 {
						most = 550 // more than any kernel keeps sums of
					}
					t.Run(fmt.Sprintf("%s,float32=%v,k=%d,cols=%d", format, float32, k, cols),
						func(t *testing.T) {
							testProduct(t, format, float32, k, cols, most)
						})
				}
			}
		}
	}
}

func testProduct(t *testing.T, format weight.Format, f32 bool, k, cols, most int) {
	rng := rand.New(rand.NewSource(int64(1000*k + cols)))
	b := newBackend(t, Options{Threads: 3, Float32: f32},
		&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, most, 0)
	data, w := stored(format, normals(rng, 2*cols*k))
	weight := func(rows int) model.Weight {
		wt, err := b.Upload(&weight.Tensor{
			Name: "w", Format: format, Shape: []int{rows, k},
			Data: data[:rows*k*elemSize(format)],
		})
		require.NoError(t, err)
		return wt
	}
	x, before := normals(rng, most*k), normals(rng, most*cols)
	b.asInput(x)
	nans := bytes.Repeat([]byte{0xff}, len(b.packed)) // whatever the type
	// all returns the products of some tokens with every epilogue.
	all := func(first, tokens int) (stored, added, gated []float32) {
		x := x[first*k : (first+tokens)*k]
		copy(b.packed, nans) // what is read must have been written
		stored, gated = values(poisoned(tokens, cols)), values(poisoned(tokens, cols))
		added = slices.Clone(before[first*cols : (first+tokens)*cols])
		b.product(stored, cols, input{x: x}, weight(cols), store)
		b.product(added, cols, input{x: x}, weight(cols), add)
		b.product(gated, cols, input{x: x}, weight(2*cols), gateUp)
		return stored, added, gated
	}
	product := func(n, token int) (sum, size float64) {
		for i, v := range row(x, token, k) {
			p := float64(v) * float64(w[n*k+i])
			sum += p
			size += math.Abs(p)
		}
		return sum, size
	}
	ones := map[int][3][]float32{}
	for _, token := range []int{0, 1, 5, 16, 31, most - 1} {
		stored, added, gated := all(token, 1)
		ones[token] = [3][]float32{stored, added, gated}
		for n := range cols {
			want, size := product(n, token)
			require.InDelta(t, want, float64(stored[n]), size*1e-6, "row %d of token %d", n, token)
			require.Equal(t, before[token*cols+n]+stored[n], added[n], "row %d of token %d, added", n, token)
			up, upSize := product(cols+n, token)
			silu := want / (1 + math.Exp(-want))
			tolerance := 2e-6 * (1 + size) * (1 + upSize)
			if !f32 {
				tolerance += math.Abs(silu*up) / 256
			}
			require.InDelta(t, silu*up, float64(gated[n]), tolerance, "row %d of token %d, gated", n, token)
		}
	}
	for _, tokens := range []int{2, 6, 7, 16, 17, 33, most} {
		for _, first := range []int{0, most - tokens} {
			stored, added, gated := all(first, tokens)
			for token, one := range ones {
				if i := token - first; i >= 0 && i < tokens {
					got := [3][]float32{row(stored, i, cols), row(added, i, cols), row(gated, i, cols)}
					require.Equal(t, one, got, "token %d alone, and with %d from %d on", token, tokens, first)
				}
			}
		}
	}
}
