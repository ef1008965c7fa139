package cpu

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/model"
	"phi3/internal/quantize"
)

// A whole decode step, from the ids to the next id or to the logits, allocates nothing, also if it is one of
// several tokens.
func TestDecodeAllocatesNothing(t *testing.T) { onEveryPath(t, testDecodeAllocatesNothing) }

func testDecodeAllocatesNothing(t *testing.T) {
	quantized, err := quantize.Parse("q4_k")
	require.NoError(t, err)
	for _, c := range []struct {
		greedy  bool
		weights *quantize.Recipe
	}{{false, nil}, {true, nil}, {false, &quantized}} {
		b, err := New(Options{Threads: 2})
		require.NoError(t, err)
		m, err := model.Load(context.Background(), os.DirFS("../../testdata/mini"), b,
			model.Options{Context: 128, Weights: c.weights})
		require.NoError(t, err)
		cache := m.NewCache()
		_, err = cache.Prepare(128)
		require.NoError(t, err)
		out := &model.Output{Greedy: c.greedy}
		batch := []model.Sequence{{IDs: []int32{5, 77, 300, 12}, Cache: cache}}
		// allocates the memory of the step and of the result, and the block of the KV cache
		require.NoError(t, m.Forward(context.Background(), batch, out))
		for _, tokens := range []int{1, 3} {
			batch[0].IDs = batch[0].IDs[:tokens:4]
			require.Zero(t, testing.AllocsPerRun(20,
				func() { err = m.Forward(context.Background(), batch, out) }), "%+v", c)
			require.NoError(t, err)
		}
		require.NoError(t, m.Close())
	}
}
