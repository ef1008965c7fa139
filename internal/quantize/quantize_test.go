package quantize

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// matrix returns a tensor of float32 numbers.
func matrix(rows, cols int, value func(i int) float32) *weight.Tensor {
	t := &weight.Tensor{Name: "w", File: "f", Format: weight.F32, Shape: []int{rows, cols}}
	for i := range rows * cols {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(value(i)))
	}
	return t
}

// normal returns a tensor of normally distributed numbers.
func normal(rows, cols int) *weight.Tensor {
	random := rand.New(rand.NewPCG(1, 2))
	return matrix(rows, cols, func(int) float32 { return float32(random.NormFloat64() * 0.02) })
}

// expand returns the values of t in the format f.
func expand(t *testing.T, source *weight.Tensor, f weight.Format) []float32 {
	t.Helper()
	q, err := Tensor(context.Background(), source, f)
	require.NoError(t, err)
	require.Equal(t, f, q.Format)
	require.EqualValues(t, q.Bytes(), len(q.Data))
	got := make([]float32, source.Elems())
	weight.Dequantize(got, q.Data, f)
	return got
}

// The relative error, the root of the mean square, of normally distributed weights. llama.cpp's quantizers
// without importance matrix have those in the comments.
func TestNormalWeights(t *testing.T) {
	source := normal(64, 512)
	want := source.Float32s()
	bounds := map[weight.Format]float64{
		weight.Q8_0:   0.0052, // 0.00535
		weight.Q6_K:   0.0174, // 0.01777
		weight.Q5_K:   0.0352, // 0.03613
		weight.Q5_1:   0.0343, // 0.03786
		weight.Q5_0:   0.0408, // 0.04268
		weight.Q4_K:   0.0712, // 0.07137
		weight.Q4_1:   0.0710, // 0.07827
		weight.Q4_0:   0.0825, // 0.08601
		weight.IQ4_NL: 0.0760, // 0.07614
		weight.IQ4_XS: 0.0765, // 0.07673
		weight.Q3_K:   0.1480, // 0.15095
		weight.Q2_K:   0.2880, // 0.29674
	}
	for f := range quantizers {
		var loss, sum float64
		for i, y := range expand(t, source, f) {
			loss += math.Pow(float64(want[i]-y), 2)
			sum += math.Pow(float64(want[i]), 2)
		}
		require.Less(t, math.Sqrt(loss/sum), bounds[f], "%s", f)
	}
}

// Strange blocks: every result is finite, and no farther from the weight than a step of the block.
func TestStrangeBlocks(t *testing.T) {
	var random *rand.Rand // begins again for each kind: a map has no order
	kinds := map[string]func(i int) float32{
		"zeros":      func(int) float32 { return 0 },
		"minus zero": func(int) float32 { return float32(math.Copysign(0, -1)) },
		"constant":   func(int) float32 { return 0.0173 },
		"negative":   func(int) float32 { return -3 },
		"positive":   func(i int) float32 { return 1 + float32(i%7)/10 },
		"denormal":   func(i int) float32 { return math.Float32frombits(uint32(i % 100)) },
		"tiny":       func(int) float32 { return float32(random.NormFloat64() * 1e-7) },
		"huge": func(int) float32 {
			return float32(min(max(random.NormFloat64()*2e4, -Largest), Largest))
		},
		"largest": func(i int) float32 {
			return []float32{Largest, -Largest}[i%2]
		},
		"outlier": func(i int) float32 {
			if i%300 == 77 {
				return -5
			}
			return float32(random.NormFloat64() * 0.01)
		},
		"one weight": func(i int) float32 {
			if i == 5 {
				return 1e-3
			}
			return 0
		},
		"any bits": func(int) float32 {
			for {
				v := math.Float32frombits(random.Uint32())
				if v >= -Largest && v <= Largest {
					return v
				}
			}
		},
	}
	for name, kind := range kinds {
		random = rand.New(rand.NewPCG(3, 4))
		source := matrix(2, 512, kind)
		want := source.Float32s()
		for f := range quantizers {
			got := expand(t, source, f)
			for block := range 4 {
				x, y := want[block*256:][:256], got[block*256:][:256]
				var largest float64
				for _, v := range x {
					largest = max(largest, math.Abs(float64(v)))
				}
				// half a step of two bits with scales of four bits, and a few of the smallest float16
				bound := 0.5*largest + 5e-7
				for i := range x {
					require.True(t, y[i]-y[i] == 0, "%s %s: %g becomes %g", f, name, x[i], y[i])
					require.LessOrEqual(t, math.Abs(float64(x[i]-y[i])), bound,
						"%s %s: %g becomes %g", f, name, x[i], y[i])
					if largest == 0 {
						require.Zero(t, y[i], "%s %s", f, name)
					}
				}
			}
		}
	}
}

// Weights that a format can hold exactly come back almost as they were. The search for scales does not find
// every block of them: the comments have the relative error of the 300 blocks, the root of the mean square.
func TestExact(t *testing.T) {
	bounds := map[weight.Format]float64{
		weight.Q4_0:   0,      // 0
		weight.Q4_1:   0.003,  // 0.0022
		weight.Q5_0:   0.001,  // 0
		weight.Q5_1:   0.005,  // 0.0041
		weight.Q8_0:   0.0025, // 0.002
		weight.Q2_K:   0.027,  // 0.0209
		weight.Q3_K:   0.0135, // 0.0121
		weight.Q4_K:   0.005,  // 0.0044
		weight.Q5_K:   0.006,  // 0.0053
		weight.Q6_K:   0.005,  // 0.0044
		weight.IQ4_NL: 0.001,  // 0
		weight.IQ4_XS: 0.0125, // 0.0112
	}
	scales := map[weight.Format][]int{ // where a block has its numbers of 16 bits
		weight.Q4_0: {0}, weight.Q4_1: {0, 2}, weight.Q5_0: {0}, weight.Q5_1: {0, 2}, weight.Q8_0: {0},
		weight.Q2_K: {80, 82}, weight.Q3_K: {108}, weight.Q4_K: {0, 2}, weight.Q5_K: {0, 2},
		weight.Q6_K: {208}, weight.IQ4_NL: {0}, weight.IQ4_XS: {0},
	}
	for f := range quantizers {
		random := rand.New(rand.NewPCG(5, uint64(f)))
		weights, size := f.Block()
		want := make([]float32, 300*weights)
		blocks := make([]byte, 300*size)
		for i := range blocks { // random integers, with scales that are powers of two
			blocks[i] = byte(random.Uint32())
		}
		for i := 0; i < len(blocks); i += size {
			for _, at := range scales[f] {
				binary.LittleEndian.PutUint16(blocks[i+at:], 0x2000)
			}
		}
		weight.Dequantize(want, blocks, f)
		got := expand(t, matrix(300, weights, func(i int) float32 { return want[i] }), f)
		var loss, sum float64
		for i, v := range want {
			loss += math.Pow(float64(v-got[i]), 2)
			sum += math.Pow(float64(v), 2)
		}
		require.LessOrEqual(t, math.Sqrt(loss/sum), bounds[f], "%s", f)
	}
}

// Quantizing with any number of goroutines, and with another order of them, gives the same bytes. The sources
// BF16, F16 and F32 of the same numbers give the same bytes.
func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	source := normal(40, 768)
	bf16 := &weight.Tensor{Name: "w", Format: weight.BF16, Shape: source.Shape}
	for i, v := range source.Float32s() {
		b := weight.ToBF16(v)
		bf16.Data = binary.LittleEndian.AppendUint16(bf16.Data, b)
		binary.LittleEndian.PutUint32(source.Data[4*i:], uint32(b)<<16)
	}
	before := bytes.Clone(bf16.Data)
	for f := range quantizers {
		var want []byte
		for _, procs := range []int{1, 2, 7} {
			runtime.GOMAXPROCS(procs)
			for _, s := range []*weight.Tensor{source, bf16} {
				q, err := Tensor(context.Background(), s, f)
				require.NoError(t, err)
				if want == nil {
					want = q.Data
				}
				require.True(t, bytes.Equal(want, q.Data), "%s, %d goroutines, %s", f, procs, s.Format)
			}
		}
	}
	require.Equal(t, before, bf16.Data)
}

// A weight beyond the largest float16 would become another number in some formats. It is an error.
func TestTooLarge(t *testing.T) {
	for f := range quantizers {
		for _, v := range []float32{65505, -65505, 1e6, math.MaxFloat32} {
			source := matrix(3, 256, func(i int) float32 { return []float32{1, v}[i/600] })
			_, err := Tensor(context.Background(), source, f)
			require.EqualError(t, err, fmt.Sprintf(`f: tensor "w" is %g, beyond ±65504, the largest float16, at `+
				`[2 88]: phi3 cannot quantize it`, v))
		}
	}
}

// A weight that is NaN or infinite is an error that names the first one.
func TestNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for range 20 {
		source := matrix(500, 32, func(i int) float32 {
			switch {
			case i == 37*32+9:
				return inf
			case i > 37*32+9 && i%3 == 0:
				return nan
			}
			return 1
		})
		_, err := Tensor(context.Background(), source, weight.Q4_0)
		require.EqualError(t, err, `f: tensor "w" is NaN or infinite at [37 9]: phi3 cannot quantize it`)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Tensor(ctx, normal(4, 32), weight.Q8_0)
	require.ErrorIs(t, err, context.Canceled)
}

// The format of a tensor depends on its shape and on what it is stored as.
func TestFormatOf(t *testing.T) {
	for _, c := range []struct {
		shape       []int
		asked, want weight.Format
	}{
		{[]int{3, 512}, weight.Q4_K, weight.Q4_K},
		{[]int{3, 576}, weight.Q2_K, weight.IQ4_NL},
		{[]int{3, 576}, weight.Q3_K, weight.IQ4_NL},
		{[]int{3, 576}, weight.IQ4_XS, weight.IQ4_NL},
		{[]int{3, 576}, weight.Q4_K, weight.Q5_0},
		{[]int{3, 576}, weight.Q5_K, weight.Q5_1},
		{[]int{3, 576}, weight.Q6_K, weight.Q8_0},
		{[]int{3, 576}, weight.Q4_1, weight.Q4_1},
		{[]int{3, 40}, weight.Q4_0, weight.F16},
		{[]int{3, 40}, weight.Q6_K, weight.F16},
		{[]int{512}, weight.Q4_0, weight.F16},
	} {
		source := &weight.Tensor{Name: "w", File: "f", Format: weight.F16, Shape: c.shape}
		f, err := FormatOf(source, c.asked)
		require.NoError(t, err)
		require.Equal(t, c.want, f, "%v %s", c.shape, c.asked)
		if f == weight.F16 {
			q, err := Tensor(context.Background(), source, c.asked)
			require.NoError(t, err)
			require.Same(t, source, q)
		}
	}
	_, err := FormatOf(&weight.Tensor{Name: "w", File: "f", Format: weight.Q4_0, Shape: []int{1, 32}},
		weight.Q8_0)
	require.EqualError(t, err, `f: tensor "w" is already quantized, as Q4_0: use the checkpoint as it is, or `+
		`quantize the original, whose weights are BF16, F16 or F32`)
	_, err = FormatOf(&weight.Tensor{Format: weight.F32, Shape: []int{1, 256}}, weight.Q8_K)
	require.EqualError(t, err, "phi3 cannot store weights as Q8_K")
}

func TestParse(t *testing.T) {
	used := map[weight.Format]bool{}
	for _, name := range Names() {
		r, err := Parse(name)
		require.NoError(t, err)
		used[r.Layers] = true
		require.NotNil(t, quantizers[r.Embeddings], name)
		require.Equal(t, strings.ToUpper(name), r.Layers.String())
	}
	require.Len(t, used, len(quantizers), "a recipe for every format")
	r, err := Parse("Q4_K")
	require.NoError(t, err)
	require.Equal(t, Recipe{weight.Q4_K, weight.Q6_K}, r)
	_, err = Parse("q4")
	require.EqualError(t, err, `phi3 cannot store weights as "q4"; it can as q8_0, q6_k, q5_k, q5_1, q5_0, `+
		`q4_k, q4_1, q4_0, iq4_nl, iq4_xs, q3_k, q2_k`)
}
