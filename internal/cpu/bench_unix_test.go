//go:build unix

package cpu

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"syscall"
	"testing"
	"time"

	"phi3/internal/backendtest"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// The matrix product of one token (decode) and of many tokens (prefill) with a matrix of 100 million weights,
// far larger than any cache in all formats. GB/s are bytes of weights as they are stored. cpu-ns are
// processor time for 32 weights and a token; they depend less on other processes.
func BenchmarkProduct(b *testing.B) {
	for _, f := range append([]weight.Format{weight.BF16}, backendtest.QuantizedFormats()...) {
		for _, tokens := range []int{1, 2, 4, 8, 16, 32, 64, 512} {
			b.Run(fmt.Sprintf("%s/tokens=%d", f, tokens),
				func(b *testing.B) { benchmarkProduct(b, f, tokens) })
		}
	}
}

func benchmarkProduct(b *testing.B, f weight.Format, tokens int) {
	const k = 3072
	rows := 32768
	if tokens > 128 {
		rows = 3072
	}
	rng := rand.New(rand.NewSource(1))
	part := backendtest.RandomBlocks(rng, weight.Q8_0, k*64)
	if f.Quantized() {
		part = backendtest.RandomBlocks(rng, f, k*64)
	} else {
		part = backendtest.Expand(part, weight.Q8_0)
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
	data := bytes.Repeat(part, rows/64)
	w, err := backend.Upload(&weight.Tensor{Name: "w", Format: f, Shape: []int{rows, k}, Data: data})
	if err != nil {
		b.Fatal(err)
	}
	x, a := matrixOf(tokens, rows, make([]float32, tokens*rows)), matrixOf(tokens, k, normals(rng, tokens*k))
	n, before := 0, processorTime()
	for b.Loop() {
		backend.LinearAdd(x, a, w)
		n++
	}
	perProduct := float64(processorTime()-before) / float64(n)
	seconds := b.Elapsed().Seconds() / float64(n)
	b.ReportMetric(float64(len(data))/seconds/1e9, "GB/s")
	b.ReportMetric(2*k*float64(rows)*float64(tokens)/seconds/1e9, "GFLOP/s")
	b.ReportMetric(perProduct/float64(rows*k/32*tokens), "cpu-ns")
	b.ReportMetric(0, "ns/op")
}

// The product of one token with 64 rows, which stay in a cache, by one thread: the least time for 32 weights.
// It hardly depends on other processes.
func BenchmarkOneToken(b *testing.B) {
	for _, f := range append([]weight.Format{weight.BF16}, backendtest.QuantizedFormats()...) {
		b.Run(f.String(), func(b *testing.B) { benchmarkOneToken(b, f) })
	}
}

func benchmarkOneToken(b *testing.B, f weight.Format) {
	const k, rows = 3072, 64
	backend, err := New(Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = backend.Close() }()
	c := &model.Config{HiddenSize: k, IntermediateSize: 1, Heads: 1, KVHeads: 1, HeadDim: 2}
	if err := backend.Plan(&model.Plan{Config: c, MaxTokens: 1}); err != nil {
		b.Fatal(err)
	}
	w, err := backend.Upload(&weight.Tensor{
		Name: "w", Format: f, Shape: []int{rows, k},
		Data: make([]byte, f.RowBytes(k*rows)),
	})
	if err != nil {
		b.Fatal(err)
	}
	x, a := matrixOf(1, rows, make([]float32, rows)), matrixOf(1, k, make([]float32, k))
	least := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		backend.LinearAdd(x, a, w)
		least = min(least, time.Since(start))
	}
	b.ReportMetric(float64(least.Nanoseconds())*32/(k*rows), "ns/32-weights")
	b.ReportMetric(0, "ns/op")
}

// processorTime returns how long all threads of this process have run.
func processorTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
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
