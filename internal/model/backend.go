package model

import "phi3/internal/weight"

// Backend is a device that runs the decoder stack. Its methods from Embed to Select are called verbs. Each
// verb combines the operations that one fast kernel can do together, so that [Model.Forward] has one call for
// each stage of the architecture.
//
// A verb may return before the device has finished, and it reports no error. The next Read or Argmax returns
// the first error of the verbs before it, also if the file of a weight can no longer be read (see
// [weight.Guard]). A backend serves one goroutine at a time.
//
// Every element of every result is computed by one fixed sequence of floating-point operations, whatever
// the other tokens of the call, their number, and the number of threads. So the logits depend on the
// token ids alone, bit for bit.
type Backend interface {
	// Name describes the device for people, e.g. "CPU, 2 threads".
	Name() string

	// Plan is the first call. It reserves memory for the plan, and allocates every matrix of [Plan.Matrices].
	// If there is too little memory, it shortens the context if the plan allows that, and otherwise returns
	// an error that says how much is missing.
	Plan(p *Plan) error
	// Upload copies a weight to the device, or uses it in place, in its own format. The tensor's Data
	// stays valid until Close.
	Upload(t *weight.Tensor) (Weight, error)
	// Read waits for all verbs so far and copies x to dst as float32, row after row. dst holds
	// x.Rows*x.Cols values.
	Read(dst []float32, x Matrix) error
	// Argmax waits for all verbs so far and sets next[i] to the lowest id among the greatest logits of row i.
	// If a logit of the row is NaN or infinite, next[i] is ^id, a negative number, where id is that of the
	// first such logit. next holds logits.Rows ids.
	Argmax(next []int32, logits Matrix) error
	// Close frees everything on the device.
	Close() error

	// Begin starts a step. The verbs up to the next Begin belong to it, and step does not change until
	// then. Verbs of an earlier step that no Read or Argmax has waited for are dropped.
	Begin(step *Step)
	// Embed sets row i of x to the row of the table for token i of the step.
	Embed(x Matrix, table Weight)
	// Norm sets y = RMSNorm(x)·norm.
	Norm(y, x Matrix, norm Weight)
	// NormLinear sets y = (RMSNorm(x)·norm)·wᵀ. It serves the QKV projection and the LM head.
	NormLinear(y, x Matrix, norm, w Weight)
	// Attend rotates q and k of qkv by their positions and appends k and v to the layer's cache. It sets
	// a to the causal attention of every query over the cache of its own sequence.
	Attend(a, qkv Matrix, layer int)
	// LinearAdd sets x = x + a·wᵀ. It serves the attention's output projection and the MLP's down projection.
	LinearAdd(x, a Matrix, w Weight)
	// NormGateUp sets h = SiLU(g)·u where g and u are the halves of (RMSNorm(x)·norm)·wᵀ, gate first.
	NormGateUp(h, x Matrix, norm, w Weight)
	// Select copies the given rows of x to y, in order.
	Select(y, x Matrix, rows []int32)
}

// Weight is a weight tensor on a device. Only the backend that made it uses Data.
type Weight struct {
	Shape  []int         // [out, in], or [width] for a norm
	Format weight.Format // as stored in the checkpoint
	Data   any
}

// Matrix is an activation on a device, rows of tokens. Only the backend that made it uses Data.
type Matrix struct {
	Rows, Cols int
	Data       any
}

// First returns the first rows of m.
func (m Matrix) First(rows int) Matrix {
	m.Rows = rows
	return m
}

// Step is the new tokens of one call of [Model.Forward], laid out for a backend one sequence after
// another.
type Step struct {
	IDs  []int32 // [tokens]
	Seqs []Span
	// Chosen says that the tokens are those that the last step before this one has chosen by
	// [Ahead.StartArgmax], one for each sequence. The host may not know them yet: IDs has only their number.
	Chosen bool
	// Cos and Sin are the cosines and sines of every token's position, multiplied by the attention
	// factor.
	Cos, Sin []float32 // [tokens, RoPE.Dim/2]
}

// Span is one sequence's part of a [Step].
type Span struct {
	Start    int     // its first row in the step
	Len      int     // its number of rows, ≥ 1
	Position int     // position of its first row = number of tokens in the cache before this step
	Blocks   []int32 // KV block table, with room for Position+Len tokens
}
