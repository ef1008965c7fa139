//go:build cuda && linux && cgo

package cuda

import (
	"math"
	"math/rand"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/randomckpt"
	"phi3/internal/weight"
)

// backend opens a backend beside the experiment, on the same context. The model is small where other
// sizes are.
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

// stepAt is a step of one token at a position, with its keys in the given blocks. RoPE rotates by 0.
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

// attentionExperiment is phi3's own attention of one token, in one layer of Phi-3-mini.
type attentionExperiment struct {
	*experiment
	b        *Backend
	c        *model.Config
	blocks   int // of the KV cache
	qkv, out model.Matrix
	values   []float32 // of qkv
}

const mostCalls = 512 // of attention in a graph

// serialKernel is the program's attention with the join that B2 replaced: see kernels/experiments/join.cu.
const serialKernel = "attention_serial_join_96"

// joining is what attention does when a head's chunks are done.
type joining string

const (
	parallelJoin joining = "join" // as the program does
	serialJoin   joining = "serial-join"
	noJoin       joining = "no-join"
)

// askAttention asks what attention of one token costs at short and at long contexts, and how much of it
// is the join of chunks: the last block of each head joins the chunks' results in ascending order. Each
// call attends over its own part of the cache. Without the join, the counter of arrived chunks starts far
// below zero, so that no block is the last; nothing else changes. The serial join is that of [serialKernel].
// Its results must have the bits of the program's. The figures are microseconds and GB/s of keys and
// values. What the join takes at 100k is what joining its chunks faster can still gain, and what the serial
// join takes more is what B2 gains. What is left at 100, which is one chunk and needs no join, is latency.
func askAttention(x *experiment) {
	x.measureCeilings(x)
	b, c := x.backend(1)
	blockBytes := 2 * kvBlockElems(c)
	blocks := x.affordable(x, sized(1568, 34)*blockBytes) / blockBytes
	tokens := blocks * kvcache.BlockTokens
	plan := &model.Plan{Config: c, MaxTokens: decodeTokens, Context: tokens, Least: tokens}
	require.NoError(x, b.Plan(plan))
	a := &attentionExperiment{x, b, c, blocks, plan.QKV.First(1), plan.Attended.First(1), nil}
	rng := rand.New(rand.NewSource(1))
	for range a.qkv.Cols {
		a.values = append(a.values, float32(rng.NormFloat64()))
	}
	x.write(x, ptr(a.qkv), encode(a.values))
	require.NoError(x, b.device.do(func() (err error) {
		b.stage, err = newStage(b.device, mostCalls*stageBytes(c, 1, b.stepLimits)) // for all calls at once
		return err
	}))
	// On the emulator the longest context has more chunks than the 32 that the parallel join takes at once.
	for _, context := range []struct {
		name   string
		cached int
	}{{"100", 100}, {"2k", sized(2000, 300)}, {"16k", sized(16000, 400)}, {"100k", sized(100_000, 4300)}} {
		for _, how := range []joining{parallelJoin, serialJoin, noJoin} {
			x.figure(context.name+"/"+string(how), func(f *figure) { a.time(f, context.cached, how) })
		}
	}
}

// time times attention over so many cached tokens.
func (a *attentionExperiment) time(f *figure, cached int, how joining) {
	f.Helper()
	need := kvcache.BlocksFor(cached + 1)
	if need == 1 && how != parallelJoin {
		f.Skipf("one chunk is never joined")
	}
	different := a.blocks / need
	if different == 0 {
		f.Skipf("too little free memory for %d cached tokens", cached)
	}
	// Again, because each figure appends to it.
	a.fillBF16(f, a.b.kv, a.blocks*kvBlockElems(a.c), cacheSeed, 1)
	calls := min(different, max(2, ceilDiv(a.muchMoreThanL2(f), need*2*kvBlockElems(a.c))), mostCalls)
	a.b.drop()
	for i := range calls {
		own := make([]int32, need)
		for j := range own {
			own[j] = int32(i*need + j)
		}
		a.b.stageStep(stepAt(a.c, cached, own))
		a.b.Attend(a.out, a.qkv, 0)
	}
	require.NoError(f, a.b.stage.err)
	q := slices.Clone(a.b.queue)
	a.write(f, a.b.stage.device, a.b.stage.host.bytes[:a.b.stage.used])

	arrived := byte(0)
	if how == noJoin {
		arrived = 0x80 // -2139062144 in an int32
	}
	a.setArrived(f, arrived)
	defer a.setArrived(f, 0)
	got := a.attend(f, q)
	if how == noJoin {
		for i := range got {
			require.Equal(f, blank, got[i], "out[%d] was written: chunks were joined", i)
		}
	} else {
		for _, head := range []int{0, a.c.Heads - 1} {
			a.check(f, got, head, (calls-1)*need, cached)
		}
	}
	if how == serialJoin {
		kernel := a.kernel(f, serialKernel, a.b.kernels.attention.decodeShared)
		for i := range q {
			q[i].function = kernel
		}
		require.Equal(f, got, a.attend(f, q), "the bits of the program's join")
	}

	s := a.seconds(f, a.enqueueGraph(a.graph(f, q))) / float64(calls)
	f.report(s*1e9, "ns/op")
	f.report(s*1e6, "µs")
	a.reportRead(f, float64(2*2*a.c.KVHeads*a.c.HeadDim*(cached+1)), s)
}

// setArrived sets each byte of the counters of arrived chunks.
func (a *attentionExperiment) setArrived(tb testing.TB, value byte) {
	tb.Helper()
	a.must(tb, func() error { return a.fill(a.b.arrived, value, 4*a.c.KVHeads, a.stream) })
}

const blank = uint16(0xffff) // NaN, in the output before attention

// attend runs the queue once and returns the output of the last call.
func (a *attentionExperiment) attend(tb testing.TB, q queue) []uint16 {
	tb.Helper()
	a.must(tb, func() error { return a.fill(ptr(a.out), 0xff, 2*a.out.Cols, a.stream) })
	a.runOnce(tb, q)
	return readBack[uint16](tb, a.experiment, ptr(a.out), a.out.Cols)
}

// check compares a head's output with float64 arithmetic. The sequence's part of the cache begins at the
// given block.
func (a *attentionExperiment) check(tb testing.TB, got []uint16, head, block, cached int) {
	tb.Helper()
	c, qkv := a.c, a.values
	d, group := c.HeadDim, c.Heads/c.KVHeads
	kvHead := head / group
	rounded := func(i int) float64 { return float64(weight.FromBF16(weight.ToBF16(qkv[i]))) }
	scores := make([]float64, cached+1)
	element := func(p, j int) uint32 {
		const tokens = kvcache.BlockTokens
		return uint32((block+p/tokens)*kvBlockElems(c) + (kvHead*tokens+p%tokens)*d + j)
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
