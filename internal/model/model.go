package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"phi3/internal/kvcache"
)

// Model is a checkpoint on a device, ready to run. It serves one goroutine at a time.
type Model struct {
	Config  Config
	Unused  []string // tensors of the checkpoint that the architecture has no place for
	Context int      // longest sequence there is room for, in tokens
	// FitIn is the bytes of free memory that Context was made to fit in, where it is less than the model was
	// made for and nobody asked for it; else 0. Short is whether the free memory is too little even so.
	FitIn int64
	Short bool

	backend     Backend
	weights     *Weights
	buffers     *Buffers
	checkpoint  *Checkpoint
	pool        *kvcache.Pool
	short, long *ropeTable
	maxTokens   int
	step        Step
	rows        []int32 // scratch of wantedRows
}

// LogitRows bounds the rows of logits computed at a time: a vocabulary of 200,064 by 512 tokens would be 400
// MB.
const LogitRows = 16

// Options are the sizes that memory depends on, and who watches the loading.
type Options struct {
	Context int // longest sequence; 0: max_position_embeddings, or as much of it as fits in memory
	// WideWindow lets a query see one position more than sliding_window, as transformers 4.41 and the models'
	// first code did (spec 3.4).
	WideWindow bool
	// most new tokens in one step, as far as the context holds them; 0: a default that suits a plain loop on
	// a CPU
	MaxTokens int
	// Progress, if set, is told after every tensor how many bytes of tensors the backend has, and of how
	// many.
	Progress func(done, total int64)
}

// defaultMaxTokens is a compromise: weights are read once a step, so more tokens share the cost, but Ctrl-C
// waits for a layer to end, and on a CPU a layer of 64 tokens takes about as long as one token of the whole
// model.
const defaultMaxTokens = 64

// Load opens the checkpoint in fsys and puts its weights on the backend, which the model owns from then on,
// also on error. It stops between two tensors when ctx is done.
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
	if err := upload(ctx, backend, table, o.Progress); err != nil {
		return nil, err
	}
	if config.TiedEmbeddings {
		m.weights.Head = m.weights.EmbedTokens
	}
	m.short = newRopeTable(&config.RoPE, config.RoPE.ShortFactor)
	m.long = m.short
	if config.Crossing() > 0 {
		m.long = newRopeTable(&config.RoPE, config.RoPE.LongFactor)
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
	Text            string // what the text is, such as "prompt"
	Tokens, Context int
	More            bool // than Tokens; the rest was not looked at
}

func (e *TooLongError) Error() string {
	if e.More {
		return fmt.Sprintf("the %s has more than %d tokens, the context holds %d", e.Text, e.Tokens,
			e.Context)
	}
	return fmt.Sprintf("the %s has %d tokens, the context holds %d", e.Text, e.Tokens, e.Context)
}

// Device describes the backend for people.
func (m *Model) Device() string { return m.backend.Name() }

// WeightBytes is the size of the checkpoint's tensors.
func (m *Model) WeightBytes() int64 { return m.checkpoint.DataBytes() }

// MaxTokens is the largest number of new tokens, over all sequences, that one call of Forward takes.
func (m *Model) MaxTokens() int { return m.maxTokens }

// NewCache makes an empty KV cache for one sequence.
func (m *Model) NewCache() *kvcache.Cache { return kvcache.New(m.pool, m.Config.Crossing()) }

// Sequence is one text in a call of [Model.Forward]: its new tokens, and the cache that holds all tokens
// before them. The cache must have been prepared ([kvcache.Cache.Prepare]) for the length the sequence is
// about to reach, which for a prompt fed in several chunks is its whole length: long RoPE depends on it.
type Sequence struct {
	IDs   []int32
	Cache *kvcache.Cache
}

// Output says what to bring back from a forward pass, and receives it. Its slices are reused from call to
// call.
type Output struct {
	AllLogits bool // logits of every new token of every sequence; otherwise of the last one of each
	AllHidden bool // the last hidden state of every new token; otherwise none
	Greedy    bool // of an LM head's logits only the argmax, which the device finds: Next instead of Logits
	// [sequences or tokens, HeadRows]: the vocabulary's, or the labels' of a classification head
	Logits []float32
	// [sequences or tokens] ids, or ^id of a logit that is NaN or infinite, as [Backend] Argmax says
	Next   []int32
	Hidden []float32 // [tokens, hidden] after the final norm, Hugging Face's last_hidden_state
}

// Forward runs the new tokens of every sequence through the decoder stack and appends them to their caches.
// This is the architecture of Phi-3 (spec section 3); what each stage computes is in [Backend].
//
// out may be nil where only the cache matters, as for all but the last chunk of a prompt.
// Forward stops between two layers when ctx is done; the caches then are as they were.
func (m *Model) Forward(ctx context.Context, batch []Sequence, out *Output) error {
	if err := m.layOut(batch); err != nil {
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
		b.Attend(attn, qkv, i)                                     // softmax(q·kᵀ)·v, with RoPE and the KV cache
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

// DecodeBytes is how much memory one token's pass has to read with the given number of positions cached:
// every weight once, of the embedding table only the token's row, and the keys and values that the token
// sees, of elemBytes each.
func (m *Model) DecodeBytes(cached, elemBytes int) int64 {
	c := &m.Config
	n := m.WeightBytes()
	if table := m.weights.EmbedTokens; !c.TiedEmbeddings {
		size := int64(table.Shape[0]) * int64(table.Shape[1]) * int64(table.Format.Bits()) / 8
		n -= size - size/int64(c.VocabSize)
	}
	if c.SlidingWindow > 0 {
		cached = min(cached, c.SlidingWindow)
	}
	return n + int64(cached)*c.KVBytesPerToken(elemBytes)
}

// PrefillFlops is the arithmetic of a prompt of so many tokens: a multiplication and an addition for every
// weight of a matrix and token, of the head for the last token only, and for every key and value that a query
// sees.
func (m *Model) PrefillFlops(tokens int) float64 {
	c := &m.Config
	attention := c.Heads * c.HeadDim
	weights := c.Layers * c.HiddenSize * (c.QKVRows() + attention + 3*c.IntermediateSize)
	seen := 0 // keys, by all queries
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
