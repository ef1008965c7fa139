package quantize

import (
	"math/rand/v2"
	"testing"

	"phi3/internal/weight"
)

// Millions of weights a second of one goroutine: ns/op is for 2048 weights.
func BenchmarkRow(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, 2048)
	for i := range values {
		values[i] = float32(random.NormFloat64() * 0.02)
	}
	for f := range weight.IQ4_XS + 1 {
		if quantizers[f] == nil {
			continue
		}
		b.Run(f.String(), func(b *testing.B) {
			dst, q := make([]byte, f.RowBytes(len(values))), new(fitter)
			for b.Loop() {
				q.row(dst, values, f)
			}
			b.ReportMetric(float64(len(values))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweights/s")
		})
	}
}
