package cpu

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// Options choose how the backend computes.
type Options struct {
	Threads int  // 0: one for every core the process may use
	Float32 bool // round nothing: matrix inputs and the KV cache stay float32
	// Memory is the number of bytes that a model should fit in if the plan allows a shorter context. 0: it is
	// not known, and the context is the model's.
	Memory int64
}

// Backend implements [model.Backend]. Matrices are float32 in memory. The inputs of matrix products are
// rounded to bfloat16, as on tensor cores, unless Float32 is set.
type Backend struct {
	kernels *kernels
	pool    *pool
	float32 bool
	free    int64 // Options.Memory
	config  *model.Config
	step    *model.Step // of the last Begin
	kv      []*kvBlock  // [blocks], nil until a sequence first uses it
	scratch []*scratch  // [threads]
	normed  []float32   // [maxTokens, hidden]
	packed  []byte      // the input of a product, see linearKernels.pack

	chunkSums []float32 // of attention, see attending.sums

	// The tasks of the pool. They are here because a token must not allocate memory.
	linear    product
	packing   packing
	embedding embedding
	norming   norming
	appending appending
	attending attending
}

// scratch is one worker's memory.
type scratch struct {
	panel     panel     // that the worker computes
	half      halfPanel // of this panel, see laneKernels.multiply
	attention *attentionScratch
	dot       dotArgs

	// For matrix products, as large as the loops of the path need, see scratchSize.
	sums   []float32 // of a panel
	rows   []float32 // [rows of a panel, widest input] widened weight rows
	lanes  []float32 // [sums, lanes] running sums, see laneKernels
	tail   []float32 // widened weights, see addShort
	packed []byte    // weights in the order that the loops read

	unpacked []uint16 // quantized weights as bfloat16, a stretch of k of some rows

	bandSums [24]float32 // the sums of a band of rows and a group of tokens
}

// grow replaces the slice at p by one of length n if it is shorter; see [makeLarge].
func grow(p *[]float32, n int) {
	if len(*p) < n {
		*p = makeLarge[float32](n)
	}
}

// floats returns the same memory as float32.
func floats(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// parameter is the Data of a model.Weight.
type parameter struct {
	bytes   []byte        // little-endian, in the checkpoint's memory
	format  weight.Format // of bytes
	norm    []float32     // the same as float32, for one-dimensional weights
	operand weight.Format // of the weights that the loops of a product read: BF16 if format is quantized
	unpack  unpacker      // from format to operand; nil if they are the same
}

// New returns a backend on the path that $PHI3_CPU names, or on the best path.
func New(o Options) (*Backend, error) {
	k, err := choosePath()
	if err != nil {
		return nil, err
	}
	return &Backend{kernels: k, pool: newPool(o.threads()), float32: o.Float32, free: o.Memory}, nil
}

// threads returns how many threads the backend has.
func (o Options) threads() int {
	if o.Threads > 0 {
		return o.Threads
	}
	threads := runtime.GOMAXPROCS(0)
	if n := cores(); n > 0 {
		threads = min(threads, n)
	}
	return threads
}

// Name implements [model.Backend].
func (b *Backend) Name() string {
	name := fmt.Sprintf("CPU (%s, %d threads)", b.kernels.name, b.pool.threads)
	if b.float32 {
		name += ", float32"
	}
	return name
}

// MaxTokens returns how many new tokens a step should have at most, see [model.Options].
func (b *Backend) MaxTokens() int { return b.kernels.maxTokens }

// Plan implements [model.Backend]. KV blocks are allocated when they are first used, so a long context costs
// nothing until it is filled. Plan never returns an error for a lack of memory: weights that do not fit in
// memory are read from the disk again for every token, which is slow but works.
func (b *Backend) Plan(p *model.Plan) error {
	if b.free > 0 {
		fit(p, Options{Threads: b.pool.threads, Float32: b.float32}, b.kernels, b.free)
	}
	b.config = p.Config
	size := b.kernels.workspace(p)
	b.scratch = make([]*scratch, b.pool.threads)
	for i := range b.scratch {
		b.scratch[i] = newScratch(size.scratch)
		b.scratch[i].attention = newAttentionScratch(b.kernels.vectors, p.Config)
	}
	b.packed = makeLarge[byte](size.packed)
	b.normed = makeLarge[float32](size.normed)
	b.kv = make([]*kvBlock, p.Blocks())
	for _, m := range p.Matrices() {
		m.Data = makeLarge[float32](m.Rows * m.Cols)
	}
	return nil
}

// Upload implements [model.Backend]. It copies only norms.
func (b *Backend) Upload(t *weight.Tensor) (model.Weight, error) {
	w := &parameter{bytes: t.Data, format: t.Format, operand: t.Format}
	if t.Format.Quantized() {
		w.operand, w.unpack = weight.BF16, b.kernels.unpacker(t.Format)
	}
	b.pool.tensors = append(b.pool.tensors, t)
	err := weight.Guard([]*weight.Tensor{t}, func() error {
		if len(t.Shape) == 1 {
			w.norm = t.Float32s()
		}
		return nil
	})
	return model.Weight{Shape: t.Shape, Format: t.Format, Data: w}, err
}

// Read implements [model.Backend].
func (b *Backend) Read(dst []float32, x model.Matrix) error {
	if err := b.pool.takeFault(); err != nil {
		return err
	}
	copy(dst, values(x))
	return nil
}

// Argmax implements [model.Backend].
func (b *Backend) Argmax(next []int32, logits model.Matrix) error {
	if err := b.pool.takeFault(); err != nil {
		return err
	}
	for i := range next {
		next[i] = argmax(row(values(logits), i, logits.Cols))
	}
	return nil
}

// Close implements [model.Backend].
func (b *Backend) Close() error {
	if b.pool == nil {
		return errors.New("the CPU backend is already closed")
	}
	b.pool.stop()
	b.pool, b.kv = nil, nil
	return nil
}

// values returns the memory of a matrix, [rows, cols].
func values(m model.Matrix) []float32 { return m.Data.([]float32)[:m.Rows*m.Cols] }

// row returns row i of a [*, cols] matrix.
func row(m []float32, i, cols int) []float32 { return m[i*cols : (i+1)*cols : (i+1)*cols] }

// asInput rounds values to the type that matrix products read.
func (b *Backend) asInput(x []float32) {
	if !b.float32 {
		b.kernels.roundBF16(x)
	}
}

// Begin implements [model.Backend].
func (b *Backend) Begin(step *model.Step) {
	_ = b.pool.takeFault() // of an abandoned step
	b.step = step
	for _, s := range step.Seqs {
		for i, id := range s.Blocks {
			if b.kv[id] == nil {
				b.kv[id] = b.newKVBlock()
			}
			if i*chunk >= s.Position { // nothing in the block belongs to the sequence yet
				b.kv[id].mend()
			}
		}
	}
}

// Embed implements [model.Backend].
func (b *Backend) Embed(x model.Matrix, table model.Weight) {
	b.embedding = embedding{b, b.step.IDs, values(x), panelOf(table)}
	b.pool.run(x.Rows, 16, &b.embedding)
}

// embedding copies rows of the embedding table. An item is a token.
type embedding struct {
	b     *Backend
	ids   []int32
	x     []float32 // [tokens, hidden]
	table panel
}

// work implements [task].
func (e *embedding) work(worker, from, to int) {
	t := &e.table
	for i := from; i < to; i++ {
		x, id := row(e.x, i, t.k), int(e.ids[i])
		if t.unpack == nil {
			weight.Widen(x, t.row(id), t.format)
			continue
		}
		for k := 0; k < t.k; k += unpackStretch {
			part := x[k:min(k+unpackStretch, t.k)]
			values := e.b.scratch[worker].unpacked[:len(part)]
			t.unpackRows(values, id, 1, k, 0)
			weight.Widen(part, bytesOf(values), weight.BF16)
		}
	}
}

// Select implements [model.Backend].
func (b *Backend) Select(y, x model.Matrix, rows []int32) {
	for i, r := range rows {
		copy(row(values(y), i, y.Cols), row(values(x), int(r), x.Cols))
	}
}

// Norm implements [model.Backend].
func (b *Backend) Norm(y, x model.Matrix, norm model.Weight) {
	b.norming = norming{b, values(y), values(x), norm.Data.(*parameter).norm, false}
	b.pool.run(x.Rows, 4, &b.norming)
}

// normInput returns RMSNorm(x)·norm as the input of a matrix product. It is valid until the next call.
func (b *Backend) normInput(x model.Matrix, norm model.Weight) input {
	y := b.normed[:x.Rows*x.Cols]
	b.norming = norming{b, y, values(x), norm.Data.(*parameter).norm, true}
	return input{x: y, norm: &b.norming}
}

// norming computes RMSNorm. An item is a row.
type norming struct {
	b            *Backend
	y, x, weight []float32
	input        bool // y is the input of a matrix product
}

// work implements [task].
func (n *norming) work(_, from, to int) {
	width := len(n.weight)
	for t := from; t < to; t++ {
		y := row(n.y, t, width)
		n.b.kernels.rmsNorm(y, row(n.x, t, width), n.weight, n.b.config.RMSNormEps)
		if n.input {
			n.b.asInput(y)
		}
	}
}
