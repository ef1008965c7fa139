package quantize

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
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

// The relative error, the root of the mean square, of normally distributed weights.
func TestNormalWeights(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	source := matrix(16, 512, func(int) float32 { return float32(random.NormFloat64() * 0.02) })
	want := source.Float32s()
	for f := range quantizers {
		q, err := Tensor(context.Background(), source, f)
		require.NoError(t, err)
		got := make([]float32, len(want))
		weight.Dequantize(got, q.Data, f)
		var loss, sum float64
		for i, v := range want {
			loss += math.Pow(float64(v-got[i]), 2)
			sum += float64(v) * float64(v)
		}
		t.Logf("%s %.5f", f, math.Sqrt(loss/sum))
		require.Less(t, math.Sqrt(loss/sum), 0.5, "%s", f)
	}
}
