package model

import (
	"sort"

	"phi3/internal/kvcache"
	"phi3/internal/weight"
)

// leastContext is the shortest context, in tokens, that a backend may choose for a model with a longer
// one. It holds a page of prompt and an answer. A device without the memory for it is too small for the
// model.
const leastContext = 2048

// Plan lists what a backend reserves memory for.
type Plan struct {
	Buffers
	Config    *Config
	Tensors   []*weight.Tensor // the arguments of Upload, in order
	MaxTokens int              // the most new tokens of a step
	Sequences int              // that run at once; 0: 1
	Context   int              // the longest sequence, in tokens
	// A backend without memory for Context lowers it with Fit, but not below Least. The two are equal if
	// the user has asked for a length.
	Least int
	// FitIn is the free memory, in bytes, that Context was lowered to fit in. It is 0 if Context was not
	// lowered.
	FitIn int64
	// Short reports that the free memory is too little even for Context.
	Short  bool
	blocks int // see Limit; 0: those that all sequences need
}

// NewPlan makes the plan for a model with the given options.
func NewPlan(c *Config, tensors []*weight.Tensor, o Options) *Plan {
	p := &Plan{
		Config: c, Tensors: tensors, MaxTokens: o.MaxTokens, Sequences: o.Sequences,
		Context: o.Context, Least: o.Context,
	}
	if p.Context <= 0 {
		p.Context = c.MaxPositions
		p.Least = min(p.Context, leastContext)
	}
	if p.MaxTokens <= 0 {
		p.MaxTokens = defaultMaxTokens
	}
	p.MaxTokens = min(p.MaxTokens, p.Context)
	return p
}

// Buffers are the matrices of a step. They are made once, for the longest step.
type Buffers struct {
	X        Matrix // [MaxTokens, hidden]: the residual stream
	QKV      Matrix // [MaxTokens, QKVRows]: queries, keys and values
	Attended Matrix // [MaxTokens, heads·headDim]: what attention returns
	Gated    Matrix // [MaxTokens, intermediate]: the inner layer of the MLP
	Selected Matrix // [LogitRows(), hidden]: rows of X whose logits are needed
	Normed   Matrix // [LogitRows(), hidden]: Selected after the final norm
	Logits   Matrix // [LogitRows(), HeadRows]
}

// Matrices sets the shapes of the buffers and returns the buffers. The shapes depend on MaxTokens, so call it
// after [Plan.Fit], which may lower MaxTokens.
func (p *Plan) Matrices() []*Matrix {
	c, b := p.Config, &p.Buffers
	b.X.Rows, b.X.Cols = p.MaxTokens, c.HiddenSize
	b.QKV.Rows, b.QKV.Cols = p.MaxTokens, c.QKVRows()
	b.Attended.Rows, b.Attended.Cols = p.MaxTokens, c.Heads*c.HeadDim
	b.Gated.Rows, b.Gated.Cols = p.MaxTokens, c.IntermediateSize
	b.Selected.Rows, b.Selected.Cols = p.LogitRows(), c.HiddenSize
	b.Normed.Rows, b.Normed.Cols = p.LogitRows(), c.HiddenSize
	b.Logits.Rows, b.Logits.Cols = p.LogitRows(), c.HeadRows()
	return []*Matrix{&b.X, &b.QKV, &b.Attended, &b.Gated, &b.Selected, &b.Normed, &b.Logits}
}

// Blocks returns the number of blocks of KV cache that all sequences share. They hold the context of each
// sequence, or fewer if memory limits them. They hold at least one context.
func (p *Plan) Blocks() int {
	if p.blocks > 0 {
		return p.blocks
	}
	return p.TableBlocks()
}

// TableBlocks returns the most entries that the block tables of a step have together. That is more than there
// are blocks if sequences share blocks.
func (p *Plan) TableBlocks() int { return max(1, p.Sequences) * kvcache.BlocksFor(p.Context) }

// LogitRows returns the number of rows of logits that are computed at a time: one for each sequence, so that
// a step of all of them reads the LM head once.
func (p *Plan) LogitRows() int { return max(leastLogitRows, min(p.Sequences, mostLogitRows)) }

// Limit sets the number of blocks. It lowers the context if they do not hold it.
func (p *Plan) Limit(blocks int) {
	p.blocks = blocks
	if blocks < kvcache.BlocksFor(p.Context) {
		p.Context = blocks * kvcache.BlockTokens
		p.MaxTokens = min(p.MaxTokens, p.Context)
	}
}

// Fit lowers the number of blocks until the model fits in the free bytes with a margin left. Then there may
// be too few blocks for every sequence to have the whole context at once. If there are too few for one, Fit
// lowers the context, but not below Least. need returns the memory for a number of blocks of KV cache; it
// must not return less for more blocks.
func (p *Plan) Fit(free int64, need func(blocks int) Memory) {
	most, least := p.Blocks(), kvcache.BlocksFor(p.Least)
	room := free - margin(free)
	// given is the number of blocks to give up.
	given := sort.Search(most-least, func(n int) bool { return need(most-n).Total() <= room })
	context := p.Context
	if p.Limit(most - given); p.Context < context {
		p.FitIn = free
	}
	p.Short = need(most-given).Total() > free
}

// margin returns how much of the free memory Fit leaves free. Other programs may need more memory while this
// one runs: a browser, for example, draws with the same GPU. The margin is a sixteenth of the free memory and
// at most 512 MiB, which is 1,365 tokens of a Phi-3-mini.
func margin(free int64) int64 { return min(free/16, 512<<20) }

// Memory is the memory that a model takes on a device, in bytes.
type Memory struct {
	Weights   int64
	KV        int64 // keys and values of the whole context
	Workspace int64 // the buffers, and what else the backend needs
}

// Total returns the sum.
func (m Memory) Total() int64 { return m.Weights + m.KV + m.Workspace }
