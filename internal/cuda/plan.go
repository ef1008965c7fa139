package cuda

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// These repeat kernels/args.h, for programs that are built without CUDA. kernels.go checks that they agree.
const (
	decodeTokens = 8  // most tokens of a decode step
	batchTokens  = 64 // most tokens of matrix products that run as batch; longer ones are prefill
	// prefillRows is how many queries a block of attention's prefill takes, counting all heads that share
	// a key head.
	prefillRows = 128
	spanBytes   = 16
	workBytes   = 8
)

// decodeSharing bounds the chunks that attention decodes in a step: so many for each block of the KV cache.
// There are more chunks than blocks if sequences share blocks. Sequences above the bound run as prefill.
const decodeSharing = 4

// headDims are the widths of heads that attention's kernels are made for.
var headDims = []int{64, 80, 96, 128, 256}

// reserve is left to the driver, in bytes. It loads kernels at their first launch and keeps graphs in the
// device's memory. More graphs need graphBytes.
const reserve = 64 << 20

// PlanMemory is the memory that a plan takes on a GPU. The backend checks it before it allocates. It uses
// only the tensors' formats and shapes, and needs no GPU.
func PlanMemory(p *model.Plan, o Options) model.Memory {
	return planMemory(p, o.Float32, p.Blocks()).Memory
}

// Fit lowers the plan's context to what fits in free bytes of a GPU's memory, as the backend does. The
// error is a [TooLittleError].
func Fit(p *model.Plan, o Options, free int64) error {
	_, err := fit(p, o.Float32, free)
	return err
}

func fit(p *model.Plan, float32 bool, free int64) (memoryPlan, error) {
	need := func(blocks int) model.Memory { return planMemory(p, float32, blocks).Memory }
	p.Fit(free, need)
	blocks := p.Blocks()
	plan := planMemory(p, float32, blocks)
	if plan.Total() <= free {
		return plan, nil
	}
	fits := blocks - sort.Search(blocks, func(fewer int) bool { return need(blocks-fewer).Total() <= free })
	return plan, &TooLittleError{plan.Memory, plan.context, free, fits * kvcache.BlockTokens}
}

// TooLittleError says that a model does not fit in the free memory of a GPU.
type TooLittleError struct {
	model.Memory       // that the model takes
	Context      int   // tokens of KV cache in it
	Free         int64 // bytes
	Fits         int   // the longest context that fits, in tokens; 0 if none does
}

func (e *TooLittleError) Error() string {
	return fmt.Sprintf("too little memory: the weights (%s), a KV cache of %d tokens (%s) and the "+
		"workspace (%s) make %s, but %s are free", needed(e.Weights), e.Context, needed(e.KV),
		needed(e.Workspace), needed(e.Total()), available(e.Free))
}

// needed rounds bytes up and available rounds them down, so that the numbers show that the memory is not
// enough.
func needed(n int64) string    { return amount(n, math.Ceil) }
func available(n int64) string { return amount(n, math.Floor) }

func amount(n int64, round func(float64) float64) string {
	unit, name := 1e9, "GB"
	if n < 1e9 {
		unit, name = 1e6, "MB"
	}
	return fmt.Sprintf("%.2f %s", round(100*float64(n)/unit)/100, name)
}

// Supports returns an [UnsupportedError] if the kernels cannot run a model of this shape. The reference
// kernels, which Float32 uses, run all models.
func Supports(c *model.Config, o Options) error {
	switch {
	case o.Float32:
	case !slices.Contains(headDims, c.HeadDim):
		last := len(headDims) - 1
		dims := strings.ReplaceAll(strings.Trim(fmt.Sprint(headDims[:last]), "[]"), " ", ", ")
		return &UnsupportedError{
			fmt.Sprintf("a head dimension of %s or %d", dims, headDims[last]), fmt.Sprint("is ", c.HeadDim),
		}
	case c.HiddenSize%8 != 0 || c.IntermediateSize%8 != 0:
		return &UnsupportedError{
			"a hidden_size and intermediate_size divisible by 8",
			fmt.Sprintf("are %d and %d", c.HiddenSize, c.IntermediateSize),
		}
	case c.Heads/c.KVHeads > prefillRows:
		return &UnsupportedError{
			fmt.Sprintf("up to %d query heads for each key head", prefillRows),
			fmt.Sprint("are ", c.Heads/c.KVHeads),
		}
	}
	return nil
}

// UnsupportedError says that the fast kernels cannot run a model. The CPU and Float32's kernels can.
type UnsupportedError struct {
	Supported string // what the kernels are made for: "a head dimension of 96 or 128"
	Model     string // what this model has instead, with a verb: "is 72"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("the CUDA kernels are made for %s, and this model's %s", e.Supported, e.Model)
}

// memoryPlan is the memory that a model needs on the device, in bytes rounded up to what allocations
// take, and the exact sizes of the allocations that Plan makes.
type memoryPlan struct {
	model.Memory
	stepLimits
	context                                  int // tokens that the KV cache holds
	kvBytes, partial, arrived, normed, stage int
	ids                                      int // of the tokens that a step chooses
}

// stepLimits are what a step has room for.
type stepLimits struct {
	seqBlocks       int // entries of a sequence's block table
	tableBlocks     int // entries of all block tables; sequences may share blocks
	mostDecodeWorks int // work items of attention that decodes: chunks of all sequences
	mostDecodeSeqs  int // the sequences below this number may decode
}

// limitsOf is the limits of a plan with kvBlocks blocks of KV cache.
func limitsOf(plan *model.Plan, kvBlocks int) stepLimits {
	seqBlocks := min(kvcache.BlocksFor(plan.Context), kvBlocks)
	table := max(1, plan.Sequences) * seqBlocks
	return stepLimits{
		seqBlocks: seqBlocks, tableBlocks: table,
		mostDecodeWorks: min(table, decodeSharing*kvBlocks),
		mostDecodeSeqs:  max(batchTokens, plan.Sequences),
	}
}

// planMemory is the plan's memory with kvBlocks blocks of KV cache.
func planMemory(plan *model.Plan, float32 bool, kvBlocks int) memoryPlan {
	c, maxTokens := plan.Config, min(plan.MaxTokens, kvBlocks*kvcache.BlockTokens)
	input := 2 // bytes of an input of matrix products, and of a key or value
	if float32 {
		input = 4
	}
	shape := shapeOf(c)
	limits := limitsOf(plan, kvBlocks)
	p := memoryPlan{
		stepLimits: limits,
		context:    kvBlocks * kvcache.BlockTokens,
		kvBytes:    kvBlocks * kvBlockElems(c) * input,
		partial:    shape.partialBytes(limits.mostDecodeWorks),
		arrived:    limits.mostDecodeSeqs * c.KVHeads * 4,
		normed:     maxTokens * c.HiddenSize * input,
		stage:      stageBytes(c, maxTokens, limits),
		ids:        4 * maxTokens,
	}
	for _, t := range plan.Tensors {
		p.Weights += taken(weightBytes(t, float32))
	}
	p.KV = taken(p.kvBytes)
	p.Workspace = reserve + graphBytes(plan)
	for _, bytes := range []int{p.partial, p.arrived, p.normed, p.stage, p.stage, p.ids, p.ids} { // two turns
		p.Workspace += taken(bytes)
	}
	lowered := *plan
	lowered.MaxTokens = maxTokens
	for _, m := range lowered.Matrices() {
		p.Workspace += taken(4 * m.Rows * m.Cols)
	}
	return p
}

// taken is how much of the device's memory an allocation takes. Memory comes in pages of 2 MiB, which
// only small allocations share.
func taken(bytes int) int64 {
	const page, piece = 2 << 20, 512
	if bytes < page/2 {
		return int64(ceilDiv(bytes, piece) * piece)
	}
	return int64(ceilDiv(bytes, page) * page)
}

// weightBytes is the size of a tensor on the device. Norms are float32. Quantized matrices have a layout of
// their own. The numbers of others have 16 bits, except float32 ones with the option Float32.
func weightBytes(t *weight.Tensor, float32 bool) int {
	if t.Format.Quantized() {
		cols := t.Shape[len(t.Shape)-1]
		return quantBytes(t.Format, t.Elems()/cols, cols)
	}
	if len(t.Shape) == 1 || t.Format == weight.F32 && float32 {
		return 4 * t.Elems()
	}
	return 2 * t.Elems()
}

// kvBlockElems is the number of elements in a KV block: keys and values of all layers.
func kvBlockElems(c *model.Config) int {
	return c.Layers * 2 * c.KVHeads * kvcache.BlockTokens * c.HeadDim
}

// stageBytes is enough for one step of a model: ids and rows, spans, block tables, work items of decode and
// of prefill, cosines and sines, and the results of argmax.
func stageBytes(c *model.Config, maxTokens int, limits stepLimits) int {
	perToken := 4 + 4 + spanBytes + workBytes + 4*c.RoPE.Dim
	return maxTokens*perToken + limits.tableBlocks*4 + limits.mostDecodeWorks*workBytes + 4096
}

// Steady decode of a batch has three queues of launches, each with a graph: that of the first step, and one
// for each of the two turns of the later steps (ahead.go). In a server the number of sequences changes, and
// comes back. So there is room for the graphs of every number up to graphSequences, the longest batches of
// decode.
const (
	graphsOfBatch  = 3
	graphSequences = batchTokens
	leastGraphs    = 32 // a plan for one sequence may serve batches too
	// launchBytes is the memory of the device that a driver takes for each launch in a graph. docs/cuda.md
	// names the source.
	launchBytes = 64 << 10
)

// graphBytes is the memory that the driver takes for the graphs of batches of several sequences. That for the
// graphs of one sequence is in reserve.
func graphBytes(plan *model.Plan) int64 {
	launches := 7*plan.Config.Layers + 5 // with more than decodeTokens tokens, norms are kernels of their own
	graphs := graphsOfBatch * max(0, min(plan.Sequences, graphSequences)-1)
	return int64(graphs) * int64(launches) * launchBytes
}

// attentionShape is the shape of a model's attention.
type attentionShape struct {
	heads, kvHeads, headDim int
	ropeHalf                int // pairs of a head's elements that rotate
	window                  int // positions that a query sees, itself included; 0: all
}

func shapeOf(c *model.Config) attentionShape {
	return attentionShape{
		heads: c.Heads, kvHeads: c.KVHeads, headDim: c.HeadDim, ropeHalf: c.RoPE.Dim / 2,
		window: c.SlidingWindow,
	}
}

// partialBytes is the memory that decode needs for the results of so many work items, which are chunks,
// before they are joined.
func (s *attentionShape) partialBytes(works int) int {
	return works * decodeTokens * s.heads * (s.headDim + 2) * 4
}

func ceilDiv(a, b int) int {
	return (a + b - 1) / b
}
