//go:build cuda && linux && cgo

package cuda

import (
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// The verbs of [model.Backend]: which kernels each of them is. Up to decodeTokens tokens a step run as
// decode, where a kernel reads weights as fast as memory gives them; more as prefill, where tensor cores are
// the limit. Both give the same bits.

// Begin implements [model.Backend].
func (b *Backend) Begin(step *model.Step) {
	b.drop()
	b.stageStep(step)
	b.stage.kept = b.stage.used
}

// Embed implements [model.Backend].
func (b *Backend) Embed(x model.Matrix, table model.Weight) {
	w := table.Data.(*parameter)
	b.kernels.embed(&b.queue, float32Out(x), w.ptr, w.typ, b.staged.ids, x.Rows, x.Cols)
}

// Select implements [model.Backend].
func (b *Backend) Select(y, x model.Matrix, rows []int32) {
	b.kernels.copyRows(&b.queue, float32Out(y), ptr(x), put(&b.stage, rows, len(rows)), len(rows), x.Cols)
}

// Norm implements [model.Backend].
func (b *Backend) Norm(y, x model.Matrix, norm model.Weight) {
	b.kernels.rmsNorm(&b.queue, float32Out(y), typeF32, ptr(x), norm.Data.(*parameter).ptr, x.Rows, x.Cols,
		b.eps())
}

// NormLinear implements [model.Backend].
func (b *Backend) NormLinear(y, x model.Matrix, norm, w model.Weight) {
	p := newProduct(float32Out(y), x, w, y.Cols)
	p.norm, p.eps = norm.Data.(*parameter).ptr, b.eps()
	resident := &b.kernels.resident
	switch {
	case b.float32:
		b.kernels.referenceLinear(&b.queue, b.normInput(p), false)
	case x.Rows > decodeTokens:
		b.kernels.linearPrefill(&b.queue, b.normInput(p))
	case b.kernels.normFits(p.tokens, p.k):
		b.kernels.normLinearDecode(&b.queue, p,
			b.grid(decodeTiles(p.rows), resident.normLinear[p.weight][p.tokens]))
	default:
		b.kernels.linearDecode(&b.queue, b.normInput(p),
			b.grid(decodeTiles(p.rows), resident.linear[p.weight]))
	}
}

// NormGateUp implements [model.Backend].
func (b *Backend) NormGateUp(h, x model.Matrix, norm, w model.Weight) {
	p := newProduct(b.inputOut(h), x, w, h.Cols)
	p.norm, p.eps = norm.Data.(*parameter).ptr, b.eps()
	resident := &b.kernels.resident
	switch {
	case b.float32:
		b.kernels.referenceGateUp(&b.queue, b.normInput(p))
	case x.Rows > decodeTokens:
		b.kernels.gateUpPrefill(&b.queue, b.normInput(p))
	case b.kernels.normFits(p.tokens, p.k):
		b.kernels.normGateUpDecode(&b.queue, p,
			b.grid(gateUpDecodeTiles(p.rows), resident.normGateUp[p.weight][p.tokens]))
	default:
		b.kernels.gateUpDecode(&b.queue, b.normInput(p),
			b.grid(gateUpDecodeTiles(p.rows), resident.gateUp[p.weight]))
	}
}

// LinearAdd implements [model.Backend].
func (b *Backend) LinearAdd(x, a model.Matrix, w model.Weight) {
	p := newProduct(float32Out(x), a, w, x.Cols)
	switch {
	case b.float32:
		b.kernels.referenceLinear(&b.queue, p, true)
	case x.Rows > decodeTokens:
		b.kernels.linearAddPrefill(&b.queue, p)
	default:
		b.kernels.linearAddDecode(&b.queue, p,
			b.grid(decodeTiles(p.rows), b.kernels.resident.linearAdd[p.weight]))
	}
}

// newProduct is the product of x with a weight, of so many outputs.
func newProduct(y devicePtr, x model.Matrix, w model.Weight, rows int) product {
	d := w.Data.(*parameter)
	return product{y: y, x: ptr(x), w: d.ptr, weight: d.typ, tokens: x.Rows, rows: rows, k: x.Cols}
}

// normInput queues RMSNorm(x)·norm into the workspace, as the kernels read it, and returns the product with
// that as input.
func (b *Backend) normInput(p product) product {
	b.kernels.rmsNorm(&b.queue, b.normed, b.inputType(), p.x, p.norm, p.tokens, p.k, p.eps)
	p.x = b.normed
	return p
}

// grid is how many blocks share out tiles of work: as many as the device runs at once, where resident blocks
// fit a multiprocessor, and no more than there are tiles. At least one: a launch that cannot run says why.
func (b *Backend) grid(tiles, resident int) int {
	return max(1, min(tiles, resident*b.device.multiprocessors))
}

// Attend implements [model.Backend].
func (b *Backend) Attend(a, qkv model.Matrix, layer int) {
	call := b.staged.attention
	call.out, call.qkv = b.inputOut(a), ptr(qkv)
	call.kv = b.kv + devicePtr(layer*b.blockElems/b.config.Layers*b.inputType().bytes())
	k := b.kernels.attention
	switch {
	case b.float32:
		k.kvAppend(&b.queue, &call, qkv.Rows)
		k.reference(&b.queue, &call, qkv.Rows)
	case qkv.Rows <= decodeTokens:
		// The most items of work that these sequences can ever have, so that one graph serves every token.
		items := call.seqs * b.kvBlocks * b.config.KVHeads
		k.decode(&b.queue, &call, b.grid(items, k.decodeResident))
	default:
		k.kvAppend(&b.queue, &call, qkv.Rows)
		k.prefill(&b.queue, &call, b.staged.works)
	}
}

// stageStep puts the step's data on the stage. Their sizes depend on the shape of the step and not on the
// length of its sequences, so that one graph serves every token.
func (b *Backend) stageStep(step *model.Step) {
	k, s := b.kernels.attention, &b.scratch
	s.spans, s.table, s.work = s.spans[:0], s.table[:0], s.work[:0]
	for _, seq := range step.Seqs {
		s.spans = append(s.spans, newSpan(seq, len(s.table)))
		s.table = append(s.table, seq.Blocks[:kvcache.BlocksFor(seq.Position+seq.Len)]...)
	}
	tokens := len(step.IDs)
	switch {
	case b.float32: // the reference takes no work items
	case tokens <= decodeTokens:
		s.work = k.decodeWork(s.work, s.spans)
	default:
		s.work = k.prefillWork(s.work, s.spans)
	}
	b.staged = stagedStep{ids: put(&b.stage, step.IDs, tokens), works: len(s.work), attention: attention{
		spans:      put(&b.stage, s.spans, len(s.spans)),
		blockTable: put(&b.stage, s.table, b.kvBlocks),
		work:       put(&b.stage, s.work, max(b.kvBlocks, tokens)),
		works:      put(&b.stage, []int32{int32(len(s.work))}, 1),
		cos:        put(&b.stage, step.Cos, len(step.Cos)),
		sin:        put(&b.stage, step.Sin, len(step.Sin)),
		partial:    b.partial, arrived: b.arrived,
		blockStride: b.blockElems, seqs: len(step.Seqs), maxChunks: b.maxChunks,
	}}
}

func (b *Backend) eps() float32 { return float32(b.config.RMSNormEps) }

// inputType is what matrix products read, and how keys and values are cached.
func (b *Backend) inputType() elementType {
	if b.float32 {
		return typeF32
	}
	return typeBF16
}

func ptr(m model.Matrix) devicePtr { return m.Data.(*matrix).ptr }

// float32Out is m's memory for a verb that stores float32.
func float32Out(m model.Matrix) devicePtr {
	m.Data.(*matrix).bf16 = false
	return ptr(m)
}

// inputOut is m's memory for a verb that stores what a matrix product will read.
func (b *Backend) inputOut(m model.Matrix) devicePtr {
	m.Data.(*matrix).bf16 = !b.float32
	return ptr(m)
}
