//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"phi3/internal/backendtest"
	"phi3/internal/weight"
)

// A matrix is float16 on the device unless a number is out of its range, or bfloat16 is more exact in
// some row or column.
func TestSuitsF16(t *testing.T) {
	const rows, cols = 50, 96
	type matrix [rows * cols]float32
	scaled := func(factor float32, of func(row, col int) bool) func(*matrix) {
		return func(m *matrix) {
			for i := range m {
				if of(i/cols, i%cols) {
					m[i] *= factor
				}
			}
		}
	}
	all := func(int, int) bool { return true }
	set := func(x float64) func(*matrix) { return func(m *matrix) { m[777] = float32(x) } }
	for name, c := range map[string]struct {
		change func(*matrix)
		suits  bool
	}{
		"as a model is initialized": {func(*matrix) {}, true}, // one of 3,000 numbers is below 2⁻¹⁷
		"a hundred times smaller":   {scaled(1e-2, all), true},
		"zeros":                     {scaled(0, all), true},
		"about 1e-7":                {scaled(5e-6, all), false},
		"below float16":             {scaled(1e-9, all), false},
		"subnormal in float32":      {scaled(1e-39, all), false},
		"a row of zeros":            {scaled(0, func(row, _ int) bool { return row == 49 }), true},
		"a row about 1e-7":          {scaled(5e-6, func(row, _ int) bool { return row == 17 }), false},
		"the last row about 1e-7":   {scaled(5e-6, func(row, _ int) bool { return row == 49 }), false},
		"a third of the rows":       {scaled(5e-6, func(row, _ int) bool { return row > 33 }), false},
		"a column about 1e-7":       {scaled(5e-6, func(_, col int) bool { return col == 95 }), false},
		"float16's largest":         {set(-65504), true},
		"beyond it":                 {set(65505), false},
		"infinity":                  {set(math.Inf(-1)), false},
		"NaN":                       {set(math.NaN()), false},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(4, 2))
			var m matrix
			for i := range m {
				m[i] = float32(0.02 * random.NormFloat64())
			}
			c.change(&m)
			require.Equal(t, c.suits, suitsF16(bytesOf(m[:]), rows, cols))
		})
	}
	// Of one label's weights some are tiny by chance.
	label := make([]float32, 64)
	for i := range label {
		label[i] = 0.02 / float32(i+1)
	}
	label[5] = 1e-7
	require.True(t, suitsF16(bytesOf(label), 1, 64))
}

// The errors that decide the type are those of the conversions.
func TestErrorsOfRounding(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		x := float32(math.Ldexp(random.Float64()*2-1, random.IntN(50)-34)) // up to 2¹⁵
		if i < 2000 {
			x = float32(math.Ldexp(float64(i), -26)) // ties in float16
		}
		f16 := float64(x - float16.Fromfloat32(x).Float32())
		bf16 := float64(x) - valueOfBF16(weight.ToBF16(x))
		require.Equal(t, squares{f16 * f16, bf16 * bf16}, errorsOf(math.Float32bits(x)), "%g", x)
	}
}

// A float32 checkpoint with values' weights about 1e-7 is as near to its float32 run as one with usual
// weights.
func TestSmallFloat32Weights(t *testing.T) {
	const shape = `"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64`
	distances := map[bool]float64{}
	for _, small := range []bool{false, true} {
		dir := randomModel(t, shape, weight.F32)
		if small { // the output projection compensates for it
			scaleRows(t, dir, "model.layers.0.self_attn.qkv_proj.weight", 2*2*64, 5e-6)
			scaleRows(t, dir, "model.layers.0.self_attn.o_proj.weight", 0, 2e5)
		}
		var traces [2]backendtest.Trace
		for i, float32 := range []bool{false, true} {
			m, err := loadOn(openTest(t, Options{Float32: float32}), dir)
			require.NoError(t, err)
			traces[i] = backendtest.Forward(t, m, []int32{1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7}, 11)
			require.NoError(t, m.Close())
		}
		distances[small] = backendtest.Distance(traces[0].Hidden[1], traces[1].Hidden[1])
	}
	require.Less(t, distances[true], 2*distances[false]) // bfloat16 weights, not float16
}

// scaleRows multiplies the rows of a float32 matrix from one on.
func scaleRows(t *testing.T, dir, tensor string, from int, factor float32) {
	t.Helper()
	file := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	start := 8 + int(binary.LittleEndian.Uint64(data))
	var header map[string]struct {
		Shape   []int `json:"shape"`
		Offsets []int `json:"data_offsets"`
	}
	require.NoError(t, json.Unmarshal(data[8:start], &header))
	x := data[start:][header[tensor].Offsets[0]:header[tensor].Offsets[1]]
	for x = x[4*from*header[tensor].Shape[1]:]; len(x) > 0; x = x[4:] {
		value := math.Float32frombits(binary.LittleEndian.Uint32(x))
		binary.LittleEndian.PutUint32(x, math.Float32bits(value*factor))
	}
	require.NoError(t, os.WriteFile(file, data, 0o600))
}
