package cpu

import (
	"fmt"
	"math/rand"
	"testing"

	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// The matrix product of one token (decode) and of many (prefill) with a matrix far larger than any cache, 201 MB.
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
	for _, tokens := range []int{1, 2, 64, 512} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			rows := rows
			if tokens > 64 {
				rows = 3072
			}
			c := &model.Config{HiddenSize: k, IntermediateSize: 1, Heads: 1, KVHeads: 1, HeadDim: 2}
			backend, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = backend.Close() }()
			if err := backend.Plan(c, nil, tokens, 0); err != nil {
				b.Fatal(err)
			}
			w, err := backend.Upload(&safetensors.Tensor{Name: "w", DType: safetensors.BF16, Shape: []int{rows, k}, Data: data})
			if err != nil {
				b.Fatal(err)
			}
			x, a := matrixOf(tokens, rows, make([]float32, tokens*rows)), matrixOf(tokens, k, normals(rng, tokens*k))
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
