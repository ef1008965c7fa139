//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
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

// backend opens a backend beside the experiment, on the same context. Where sizes are, the model is small.
func (x *experiment) backend(layers int) (*Backend, *model.Config) {
	x.Helper()
	text, _, err := randomckpt.Preset("phi-3-mini")
	if sized(false, true) {
		text, err = os.ReadFile("../../testdata/mini/config.json")
	}
	require.NoError(x, err)
	config, err := model.ParseConfig(text)
	require.NoError(x, err)
	config.SlidingWindow = 0
	if layers > 0 {
		config.Layers = layers
	}
	opened, err := Open(Options{})
	require.NoError(x, err)
	x.Cleanup(func() { require.NoError(x, opened.Close()) })
	return opened.(*Backend), config
}

// stepAt is a step of one token at a position, its keys in the given blocks. RoPE turns by no angle.
func stepAt(c *model.Config, position int, blocks []int32) *model.Step {
	half := c.RoPE.Dim / 2
	cos := make([]float32, half)
	for i := range cos {
		cos[i] = 1
	}
	seq := model.Span{Len: 1, Position: position, Blocks: blocks}
	return &model.Step{IDs: make([]int32, 1), Cos: cos, Sin: make([]float32, half), Seqs: []model.Span{seq}}
}

const cacheSeed = 3

// askAttention asks what attention of one token costs at a short and at a long context, and how much of it is
// the join of chunks: the last block of each head joins the chunks' results one after another. phi3's own
// kernel, one layer of Phi-3-mini a call, each call on a cache of its own. Without the join the counter of
// arrived chunks starts far below zero, so that no block finds itself the last; nothing else changes. The
// figures are microseconds and GB/s of keys and values. What the join takes at 100k is what joining in
// parallel can gain; what is left at 100 is latency.
func askAttention(x *experiment) {
	x.measureCeilings(x)
	b, c := x.backend(1)
	const most = 512 // calls in a graph
	blockBytes := 2 * blockElems(c)
	blocks := x.affordable(x, sized(1568, 8)*blockBytes) / blockBytes
	tokens := blocks * kvcache.BlockTokens
	plan := &model.Plan{Config: c, MaxTokens: decodeTokens, Context: tokens, Least: tokens}
	require.NoError(x, b.Plan(plan))
	qkv, out := plan.QKV.First(1), plan.Attended.First(1)
	rng := rand.New(rand.NewSource(1))
	values := make([]float32, qkv.Cols)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	x.write(x, ptr(qkv), encode(values))
	require.NoError(x, b.device.do(func() (err error) {
		b.stage, err = newStage(b.device, most*stageBytes(c, 1, blocks)) // for all calls at once
		return err
	}))

	for _, context := range []struct {
		name   string
		cached int
	}{{"100", 100}, {"2k", sized(2000, 300)}, {"16k", sized(16000, 400)}, {"100k", sized(100_000, 500)}} {
		need := kvcache.BlocksFor(context.cached + 1)
		for _, join := range []bool{true, false} {
			name := context.name + "/join"
			if !join {
				name = context.name + "/no-join"
			}
			x.figure(name, func(f *figure) {
				different := blocks / need
				if different == 0 {
					f.Skipf("too little free memory for %d cached tokens", context.cached)
				}
				x.fillBF16(f, b.kv, blocks*blockElems(c), cacheSeed, 1) // anew: each figure appends to it
				calls := min(different, max(2, ceilDiv(x.muchMoreThanL2(f), need*blockBytes)), most)
				b.drop()
				for i := range calls {
					own := make([]int32, need)
					for j := range own {
						own[j] = int32(i*need + j)
					}
					b.stageStep(stepAt(c, context.cached, own))
					b.Attend(out, qkv, 0)
				}
				require.NoError(f, b.stage.err)
				q := slices.Clone(b.queue)
				x.write(f, b.stage.device, b.stage.host.bytes[:b.stage.used])

				arrived := byte(0)
				if !join {
					arrived = 0x80 // -2139062144 in an int32
				}
				setArrived := func(tb testing.TB, value byte) {
					x.must(tb, func() error { return x.fill(b.arrived, value, 4*c.KVHeads, x.stream) })
				}
				setArrived(f, arrived)
				defer setArrived(f, 0)
				x.must(f, func() error { return x.fill(ptr(out), 0xff, 2*out.Cols, x.stream) })
				x.runOnce(f, q)
				got := readBack[uint16](f, x, ptr(out), out.Cols)
				if join {
					for _, head := range []int{0, c.Heads - 1} {
						checkAttention(f, c, values, got, head, (calls-1)*need, context.cached)
					}
				} else {
					for i := range got {
						require.Equal(f, uint16(0xffff), got[i], "out[%d] was written: chunks were joined", i)
					}
				}

				s := x.seconds(f, x.enqueueGraph(x.graph(f, q))) / float64(calls)
				f.report(s*1e9, "ns/op")
				f.report(s*1e6, "µs")
				x.reportRead(f, float64(2*2*c.KVHeads*c.HeadDim*(context.cached+1)), s)
			})
		}
	}
}

// checkAttention compares a head's output with float64 arithmetic. The cache's blocks begin at the given one.
func checkAttention(tb testing.TB, c *model.Config, qkv []float32, got []uint16, head, block, cached int) {
	tb.Helper()
	d, group := c.HeadDim, c.Heads/c.KVHeads
	kvHead := head / group
	rounded := func(i int) float64 { return float64(weight.FromBF16(weight.ToBF16(qkv[i]))) }
	scores := make([]float64, cached+1)
	element := func(p, j int) uint32 {
		const tokens = kvcache.BlockTokens
		return uint32((block+p/tokens)*blockElems(c) + (kvHead*tokens+p%tokens)*d + j)
	}
	top := math.Inf(-1)
	for p := range scores {
		for j := range d {
			key := rounded((c.Heads+kvHead)*d + j)
			if p < cached {
				key = float64(weight.FromBF16(filledBF16(element(p, j), cacheSeed, 1)))
			}
			scores[p] += rounded(head*d+j) * key
		}
		scores[p] /= math.Sqrt(float64(d))
		top = max(top, scores[p])
	}
	values := uint32(c.KVHeads * kvcache.BlockTokens * d) // elements from a block's keys to its values
	total := 0.0
	want := make([]float64, d)
	for p, score := range scores {
		share := math.Exp(score - top)
		total += share
		for j := range d {
			value := rounded((c.Heads+c.KVHeads+kvHead)*d + j)
			if p < cached {
				value = float64(weight.FromBF16(filledBF16(element(p, j)+values, cacheSeed, 1)))
			}
			want[j] += share * value
		}
	}
	off, size := 0.0, 0.0
	for j := range d {
		want[j] /= total
		off += math.Pow(float64(weight.FromBF16(got[head*d+j]))-want[j], 2)
		size += want[j] * want[j]
	}
	require.Less(tb, math.Sqrt(off/size), 0.02, "head %d, relative to the output in float64", head)
}

// askToken asks what the host costs: a whole token of Phi-3-mini at 100 cached tokens through the backend,
// from the first verb to the id in the host's hands, by the host's clock, and its graph alone by the GPU's
// clock. The difference is spent with the GPU idle: making and comparing the queue, the hand-over to the
// device's thread, the launch, the copy of the id. It is what keeping the loop on the device can gain. The
// weights are random, and the layers share some.
func askToken(x *experiment) {
	b, c := x.backend(0)
	const cached = 100
	blocks := kvcache.BlocksFor(cached + 1)
	tokens := blocks * kvcache.BlockTokens
	plan := &model.Plan{Config: c, MaxTokens: 1, Context: tokens, Least: tokens}
	require.NoError(x, b.Plan(plan))
	x.fillBF16(x, b.kv, blocks*blockElems(c), cacheSeed, 1)
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
	token := func() error {
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
		return b.Argmax(next, m[4])
	}

	x.figure(fmt.Sprintf("%dcached", cached), func(f *figure) {
		var id int32
		for i := range 3 { // launched, captured, replayed
			require.NoError(f, token())
			if i > 0 {
				require.Equal(f, id, next[0], "the token, again")
			}
			id = next[0]
		}
		require.True(f, 0 <= id && int(id) < c.VocabSize, "the token is %d: a logit is not finite", id)
		require.True(f, b.graphs.seen[0].captured)
		replay := b.graphs.seen[0].graph

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
			began := time.Now()
			require.NoError(f, token())
			host = append(host, time.Since(began).Seconds())
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
	})
}
