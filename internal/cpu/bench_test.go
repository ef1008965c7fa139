package cpu

import (
	"math/rand"
	"testing"

	"phi3/internal/model"
)

// The matrix product of one token (decode) and of many (prefill), in weight bytes a second.
func BenchmarkProduct(b *testing.B) {
	const k, rows = 3072, 1024
	for name, tokens := range map[string]int{"decode": 1, "prefill": 64} {
		b.Run(name, func(b *testing.B) {
			c := &model.Config{HiddenSize: k, IntermediateSize: 1, Heads: 1, KVHeads: 1, HeadDim: 2}
			backend := New(Options{})
			defer func() { _ = backend.Close() }()
			if err := backend.Plan(c, nil, tokens, 0); err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewSource(1))
			w, _ := upload(b, backend, rng, rows, k)
			x, a := matrixOf(tokens, rows, make([]float32, tokens*rows)), matrixOf(tokens, k, normals(rng, tokens*k))
			b.SetBytes(2 * k * rows * int64(tokens))
			for b.Loop() {
				backend.LinearAdd(x, a, w)
			}
		})
	}
}
