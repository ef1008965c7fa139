//go:build cuda && linux && cgo

package cuda

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// idleDriver does nothing. It makes graphs too.
const idleDriver = noDriver + `
	int cuLaunchKernelEx() { return 0; }
	int cuStreamBeginCapture_v2() { return 0; }
	int cuStreamEndCapture(void *stream, void **graph) { *graph = 0; return 0; }
	int cuGraphInstantiateWithFlags() { return 0; }
	int cuGraphExecDestroy() { return 0; }
`

// queuer makes the queues of decode steps of a Phi-3-mini, and gives them to a driver that does nothing.
type queuer struct {
	*Backend
	step, now                  model.Step // of all sequences; the current one
	x, qkv, attn, gated, heads model.Matrix
	weights                    []model.Weight
	launches                   int // of the last step
}

func newQueuer(t testing.TB, sequences int) *queuer {
	useDriver(t, compileDriver(t, idleDriver))
	require.NoError(t, loadDriver())
	const layers, hidden, heads, headDim, blocks = 32, 3072, 32, 96, 32
	config := &model.Config{Layers: layers, HiddenSize: hidden, KVHeads: heads}
	plan := &model.Plan{Config: config, Sequences: sequences, Context: blocks * kvcache.BlockTokens}
	q := &queuer{Backend: &Backend{
		device: &device{multiprocessors: 132, overlap: true},
		kernels: &kernelSet{
			linearKernels: &linearKernels{maxShared: 227 << 10, batchShapes: newBatchShapes(227 << 10)},
			attention: &attentionKernels{
				attentionShape: attentionShape{
					heads: heads, kvHeads: heads, headDim: headDim, ropeHalf: headDim / 2,
				},
			},
		},
		config: config, stepLimits: limitsOf(plan, plan.Blocks()),
		kvBlockElems: 2 * layers * heads * kvcache.BlockTokens * headDim,
		graphs:       graphs{most: graphsOf(plan)},
	}}
	for i := range q.ahead.turns {
		t := &q.ahead.turns[i]
		t.stage = stage{host: &hostMemory{make([]byte, 1<<20)}, device: devicePtr(i+1) << 32}
		t.ids = t.stage.device + 1<<24
	}
	q.turn = &q.ahead.turns[0]
	for i, cols := range []int{hidden, 3 * hidden, hidden, 8192, 32064} {
		*[]*model.Matrix{&q.x, &q.qkv, &q.attn, &q.gated, &q.heads}[i] = model.Matrix{
			Cols: cols, Data: &matrix{ptr: devicePtr(i+1) << 40},
		}
	}
	for i := range 8 * (layers + 1) {
		q.weights = append(q.weights, model.Weight{Data: &parameter{ptr: devicePtr(i+1) << 44}})
	}
	table := make([]int32, blocks)
	for i := range max(1, sequences) {
		q.step.Seqs = append(q.step.Seqs, model.Span{Start: i, Len: 1, Position: 2000, Blocks: table})
	}
	q.step.IDs = make([]int32, len(q.step.Seqs))
	q.step.Cos = make([]float32, len(q.step.Seqs)*headDim/2)
	q.step.Sin = q.step.Cos
	return q
}

// choice is how a step's ids are chosen.
type choice int

const (
	byHost   choice = iota // from the logits
	byDevice               // in a step whose own ids the host knows
	inTurn                 // by the device, in a step that begins with the ids of the step before it
)

// decode makes and sends a step of one token of each of n sequences.
func (q *queuer) decode(n int, how choice) error {
	rope := len(q.step.Cos) / len(q.step.IDs)
	q.now = model.Step{
		IDs: q.step.IDs[:n], Seqs: q.step.Seqs[:n], Chosen: how == inTurn,
		Cos: q.step.Cos[:n*rope], Sin: q.step.Sin[:n*rope],
	}
	q.ahead.older = nil
	if how != inTurn {
		q.chosen = 0 // as Chosen does
	}
	q.Begin(&q.now)
	q.Embed(q.x.First(n), q.weights[0])
	for i := range q.config.Layers {
		w := q.weights[8*(i+1):]
		q.NormLinear(q.qkv.First(n), q.x.First(n), w[0], w[1])
		q.Attend(q.attn.First(n), q.qkv.First(n), i)
		q.LinearAdd(q.x.First(n), q.attn.First(n), w[2])
		q.NormGateUp(q.gated.First(n), q.x.First(n), w[3], w[4])
		q.LinearAdd(q.x.First(n), q.gated.First(n), w[5])
	}
	q.NormLinear(q.heads.First(n), q.x.First(n), q.weights[1], q.weights[2])
	if how != byHost {
		q.StartArgmax(q.heads.First(n))
	}
	if q.stage.err != nil {
		return q.stage.err
	}
	q.launches = len(q.queue)
	return q.graphs.run(q.device, cu.NoStream, q.queue)
}

// TestGraphsByBatchSize: decode of each number of sequences gets graphs, and keeps them while the number
// changes and prompts come in between. None of that makes garbage.
func TestGraphsByBatchSize(t *testing.T) {
	const most = 64
	q := newQueuer(t, most)
	decode := func(n int, how choice) {
		if err := q.decode(n, how); err != nil {
			t.Fatal(n, err)
		}
	}
	graphs := func() int { return len(q.device.owned) }
	for n := 1; n <= most; n++ {
		before := graphs()
		decode(n, byDevice)
		for range 4 {
			decode(n, inTurn)
		}
		require.Equal(t, before+2, graphs(), "%d sequences: a graph for each turn", n)
	}
	for n := 1; n <= most; n++ {
		before := graphs()
		decode(n, byHost)
		decode(n, byHost)
		require.Equal(t, before+1, graphs(), "%d sequences, chosen by the host", n)
	}
	require.Equal(t, graphsOf(&model.Plan{Sequences: most}), graphs(), "no graph was freed")
	for n := 1; n <= 100; n++ {
		require.NoError(t, q.graphs.run(q.device, cu.NoStream, make(queue, n)))
	}
	require.Equal(t, graphsOf(&model.Plan{Sequences: most}), graphs())

	steps := func(n int) {
		decode(n, byDevice)
		decode(n, inTurn)
		decode(n, inTurn)
		decode(n, byHost)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 2 {
		for n := 20; n < 40; n++ {
			steps(n)
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { steps(20 + random.IntN(20)) }))
}
