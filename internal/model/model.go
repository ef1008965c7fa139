package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"phi3/internal/kvcache"
	"phi3/internal/quantize"
	"phi3/internal/weight"
)

// Model is a checkpoint on a device, ready to run. It serves one goroutine at a time.
type Model struct {
	Config  Config
	Unused  []string // tensors of the checkpoint that the architecture does not use
	Context int      // the longest sequence that there is room for, in tokens
	// FitIn is the free memory, in bytes, if Context was lowered to fit in it; otherwise 0. Short reports
	// that the free memory is too little even for Context.
	FitIn int64
	Short bool

	backend    Backend
	weights    *Weights
	buffers    *Buffers
	checkpoint *Checkpoint
	pool       *kvcache.Pool
	shortRope  *ropeTable // of the short factors
	longRope   *ropeTable // of the long factors
	maxTokens  int
	step       Step
	wants      []Want    // of each sequence of the step
	rows       []int32   // scratch of selectRows and wantedRows
	mixed      []int32   // scratch of results
	decoding   *decoding // has a step ahead; nil if none has
}

// These bound [Plan.LogitRows]. The logits of 512 tokens with a vocabulary of 200,064 would take 400 MB.
const (
	leastLogitRows = 16
	mostLogitRows  = 64
)

// Options are what memory depends on, and the observer of the loading.
type Options struct {
	Context int // the longest sequence; 0: max_position_embeddings, or less if memory limits it
	// Sequences is the number of sequences that run at once; 0: 1. The KV cache has room for all of them, or
	// for fewer if memory limits it.
	Sequences int
	// WideWindow lets a query see one position more than sliding_window says, as transformers 4.41 and
	// the first code of the models did (spec 3.4).
	WideWindow bool
	// MaxTokens is the most new tokens of a step. It is lowered to the context. 0 means a default for a
	// loop in plain Go.
	MaxTokens int
	// Weights says in which formats to store the matrices of a checkpoint that is not quantized; nil: as they
	// are in its files.
	Weights *quantize.Recipe
	// Progress, if set, is called after every tensor with the bytes of tensors that the backend has, and
	// the bytes of all.
	Progress func(done, total int64)
}

// defaultMaxTokens is a compromise. A step reads the weights once, so a step with more tokens takes less time
// for each. But Ctrl-C takes effect only at the end of a layer, and on a CPU a layer of 64 tokens takes about
// as long as the whole model for one token.
const defaultMaxTokens = 64

// Load opens the checkpoint in fsys and puts its weights on the backend. The model owns the backend from
// then on, and closes it if Load fails. Load stops between two tensors when ctx is done.
func Load(ctx context.Context, fsys fs.FS, backend Backend, o Options) (_ *Model, err error) {
	m := &Model{backend: backend}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if m.checkpoint, err = Open(fsys); err != nil {
		return nil, err
	}
	if o.Weights != nil {
		if err := m.checkpoint.Quantize(*o.Weights); err != nil {
			return nil, err
		}
	}
	config := m.checkpoint.Config
	if o.WideWindow && config.SlidingWindow > 0 {
		config.SlidingWindow++
	}
	m.Config, m.Unused = *config, m.checkpoint.Unused
	m.weights = m.checkpoint.weights
	table := m.checkpoint.table
	if err := keepOnHost(table); err != nil {
		return nil, err
	}
	plan := NewPlan(config, onDevice(table), o)
	if err := backend.Plan(plan); err != nil {
		return nil, err
	}
	m.Context, m.FitIn, m.Short, m.maxTokens = plan.Context, plan.FitIn, plan.Short, plan.MaxTokens
	m.buffers = &plan.Buffers
	m.pool = kvcache.NewPool(plan.Blocks())
	if err := upload(ctx, backend, m.checkpoint, o.Progress); err != nil {
		return nil, err
	}
	if config.TiedEmbeddings {
		m.weights.Head = m.weights.EmbedTokens
	}
	m.shortRope = newRopeTable(&config.RoPE, config.RoPE.ShortFactor)
	m.longRope = m.shortRope
	if config.Crossing() > 0 {
		m.longRope = newRopeTable(&config.RoPE, config.RoPE.LongFactor)
	}
	return m, nil
}

// Close frees the device's memory and unmaps the checkpoint.
func (m *Model) Close() error {
	err := m.backend.Close()
	if m.checkpoint != nil {
		err = errors.Join(err, m.checkpoint.Close())
	}
	return err
}

// TooLongError says that a text does not fit the context.
type TooLongError struct {
	Text            string // the kind of text, such as "prompt"
	Tokens, Context int
	More            bool // the text has more than Tokens; the rest was not counted
}

func (e *TooLongError) Error() string {
	if e.More {
		return fmt.Sprintf("the %s has more than %d tokens, the context holds %d", e.Text, e.Tokens,
			e.Context)
	}
	return fmt.Sprintf("the %s has %d tokens, the context holds %d", e.Text, e.Tokens, e.Context)
}

// Device returns the name of the backend for people.
func (m *Model) Device() string { return m.backend.Name() }

// Checkpoint returns the files that the model was loaded from. They are open until Close.
func (m *Model) Checkpoint() *Checkpoint { return m.checkpoint }

// WeightTotal returns the size of the weights, and the format that most of them have.
func (m *Model) WeightTotal() weight.Total { return weight.Sum(m.checkpoint.Tensors) }

// MaxTokens returns the largest number of new tokens, over all sequences, that one call of Forward takes.
func (m *Model) MaxTokens() int { return m.maxTokens }

// NewCache makes an empty KV cache for one sequence.
func (m *Model) NewCache() *kvcache.Cache { return kvcache.New(m.pool, m.Config.Crossing()) }

// Pool returns the blocks of KV cache that all sequences share.
func (m *Model) Pool() *kvcache.Pool { return m.pool }

// Sequence is one text in a call of [Model.Forward]: its new tokens, and the cache that holds all tokens
// before them. The cache must be prepared ([kvcache.Cache.Prepare]) for the length that the sequence
// reaches. For a prompt that takes several steps, that is the length of the whole prompt, because long RoPE
// depends on it.
type Sequence struct {
	IDs   []int32
	Cache *kvcache.Cache
	Want  Want
}

// Want says which result of a [Sequence] to compute.
type Want int8

// The results of a sequence. Without an Output, none is computed.
const (
	WantOutput    Want = iota // what [Output] says
	WantNothing               // only its cache matters
	WantNext                  // the greedy choice after its last new token
	WantLogits                // the logits after its last new token
	WantAllLogits             // the logits after each of its new tokens
	wantAllNext               // the greedy choice after each of its new tokens
)

// Output says which results of a forward pass to return, and receives them. Later calls reuse its slices.
type Output struct {
	AllLogits bool // logits of every new token, not only of the last one of each sequence
	AllHidden bool // the last hidden state of every new token
	Greedy    bool // Next instead of Logits, for an LM head: the device finds the greatest logit
	// [rows, HeadRows]: for the tokens of the vocabulary, or for the labels of a classification head. The
	// rows are those of the sequences that want logits, one sequence after another.
	Logits []float32
	// of the sequences that want a greedy choice, one after another: ids, or ^id of a logit that is NaN or
	// infinite; see Argmax of [Backend]
	Next   []int32
	Hidden []float32 // [tokens, hidden] after the final norm, Hugging Face's last_hidden_state

	// For [Model.Decode]: begin leaves Next on the device, and chosen takes the new tokens from there.
	begin, chosen bool
}

// want returns what the sequences with [WantOutput] want.
func (o *Output) want() Want {
	switch {
	case o.Greedy && o.AllLogits:
		return wantAllNext
	case o.Greedy:
		return WantNext
	case o.AllLogits:
		return WantAllLogits
	}
	return WantLogits
}

// Forward runs the new tokens of every sequence through the decoder stack and appends them to their
// caches. This is the architecture of Phi-3 (spec section 3). [Backend] says what each stage computes.
//
// out may be nil if only the cache matters, as for all but the last step of a prompt. Forward stops
// between two layers when ctx is done. The caches are then as before.
func (m *Model) Forward(ctx context.Context, batch []Sequence, out *Output) error {
	if d := m.decoding; d != nil && out != &d.out {
		d.settle()
	}
	if err := m.layOut(batch, out); err != nil {
		return err
	}
	b, w, n := m.backend, m.weights, len(m.step.IDs)
	x, qkv := m.buffers.X.First(n), m.buffers.QKV.First(n)
	attn, h := m.buffers.Attended.First(n), m.buffers.Gated.First(n)

	b.Begin(&m.step)
	b.Embed(x, w.EmbedTokens) // x = table[ids]
	for i := range w.Layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := &w.Layers[i]
		b.NormLinear(qkv, x, l.InputLayernorm, l.QKVProj)          // q, k, v = RMSNorm(x)·Wqkvᵀ
		b.Attend(attn, qkv, i)                                     // softmax(q·kᵀ)·v with RoPE and KV cache
		b.LinearAdd(x, attn, l.OProj)                              // x += attn·Woᵀ
		b.NormGateUp(h, x, l.PostAttentionLayernorm, l.GateUpProj) // h = SiLU(gate)·up
		b.LinearAdd(x, h, l.DownProj)                              // x += h·Wdownᵀ
	}
	if err := m.finish(out); err != nil { // logits = RMSNorm(x)·Wheadᵀ
		return err
	}
	for _, s := range batch {
		s.Cache.Advance(len(s.IDs))
	}
	return nil
}

// DecodeBytes returns the bytes that a pass for one token reads if the given number of positions is
// cached: every weight once, one row of the embedding table, and the keys and values that the token sees.
// A key or value has elemBytes bytes.
func (m *Model) DecodeBytes(cached, elemBytes int) int64 {
	c := &m.Config
	n := m.WeightTotal().Bytes
	if table := m.weights.EmbedTokens; !c.TiedEmbeddings {
		size := int64(table.Format.RowBytes(table.Shape[0] * table.Shape[1]))
		n -= size - size/int64(c.VocabSize)
	}
	if c.SlidingWindow > 0 {
		cached = min(cached, c.SlidingWindow)
	}
	return n + int64(cached)*c.KVBytesPerToken(elemBytes)
}

// PrefillFlops returns the floating-point operations for a prompt: a multiplication and an addition for
// every weight and token, for the head only of the last token, and for every key and value that a query
// sees.
func (m *Model) PrefillFlops(tokens int) float64 {
	c := &m.Config
	attention := c.Heads * c.HeadDim
	weights := c.Layers * c.HiddenSize * (c.QKVRows() + attention + 3*c.IntermediateSize)
	seen := 0 // keys that all queries together see
	for position := range tokens {
		n := position + 1
		if c.SlidingWindow > 0 {
			n = min(n, c.SlidingWindow)
		}
		seen += n
	}
	return 2*float64(weights)*float64(tokens) + 2*float64(c.HiddenSize)*float64(c.HeadRows()) +
		4*float64(seen)*float64(attention*c.Layers)
}
