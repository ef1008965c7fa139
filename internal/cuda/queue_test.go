//go:build cuda && linux && cgo

package cuda

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// BenchmarkDecodeQueue measures what a token of Phi-3-mini costs the host: making the queue of all
// layers, comparing it with the previous one, and giving it to a driver that does nothing.
func BenchmarkDecodeQueue(b *testing.B) {
	useDriver(b, compileDriver(b, noDriver))
	require.NoError(b, loadDriver())
	const layers, hidden, kvBlocks = 32, 3072, 32
	shape := attentionShape{heads: 32, kvHeads: 32, headDim: 96, ropeHalf: 48}
	backend := &Backend{
		device: &device{multiprocessors: 132},
		kernels: &kernelSet{
			linearKernels: &linearKernels{maxShared: 227 << 10},
			attention:     &attentionKernels{attentionShape: shape},
		},
		config:       &model.Config{Layers: layers, HiddenSize: hidden, KVHeads: 32},
		stepLimits:   limitsOf(&model.Plan{Context: kvBlocks * kvcache.BlockTokens}, kvBlocks),
		kvBlockElems: layers * 2 * 32 * 128 * 96,
		turn:         &turn{stage: stage{host: &hostMemory{make([]byte, 1<<16)}}},
	}
	matrixOf := func(cols int) model.Matrix { return model.Matrix{Rows: 1, Cols: cols, Data: &matrix{}} }
	weightOf := func(n int) model.Weight { return model.Weight{Data: &parameter{ptr: devicePtr(n + 1)}} }
	x, qkv, attn := matrixOf(hidden), matrixOf(3*hidden), matrixOf(hidden)
	h, logits := matrixOf(8192), matrixOf(32064)
	blocks := make([]int32, kvBlocks)
	step := &model.Step{
		IDs: []int32{1}, Seqs: []model.Span{{Len: 1, Position: 2000, Blocks: blocks}},
		Cos: make([]float32, 48), Sin: make([]float32, 48),
	}
	decode := func() {
		step.Seqs[0].Position++
		backend.Begin(step)
		backend.Embed(x, weightOf(0))
		for i := range layers {
			backend.NormLinear(qkv, x, weightOf(8*i), weightOf(8*i+1))
			backend.Attend(attn, qkv, i)
			backend.LinearAdd(x, attn, weightOf(8*i+2))
			backend.NormGateUp(h, x, weightOf(8*i+3), weightOf(8*i+4))
			backend.LinearAdd(x, h, weightOf(8*i+5))
		}
		backend.NormLinear(logits, x, weightOf(8*layers), weightOf(8*layers+1))
	}
	decode()
	require.NoError(b, backend.stage.err)
	backend.graphs.seen = []*seenQueue{{launches: append(queue(nil), backend.queue...), captured: true}}
	b.SetBytes(int64(len(backend.queue)) * int64(unsafe.Sizeof(launch{})))
	b.ReportAllocs()
	for b.Loop() {
		step.Seqs[0].Position = 2000
		decode()
		if err := backend.graphs.run(backend.device, cu.NoStream, backend.queue); err != nil {
			b.Fatal(err)
		}
	}
	require.Len(b, backend.graphs.seen, 1)
	b.ReportMetric(float64(len(backend.queue)), "launches")
}

// TestQueueAllocatesNothing: a decode step queues about 160 launches for every token, without garbage.
func TestQueueAllocatesNothing(t *testing.T) {
	k, q := &kernelSet{linearKernels: &linearKernels{}}, make(queue, 0, 4)
	p := product{tokens: 1, rows: 9216, k: 3072, norm: 1}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q = q[:0]
		k.decode(&q, p, 264)
		k.prefill(&q, p)
		k.rmsNorm(&q, rowNorm{typ: typeBF16, tokens: 1, cols: 3072})
		k.argmax(&q, 0, 0, 1, 32064)
	}))
}

func BenchmarkQueue(b *testing.B) {
	k, q := &linearKernels{}, make(queue, 0, 1)
	p := product{tokens: 1, rows: 9216, k: 3072, norm: 1}
	for b.Loop() {
		q = q[:0]
		k.decode(&q, p, 264)
	}
}
