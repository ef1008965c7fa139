//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// askToken asks what the host costs. It times a whole token of Phi-3-mini at 100 cached tokens by the
// host's clock, and the token's graph alone by the GPU's clock. During the difference the GPU is idle.
// With "waiting", the host waits for each id before it begins the next token. So it makes and compares the
// queue, wakes the device's thread, launches, and copies the id while the GPU has nothing to do. Without,
// the host is one step ahead ([model.Ahead]), as in the program. The weights are random, and some layers
// share theirs.
func askToken(x *experiment) {
	b, c := x.backend(0)
	const cached = 100
	blocks := kvcache.BlocksFor(cached + 1)
	tokens := blocks * kvcache.BlockTokens
	plan := &model.Plan{Config: c, MaxTokens: 1, Context: tokens, Least: tokens}
	require.NoError(x, b.Plan(plan))
	x.fillBF16(x, b.kv, blocks*kvBlockElems(c), cacheSeed, 1)
	shape := layerShape{hidden: c.HiddenSize, qkv: c.QKVRows(), inner: c.IntermediateSize}
	weights := x.randomWeights(x, shape, c.Layers)
	headWeights := x.allocate(x, 2*c.VocabSize*c.HiddenSize)
	x.fillBF16(x, headWeights, c.VocabSize*c.HiddenSize, 2, 0.035)
	norms := make([]float32, c.HiddenSize)
	for i := range norms {
		norms[i] = 1
	}
	at := func(p devicePtr) model.Weight { return model.Weight{Data: &parameter{ptr: p, typ: typeBF16}} }
	norm := model.Weight{Data: &parameter{ptr: x.upload(x, norms), typ: typeF32}}
	head := at(headWeights)
	m := []model.Matrix{plan.X, plan.QKV, plan.Attended, plan.Gated, plan.Logits.First(1)}
	table := make([]int32, blocks)
	for i := range table {
		table[i] = int32(i)
	}
	step := stepAt(c, cached, table)
	next := make([]int32, 1)
	verbs := func() {
		b.Begin(step)
		b.Embed(m[0], head)
		for i, w := range weights {
			b.NormLinear(m[1], m[0], norm, at(w.qkv))
			b.Attend(m[2], m[1], i)
			b.LinearAdd(m[0], m[2], at(w.o))
			b.NormGateUp(m[3], m[0], norm, at(w.gateUp))
			b.LinearAdd(m[0], m[3], at(w.down))
		}
		b.NormLinear(m[4], m[0], norm, head)
	}
	waiting := func() (time.Duration, error) {
		began := time.Now()
		verbs()
		err := b.Argmax(next, m[4])
		return time.Since(began), err
	}
	var first int32 // the id that the same first step chooses
	ahead := func() (time.Duration, error) {
		const tokens = 8
		defer func() { step.Chosen = false }()
		verbs()
		b.StartArgmax(m[4])
		var began time.Time
		for i := range tokens + 1 {
			step.Chosen = true
			verbs()
			b.StartArgmax(m[4])
			if err := b.Chosen(next); err != nil {
				return 0, err
			}
			if i == 0 {
				began, first = time.Now(), next[0]
			}
		}
		took := time.Since(began) / tokens
		return took, b.Chosen(next)
	}

	name := fmt.Sprintf("%dcached", cached)
	x.figure(name+"-waiting", func(f *figure) {
		var id int32
		for i := range 3 { // launched, captured, replayed
			_, err := waiting()
			require.NoError(f, err)
			if i > 0 {
				require.Equal(f, id, next[0], "the token, again")
			}
			id = next[0]
		}
		require.True(f, 0 <= id && int(id) < c.VocabSize, "the token is %d: a logit is not finite", id)
		require.True(f, b.graphs.seen[0].captured)
		x.timeToken(f, waiting, b.graphs.seen[0].graph)
	})
	x.figure(name, func(f *figure) {
		_, err := waiting()
		require.NoError(f, err)
		id := next[0]
		_, err = ahead()
		require.NoError(f, err)
		require.Equal(f, id, first, "the token, a step ahead")
		require.True(f, b.graphs.seen[0].captured)
		x.timeToken(f, ahead, b.graphs.seen[0].graph)
	})
}

// timeToken times a token by the host's clock, and in turn its graph by the GPU's. token returns how long one
// takes.
func (x *experiment) timeToken(f *figure, token func() (time.Duration, error), replay graph) {
	f.Helper()
	var host, gpu []float64
	var from, to cu.Event
	x.must(f, func() (err error) {
		if from, err = x.newEvent(); err != nil {
			return err
		}
		to, err = x.newEvent()
		return err
	})
	for f.loop() {
		took, err := token()
		require.NoError(f, err)
		host = append(host, took.Seconds())
		require.NoError(f, x.do(func() error {
			if err := x.record(from, x.stream); err != nil {
				return err
			}
			if err := x.launchGraph(x.stream, replay); err != nil {
				return err
			}
			if err := x.record(to, x.stream); err != nil {
				return err
			}
			if err := x.wait(to); err != nil {
				return err
			}
			d, err := x.elapsed(from, to)
			gpu = append(gpu, d.Seconds())
			return err
		}))
	}
	slices.Sort(host)
	slices.Sort(gpu)
	all, graph := host[len(host)/2], gpu[len(gpu)/2]
	f.report(all*1e9, "ns/op")
	f.report(all*1e6, "µs/token")
	f.report(graph*1e6, "µs/graph")
	f.report((all-graph)*1e6, "µs/host")
}
