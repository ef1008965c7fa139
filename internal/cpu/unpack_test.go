package cpu

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/race"
	"phi3/internal/weight"
)

// Products with quantized weights have the bits of products with the bfloat16 weights that they expand to.
func TestQuantizedProducts(t *testing.T) { onEveryPath(t, testQuantizedProducts) }

func testQuantizedProducts(t *testing.T) {
	for _, f := range backendtest.QuantizedFormats() {
		for _, f32 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,float32=%v", f, f32), func(t *testing.T) {
				testQuantizedProduct(t, f, f32)
			})
		}
	}
}

func testQuantizedProduct(t *testing.T, f weight.Format, f32 bool) {
	rng := rand.New(rand.NewSource(1))
	block, _ := f.Block()
	for _, k := range []int{block, 1536 + block} {
		for _, cols := range []int{3, 86} {
			if race.Enabled && (k == block) == (cols == 3) {
				continue // few long rows, and many short ones
			}
			const most = 66
			b := newBackend(t, Options{Threads: 2, Float32: f32},
				&model.Config{HiddenSize: k, IntermediateSize: cols, Heads: 1, KVHeads: 1}, most, 0)
			data := backendtest.RandomBlocks(rng, f, 2*cols*k)
			upload := func(rows int, f weight.Format, data []byte) model.Weight {
				w, err := b.Upload(&weight.Tensor{Name: "w", Format: f, Shape: []int{rows, k}, Data: data})
				require.NoError(t, err)
				return w
			}
			for _, e := range []epilogue{store, gateUp} {
				rows := cols
				if e == gateUp {
					rows = 2 * cols
				}
				packed := upload(rows, f, data[:f.RowBytes(rows*k)])
				plain := upload(rows, weight.BF16, backendtest.Expand(data[:f.RowBytes(rows*k)], f))
				for _, tokens := range []int{1, 2, 7, 17, 33, most} {
					x := normals(rng, tokens*k)
					b.asInput(x)
					want, got := make([]float32, tokens*cols), values(poisoned(tokens, cols))
					b.product(want, cols, input{x: x}, plain, e)
					b.product(got, cols, input{x: x}, packed, e)
					require.Equal(t, want, got, "k %d, %d rows, %d tokens", k, rows, tokens)
				}
			}
		}
	}
}

// A row of embeddings is unpacked in stretches.
func TestEmbedQuantized(t *testing.T) { onEveryPath(t, testEmbedQuantized) }

func testEmbedQuantized(t *testing.T) {
	const width, rows = unpackStretch + 256, 5
	rng := rand.New(rand.NewSource(3))
	for _, f := range []weight.Format{weight.Q4_0, weight.Q6_K, weight.Q8_K} {
		b := newBackend(t, Options{Threads: 2}, &model.Config{HiddenSize: width, Heads: 1, KVHeads: 1}, 3, 0)
		data := backendtest.RandomBlocks(rng, f, rows*width)
		table, err := b.Upload(&weight.Tensor{Name: "w", Format: f, Shape: []int{rows, width}, Data: data})
		require.NoError(t, err)
		all := make([]float32, rows*width)
		weight.Widen(all, data, f)
		x := poisoned(3, width)
		b.Begin(&model.Step{IDs: []int32{4, 0, 2}})
		b.Embed(x, table)
		require.Equal(t, slices.Concat(row(all, 4, width), row(all, 0, width), row(all, 2, width)), values(x))
	}
}
