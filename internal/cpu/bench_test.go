package cpu

import (
	"fmt"
	"math/rand"
	"testing"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// The matrix product of one token (decode) and of many tokens (prefill) with a matrix of 201 MB, far larger
// than any cache.
func BenchmarkProduct(b *testing.B) {
	const k, rows = 3072, 32768
	data := make([]byte, 2*k*rows)
	rng := rand.New(rand.NewSource(1))
	for i := range data {
		data[i] = byte(rng.Int63())
		if i%2 == 1 {
			data[i] = data[i]&0x80 | 0x3f // values between 0.5 and 2
		}
	}
	for _, tokens := range []int{1, 2, 17, 64, 128, 512} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			rows := rows
			if tokens > 128 {
				rows = 3072
			}
			c := &model.Config{HiddenSize: k, IntermediateSize: 1, Heads: 1, KVHeads: 1, HeadDim: 2}
			backend, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = backend.Close() }()
			if err := backend.Plan(&model.Plan{Config: c, MaxTokens: tokens}); err != nil {
				b.Fatal(err)
			}
			w, err := backend.Upload(&weight.Tensor{
				Name: "w", Format: weight.BF16,
				Shape: []int{rows, k}, Data: data,
			})
			if err != nil {
				b.Fatal(err)
			}
			x, a := matrixOf(tokens, rows, make([]float32, tokens*rows)), matrixOf(tokens, k,
				normals(rng, tokens*k))
			n := 0
			for b.Loop() {
				backend.LinearAdd(x, a, w)
				n++
			}
			seconds := b.Elapsed().Seconds() / float64(n)
			b.ReportMetric(2*k*float64(rows)/seconds/1e9, "GB/s")
			b.ReportMetric(2*k*float64(rows)*float64(tokens)/seconds/1e9, "GFLOP/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// Attention of one layer of Phi-3-mini for one token (decode) and for 64 tokens (prefill), after 4,096 cached
// tokens: bytes of keys and values per second, and floating-point operations per second.
func BenchmarkAttend(b *testing.B) {
	const cached, layers = 4096, 4 // several layers: 201 MB of keys and values, which no cache keeps
	for _, tokens := range []int{1, 64} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			c := &model.Config{
				HiddenSize: 3072, IntermediateSize: 1, Layers: layers, Heads: 32, KVHeads: 32, HeadDim: 96,
				RoPE: model.RoPEConfig{Dim: 96},
			}
			blocks := make([]int32, (cached+tokens+chunk-1)/chunk)
			for i := range blocks {
				blocks[i] = int32(i)
			}
			backend, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = backend.Close() }()
			if err := backend.Plan(&model.Plan{
				Config: c, MaxTokens: tokens,
				Context: len(blocks) * chunk,
			}); err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewSource(1))
			for i := range blocks {
				backend.kv[i] = backend.newKVBlock()
				for j := range backend.kv[i].bf16 {
					backend.kv[i].bf16[j] = weight.ToBF16(rng.Float32() - 0.5)
				}
			}
			half := c.RoPE.Dim / 2
			step := &model.Step{
				Seqs: []model.Span{{Len: tokens, Position: cached, Blocks: blocks}},
				Cos:  normals(rng, tokens*half), Sin: normals(rng, tokens*half),
			}
			qkv := matrixOf(tokens, c.QKVRows(), normals(rng, tokens*c.QKVRows()))
			a := matrixOf(tokens, 3072, make([]float32, tokens*3072))
			n := 0
			backend.Begin(step)
			for b.Loop() {
				backend.Attend(a, qkv, n%layers)
				n++
			}
			seconds := b.Elapsed().Seconds() / float64(n)
			b.ReportMetric(seconds*1e3, "ms/layer")
			b.ReportMetric(2*2*cached*3072/seconds/1e9, "GB/s")
			b.ReportMetric(4*cached*3072*float64(tokens)/seconds/1e9, "GFLOP/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
