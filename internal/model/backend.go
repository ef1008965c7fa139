package model

import "phi3/internal/weight"

// Backend is a device that can run the decoder stack. Its verbs are the stages of the architecture, each as
// coarse as a fast kernel wants it, so that [Model.Forward] reads like the diagram and a backend is free to
// fuse.
//
// Verbs may return before the device is done, and report nothing: the first error of any of them comes out of
// the next Read or Argmax. That includes a weight whose file can no longer be read: see [weight.Guard]. A backend serves one goroutine at a time.
//
// Every element of every result is one fixed sequence of floating-point operations, independent of the other
// tokens of the call, of how many there are, and of threads. That is what makes logits a function of the
// token ids alone, bit for bit.
type Backend interface {
	// Name describes the device for people, e.g. "CPU, 2 threads".
	Name() string

	// Plan is the first call. It reserves memory for what the plan says, with a shorter context if the plan
	// allows that and memory is short, or says what is missing. It gives every matrix of [Plan.Matrices] its
	// memory.
	Plan(p *Plan) error
	// Upload takes a weight over to the device in its own type. The tensor's bytes stay valid until Close.
	Upload(t *weight.Tensor) (Weight, error)
	// Read waits for all verbs so far and copies x to dst as float32, row after row. dst holds x.Rows*x.Cols
	// values.
	Read(dst []float32, x Matrix) error
	// Argmax waits likewise, and sets next[i] to the lowest id among the greatest logits of row i, or to ^id,
	// which is negative, of the row's first logit that is NaN or infinite. next holds logits.Rows ids.
	Argmax(next []int32, logits Matrix) error
	// Close frees everything on the device.
	Close() error

	// Begin starts a step. The verbs that follow belong to it, up to the next Begin; what an earlier step has
	// left undone is dropped. The step does not change until the next Begin.
	Begin(step *Step)
	// Embed sets row i of x to the row of the table that the step's token i names.
	Embed(x Matrix, table Weight)
	// Norm sets y = RMSNorm(x)·norm.
	Norm(y, x Matrix, norm Weight)
	// NormLinear sets y = (RMSNorm(x)·norm)·wᵀ. It serves the QKV projection and the LM head.
	NormLinear(y, x Matrix, norm, w Weight)
	// Attend rotates q and k of qkv by their positions, appends k and v to the layer's cache, and sets a to
	// the causal attention of every query over the cache of its own sequence.
	Attend(a, qkv Matrix, layer int)
	// LinearAdd sets x = x + a·wᵀ. It serves the attention's output projection and the MLP's down projection.
	LinearAdd(x, a Matrix, w Weight)
	// NormGateUp sets h = SiLU(g)·u where g and u are the halves of (RMSNorm(x)·norm)·wᵀ, gate first.
	NormGateUp(h, x Matrix, norm, w Weight)
	// Select copies the given rows of x to y, in order.
	Select(y, x Matrix, rows []int32)
}

// Weight is a parameter tensor on a device. Only the backend that made it looks at Data.
type Weight struct {
	Shape  []int         // [out, in], or [width] for a norm
	Format weight.Format // as stored in the checkpoint
	Data   any
}

// Matrix is an activation on a device, rows of tokens. Only the backend that made it looks at Data.
type Matrix struct {
	Rows, Cols int
	Data       any
}

// First is the first rows of m.
func (m Matrix) First(rows int) Matrix {
	m.Rows = rows
	return m
}

// Step is one call of [Model.Forward] laid out for a backend: the new tokens of all sequences, one sequence
// after another.
type Step struct {
	IDs  []int32 // [tokens]
	Seqs []Span
	// Cosines and sines of every token's position, with the attention factor already multiplied in.
	Cos, Sin []float32 // [tokens, RoPE.Dim/2]
}

// Span is one sequence's part of a [Step].
type Span struct {
	Start    int     // its first row in the step
	Len      int     // its number of rows, ≥ 1
	Position int     // position of its first row = number of tokens in the cache before this step
	Blocks   []int32 // KV block table, with room for Position+Len tokens
}
