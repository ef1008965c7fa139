//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// How long the GPU takes for a verb, at the sizes of Phi-3-mini:
//
//	PHI3_TEST_GPU=1 go test -tags cuda ./internal/cuda -run '^$' -bench GPU
//
// The figures are by the GPU's clock. GB/s counts the weights and the KV cache that a verb has to read.
// %copy compares it with what a device-to-device copy reads and writes in the same run. TFLOP/s counts
// two operations for each weight and token, and in attention for each query, key and element of a head.
// On the emulator and with -short all sizes are small, and the figures mean nothing.

// bench is a backend of real size with random weights of the usual magnitudes.
type bench struct {
	*Backend
	pool     devicePtr // weights
	poolSize int
	copies   float64 // GB/s of a copy
	prompt   int     // tokens of prefill
	xs       [5]model.Matrix
}

const benchContext = 2048 // positions in the cache when a token is decoded

func openBench(b *testing.B) *bench {
	text, _, err := randomckpt.Preset("phi-3-mini")
	poolSize, prompt := 2<<30, 2048
	if small() {
		poolSize, prompt = 4<<20, 16
		text, err = os.ReadFile("../../testdata/mini/config.json")
	}
	require.NoError(b, err)
	config, err := model.ParseConfig(text)
	require.NoError(b, err)
	config.SlidingWindow = 0
	opened, err := Open(Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, opened.Close()) })
	m := &bench{Backend: opened.(*Backend), poolSize: poolSize, prompt: prompt}
	const most = benchContext + decodeTokens
	plan := &model.Plan{Config: config, MaxTokens: prompt, Context: most, Least: most}
	require.NoError(b, m.Plan(plan))
	m.xs = [...]model.Matrix{plan.X, plan.QKV, plan.Attended, plan.Gated, plan.Logits}
	random := make([]byte, min(m.poolSize, 64<<20))
	rng := rand.New(rand.NewSource(1))
	for i := 0; i < len(random); i += 2 {
		binary.LittleEndian.PutUint16(random[i:], weight.ToBF16(float32(0.02*rng.NormFloat64())))
	}
	require.NoError(b, m.device.do(func() (err error) {
		if m.pool, err = m.device.alloc(m.poolSize); err != nil {
			return err
		}
		to := []struct {
			at    devicePtr
			bytes int
		}{{m.pool, m.poolSize}, {m.kv, 2 * m.kvBlocks * m.kvBlockElems}}
		for _, x := range m.xs {
			to = append(to, struct {
				at    devicePtr
				bytes int
			}{ptr(x), 4 * x.Rows * x.Cols})
		}
		for _, t := range to {
			for done := 0; done < t.bytes; done += len(random) {
				if err := m.device.copyToDevice(t.at+devicePtr(done), random[:min(len(random), t.bytes-done)],
					m.stream); err != nil {
					return err
				}
			}
		}
		return m.device.sync(m.stream)
	}))
	return m
}

// weight is the ith of many weights, so that none is in the GPU's caches when it is used.
func (m *bench) weight(i, bytes int) model.Weight {
	different := m.poolSize / bytes
	return model.Weight{Data: &parameter{ptr: m.pool + devicePtr(i%different*bytes), typ: typeBF16}}
}

// seconds is the median time on the GPU of what f puts on the stream, over the benchmark's rounds.
func (m *bench) seconds(b *testing.B, f func() error) float64 {
	var took []float64
	require.NoError(b, m.device.do(func() error {
		from, err := m.device.newEvent()
		if err != nil {
			return err
		}
		to, err := m.device.newEvent()
		if err != nil {
			return err
		}
		if err := f(); err != nil { // warm-up
			return err
		}
		for b.Loop() {
			if err := m.device.record(from, m.stream); err != nil {
				return err
			}
			if err := f(); err != nil {
				return err
			}
			if err := m.device.record(to, m.stream); err != nil {
				return err
			}
			if err := m.device.wait(to); err != nil {
				return err
			}
			d, err := m.device.elapsed(from, to)
			if err != nil {
				return err
			}
			took = append(took, d.Seconds())
		}
		return m.device.free(from)
	}))
	slices.Sort(took)
	// the emulator's clock may stand still
	return max(took[len(took)/2], float64(time.Nanosecond)/float64(time.Second))
}

// verb measures what queue appends when called with 0, 1, 2 …, as one graph of several calls.
func (m *bench) verb(b *testing.B, name string, bytes, flops float64, queue func(i int)) {
	calls := 32
	if small() {
		calls = 2
	}
	b.Run(name, func(b *testing.B) {
		m.drop()
		for i := range calls {
			queue(i)
		}
		require.NoError(b, m.stage.err)
		var captured graph
		require.NoError(b, m.device.do(func() (err error) {
			if err := m.device.copyToDevice(m.stage.device, m.stage.host.bytes[:m.stage.used],
				m.stream); err != nil {
				return err
			}
			// A kernel may be loaded when it is first launched, which a capture does not allow.
			m.device.prepare(m.queue)
			if err := m.device.launchAll(m.stream, m.queue); err != nil {
				return err
			}
			if err := m.device.sync(m.stream); err != nil {
				return err
			}
			captured, err = m.device.capture(m.stream, m.queue)
			return err
		}))
		s := m.seconds(b, func() error { return m.device.launchGraph(m.stream, captured) }) / float64(calls)
		b.ReportMetric(s*1e9, "ns/op")
		if bytes > 0 {
			b.ReportMetric(bytes/s/1e9, "GB/s")
			b.ReportMetric(100*bytes/s/1e9/m.copies, "%copy")
		}
		if flops > 0 {
			b.ReportMetric(flops/s/1e12, "TFLOP/s")
		}
	})
}

// step is a step of n new tokens, the first at position.
func (m *bench) step(n, position int) *model.Step {
	s := &model.Step{
		IDs: make([]int32, n), Cos: make([]float32, n*m.config.RoPE.Dim/2),
		Sin: make([]float32, n*m.config.RoPE.Dim/2),
	}
	seq := model.Span{Len: n, Position: position}
	for block := range kvcache.BlocksFor(position + n) {
		seq.Blocks = append(seq.Blocks, int32(block))
	}
	s.Seqs = []model.Span{seq}
	return s
}

func BenchmarkGPU(b *testing.B) {
	m := openBench(b)
	b.Run("copy", func(b *testing.B) {
		half := m.poolSize / 2
		s := m.seconds(b, func() error {
			return check("cuMemcpyDtoDAsync",
				cu.MemcpyDtoDAsync(cu.DevicePtr(m.pool+devicePtr(half)), cu.DevicePtr(m.pool), int64(half),
					m.stream))
		})
		m.copies = 2 * float64(half) / s / 1e9
		b.ReportMetric(s*1e9, "ns/op")
		b.ReportMetric(m.copies, "GB/s")
	})

	c := m.config
	hidden, qkv, heads, inner, logits := m.xs[0], m.xs[1], m.xs[2], m.xs[3], m.xs[4]
	norm := model.Weight{Data: &parameter{ptr: m.pool, typ: typeF32}}
	for _, tokens := range []int{1, decodeTokens, m.prompt} {
		name := fmt.Sprintf("decode %d/", tokens)
		if tokens > decodeTokens {
			name = fmt.Sprintf("prefill %d/", tokens)
		}
		// Of a product: what a weight of [rows, cols] takes to read, and the operations.
		product := func(rows, cols int) (bytes int, read, flops float64) {
			bytes = 2 * rows * cols
			if flops = 2 * float64(tokens*rows*cols); tokens <= decodeTokens {
				return bytes, float64(bytes), 0
			}
			return bytes, 0, flops
		}

		bytes, read, flops := product(c.QKVRows(), c.HiddenSize)
		m.verb(b, name+"NormLinear qkv", read, flops, func(i int) {
			m.NormLinear(qkv.First(tokens), hidden.First(tokens), norm, m.weight(i, bytes))
		})

		step, read, flops := m.step(tokens, benchContext), 0., 0.
		if tokens <= decodeTokens {
			read = float64(2 * 2 * c.KVHeads * c.HeadDim * (benchContext + tokens))
		} else {
			step = m.step(tokens, 0)
			flops = 2 * 2 * float64(c.Heads*c.HeadDim) * float64(tokens) * float64(tokens+1) / 2
		}
		m.verb(b, name+"Attend", read, flops, func(i int) {
			if i == 0 {
				m.Begin(step)
			}
			m.Attend(heads.First(tokens), qkv.First(tokens), i%c.Layers)
		})

		bytes, read, flops = product(c.HiddenSize, c.Heads*c.HeadDim)
		m.inputOut(heads)
		m.verb(b, name+"LinearAdd o", read, flops, func(i int) {
			m.LinearAdd(hidden.First(tokens), heads.First(tokens), m.weight(i, bytes))
		})

		bytes, read, flops = product(2*c.IntermediateSize, c.HiddenSize)
		m.verb(b, name+"NormGateUp", read, flops, func(i int) {
			m.NormGateUp(inner.First(tokens), hidden.First(tokens), norm, m.weight(i, bytes))
		})

		bytes, read, flops = product(c.HiddenSize, c.IntermediateSize)
		m.verb(b, name+"LinearAdd down", read, flops, func(i int) {
			m.LinearAdd(hidden.First(tokens), inner.First(tokens), m.weight(i, bytes))
		})

		if tokens <= decodeTokens {
			bytes, read, flops = product(c.VocabSize, c.HiddenSize)
			m.verb(b, name+"NormLinear head", read, flops, func(i int) {
				m.NormLinear(logits.First(tokens), hidden.First(tokens), norm, m.weight(i, bytes))
			})
			m.verb(b, name+"argmax", 0, 0, func(int) {
				m.kernels.argmax(&m.queue, room[int32](&m.stage, tokens), ptr(logits), tokens, c.VocabSize)
			})
		}
	}
}
