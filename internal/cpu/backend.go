package cpu

import (
	"errors"
	"fmt"
	"runtime"

	"phi3/internal/model"
	"phi3/internal/safetensors"
)

// Options choose how the backend computes.
type Options struct {
	Threads int  // 0: one for every core the process may use
	Float32 bool // round nothing: matrix inputs and the KV cache stay float32
}

// Backend implements [model.Backend]. Matrices are float32 in memory; where a matrix product will read one, its values have
// been rounded to bfloat16 first (unless Float32 is set), as they would be on tensor cores.
type Backend struct {
	pool      *pool
	float32   bool
	config    *model.Config
	kv        []*kvBlock          // [blocks], nil until a sequence first uses it
	tile      [][]float32         // [threads][tileRows, widest input] widened weight rows
	attention []*attentionScratch // [threads]
	normed    []float32           // [maxTokens, hidden]
}

// weight is the Data of a model.Weight.
type weight struct {
	bytes []byte    // little-endian, in the checkpoint's memory
	norm  []float32 // the same widened, for one-dimensional weights
}

// New makes a backend.
func New(o Options) *Backend {
	threads := o.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return &Backend{pool: newPool(threads), float32: o.Float32}
}

// Name implements [model.Backend].
func (b *Backend) Name() string {
	name := fmt.Sprintf("CPU (Go, %d threads)", b.pool.threads)
	if b.float32 {
		name += ", float32"
	}
	return name
}

// Plan implements [model.Backend]. KV blocks are allocated when first used, so a long context costs nothing until it is filled.
func (b *Backend) Plan(c *model.Config, _ []*safetensors.Tensor, maxTokens, kvBlocks int) error {
	b.config = c
	b.kv = make([]*kvBlock, kvBlocks)
	widest := max(c.HiddenSize, c.IntermediateSize, c.Heads*c.HeadDim)
	b.tile = make([][]float32, b.pool.threads)
	b.attention = make([]*attentionScratch, b.pool.threads)
	for i := range b.tile {
		b.tile[i] = make([]float32, tileRows*widest)
		b.attention[i] = newAttentionScratch(c)
	}
	b.normed = make([]float32, maxTokens*c.HiddenSize)
	return nil
}

// Upload implements [model.Backend]. Nothing is copied but norms.
func (b *Backend) Upload(t *safetensors.Tensor) (model.Weight, error) {
	w := &weight{bytes: t.Data}
	if len(t.Shape) == 1 {
		w.norm = make([]float32, t.Shape[0])
		widen(w.norm, t.Data, t.DType)
	}
	return model.Weight{Shape: t.Shape, DType: t.DType, Data: w}, nil
}

// NewMatrix implements [model.Backend].
func (b *Backend) NewMatrix(rows, cols int) (model.Matrix, error) {
	return model.Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}, nil
}

// Read implements [model.Backend].
func (b *Backend) Read(dst []float32, x model.Matrix) error {
	copy(dst, values(x))
	return nil
}

// Argmax implements [model.Backend].
func (b *Backend) Argmax(next []int32, logits model.Matrix) error {
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

// values is a matrix's memory, [rows, cols].
func values(m model.Matrix) []float32 { return m.Data.([]float32)[:m.Rows*m.Cols] }

// row is row i of a [*, cols] matrix.
func row(m []float32, i, cols int) []float32 { return m[i*cols : (i+1)*cols : (i+1)*cols] }

// rowBytes is row i of a weight [out, in] as stored.
func rowBytes(w model.Weight, i int) []byte {
	size := w.Shape[1] * elemSize(w.DType)
	return w.Data.(*weight).bytes[i*size : (i+1)*size]
}

// asInput rounds a matrix product's input to the type that the product reads.
func (b *Backend) asInput(x []float32) {
	if !b.float32 {
		roundBF16(x)
	}
}

// Embed implements [model.Backend].
func (b *Backend) Embed(x model.Matrix, table model.Weight, ids []int32) {
	for i, id := range ids {
		widen(row(values(x), i, x.Cols), rowBytes(table, int(id)), table.DType)
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
	b.norm(values(y), values(x), norm.Data.(*weight).norm)
}

// norm sets every row of y to the RMSNorm of x's, times weight [width].
func (b *Backend) norm(y, x, weight []float32) {
	width := len(weight)
	b.pool.run(len(x)/width, 4, func(_, from, to int) {
		for t := from; t < to; t++ {
			rmsNorm(row(y, t, width), row(x, t, width), weight, b.config.RMSNormEps)
		}
	})
}

// normInput is RMSNorm(x)·norm, rounded for a matrix product. The result is valid until the next call.
func (b *Backend) normInput(x model.Matrix, norm model.Weight) []float32 {
	y := b.normed[:x.Rows*x.Cols]
	b.norm(y, values(x), norm.Data.(*weight).norm)
	b.asInput(y)
	return y
}
