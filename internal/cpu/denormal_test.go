package cpu

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// Weights that are denormal numbers of their format: VDPBF16PS and AMX take those of bfloat16 as 0, and all
// other paths multiply them. Those of float16 and float32 are multiplied on all paths. One token and several
// tokens agree. docs/cpu.md has the table.
func TestDenormalWeights(t *testing.T) { onEveryPath(t, testDenormalWeights) }

func testDenormalWeights(t *testing.T) {
	race.SkipAlone(t)
	chosen, err := choosePath()
	require.NoError(t, err)
	flushes := chosen.name == "amx" || chosen.name == "avx512bf16"
	const k, cols = 64, 32
	for _, c := range []struct {
		format weight.Format
		weight []byte
		value  float64
		zero   bool
	}{
		{weight.BF16, binary.LittleEndian.AppendUint16(nil, 0x0040), math.Ldexp(1, -127), flushes},
		// the smallest normal number
		{weight.BF16, binary.LittleEndian.AppendUint16(nil, 0x0080), math.Ldexp(1, -126), false},
		{weight.F16, binary.LittleEndian.AppendUint16(nil, 0x0001), math.Ldexp(1, -24), false},
		{weight.F32, binary.LittleEndian.AppendUint32(nil, 0x00400000), math.Ldexp(1, -127), false},
	} {
		var data []byte
		for range k * cols {
			data = append(data, c.weight...)
		}
		want := float32(c.value * k * math.Ldexp(1, 100))
		if c.zero {
			want = 0
		}
		for _, tokens := range []int{1, 7, 40, 100} {
			b := newBackend(t, Options{Threads: 1},
				&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, tokens, 0)
			w, err := b.Upload(&weight.Tensor{
				Name: "w", Format: c.format, Shape: []int{cols, k},
				Data: data,
			})
			require.NoError(t, err)
			x := make([]float32, tokens*k)
			for i := range x {
				x[i] = float32(math.Ldexp(1, 100))
			}
			out := make([]float32, tokens*cols)
			b.product(out, cols, input{x: x}, w, store)
			for _, v := range out {
				require.Equal(t, want, v, "%s %x, %d tokens", c.format, c.weight, tokens)
			}
		}
	}
}
