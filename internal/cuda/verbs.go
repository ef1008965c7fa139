//go:build cuda && linux && cgo

package cuda

import (
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// This file implements the verbs of [model.Backend] with kernels. A step of up to decodeTokens tokens runs as
// decode and one of up to batchTokens as batch, whose speed is limited by reading the weights. A longer step
// runs as prefill, whose speed is limited by the tensor cores. All give the same bits.
//
// Attention chooses for each sequence, because in a step of several sequences some write an answer, while
// others have a piece of a prompt. It decodes the sequences of up to decodeTokens new tokens, and the others
// run as prefill.

// Begin implements [model.Backend].
func (b *Backend) Begin(step *model.Step) {
	b.takeTurn()
	b.drop()
	b.stageStep(step)
	b.stage.kept = b.stage.used
}

// Embed implements [model.Backend].
func (b *Backend) Embed(x model.Matrix, table model.Weight) {
	w := table.Data.(*parameter)
	b.kernels.embed(&b.queue, float32Out(x), *w, b.staged.ids, x.Rows, x.Cols)
}

// Select implements [model.Backend].
func (b *Backend) Select(y, x model.Matrix, rows []int32) {
	b.kernels.copyRows(&b.queue, float32Out(y), ptr(x), put(&b.stage, rows, len(rows)), len(rows), x.Cols)
}

// Norm implements [model.Backend].
func (b *Backend) Norm(y, x model.Matrix, norm model.Weight) {
	b.kernels.rmsNorm(&b.queue, rowNorm{
		y: float32Out(y), typ: typeF32, x: ptr(x), norm: norm.Data.(*parameter).ptr,
		tokens: x.Rows, cols: x.Cols, eps: b.eps(),
	})
}

// NormLinear implements [model.Backend].
func (b *Backend) NormLinear(y, x model.Matrix, norm, w model.Weight) {
	p := newProduct(store, float32Out(y), x, w, y.Cols)
	p.norm, p.eps = norm.Data.(*parameter).ptr, b.eps()
	b.product(p)
}

// NormGateUp implements [model.Backend].
func (b *Backend) NormGateUp(h, x model.Matrix, norm, w model.Weight) {
	p := newProduct(gateUp, b.inputOut(h), x, w, h.Cols)
	p.norm, p.eps = norm.Data.(*parameter).ptr, b.eps()
	b.product(p)
}

// LinearAdd implements [model.Backend].
func (b *Backend) LinearAdd(x, a model.Matrix, w model.Weight) {
	b.product(newProduct(addTo, float32Out(x), a, w, x.Cols))
}

// newProduct describes the product of x with a weight, with the given number of outputs (rows) for each
// token.
func newProduct(e epilogue, y devicePtr, x model.Matrix, w model.Weight, rows int) product {
	d := w.Data.(*parameter)
	return product{
		epilogue: e, y: y, x: ptr(x), w: d.ptr, weight: d.typ, tokens: x.Rows, rows: rows, k: x.Cols,
	}
}

// product queues the kernels of a matrix product. Its number of tokens decides which kernels these are.
func (b *Backend) product(p product) {
	k := b.kernels
	if p.norm != 0 && (b.float32 || p.tokens > decodeTokens || !k.normFits(p.tokens, p.k)) {
		k.rmsNorm(&b.queue, rowNorm{
			y: b.normed, typ: b.inputType(), x: p.x, norm: p.norm, tokens: p.tokens, cols: p.k, eps: p.eps,
		})
		p.x, p.norm = b.normed, 0
	}
	switch {
	case b.float32:
		k.reference(&b.queue, p)
	case p.tokens > batchTokens:
		b.productBy(prefill, p)
	case p.tokens > decodeTokens:
		b.productBy(batch, p)
	default:
		b.productBy(decode, p)
	}
}

// productBy queues the kernel of a product for a phase, on as many blocks as the device runs at once.
func (b *Backend) productBy(v phase, p product) {
	k := b.kernels
	switch v {
	case prefill:
		k.prefill(&b.queue, p)
	case batch:
		k.batch(&b.queue, p, b.blocks(k.batchParts(&p), k.batchResident(&p)))
	default:
		resident := k.fit(&p, b.device.overlap)
		k.decode(&b.queue, p, b.blocks(p.decodeTiles(), resident))
	}
}

// blocks returns the number of blocks that share the given number of tiles. It is as many as the device runs
// at once, if resident blocks fit on a multiprocessor, but at most one for each tile. It is at least 1, so
// that a launch that is impossible is tried, and its error says why.
func (b *Backend) blocks(tiles, resident int) int {
	return max(1, min(tiles, resident*b.device.multiprocessors))
}

// Attend implements [model.Backend].
func (b *Backend) Attend(a, qkv model.Matrix, layer int) {
	call := b.staged.attention
	call.out, call.qkv = b.inputOut(a), ptr(qkv)
	call.kv = b.kv + devicePtr(layer*b.kvBlockElems/b.config.Layers*b.inputType().bytes())
	k := b.kernels.attention
	if b.float32 {
		k.kvAppend(&b.queue, &call, qkv.Rows)
		k.reference(&b.queue, &call, qkv.Rows)
		return
	}
	if works := b.staged.prefillWorks; works > 0 {
		// This appends the rows of all sequences. Decode appends its rows again, with the same bytes.
		k.kvAppend(&b.queue, &call, qkv.Rows)
		call.work = b.staged.prefillWork
		k.prefill(&b.queue, &call, works)
	}
	if seqs := b.staged.decodeSeqs; seqs > 0 {
		call.work = b.staged.decodeWork
		// The most work items that these sequences can have, so that one graph serves every token.
		items := b.tables(seqs) * b.config.KVHeads
		k.decode(&b.queue, &call, b.blocks(items, k.decodeResident))
	}
}

// stageStep copies the step's data to the stage. The sizes of the data depend on the shape of the step and
// not on the length of its sequences, so that one graph serves every token.
func (b *Backend) stageStep(step *model.Step) {
	s, seqs, tokens := &b.scratch, len(step.Seqs), len(step.IDs)
	s.spans, s.table = s.spans[:0], s.table[:0]
	for _, seq := range step.Seqs {
		s.spans = append(s.spans, newSpan(seq, len(s.table)))
		s.table = append(s.table, seq.Blocks[:kvcache.BlocksFor(seq.Position+seq.Len)]...)
	}
	ids := put(&b.stage, step.IDs, tokens)
	if step.Chosen {
		ids = b.ahead.older.ids
	}
	b.staged = stagedStep{ids: ids, attention: attention{
		spans:      put(&b.stage, s.spans, seqs),
		blockTable: put(&b.stage, s.table, b.tables(seqs)),
		cos:        put(&b.stage, step.Cos, len(step.Cos)),
		sin:        put(&b.stage, step.Sin, len(step.Sin)),
		partial:    b.partial, arrived: b.arrived,
		blockStride: b.kvBlockElems, seqs: seqs,
	}}
	if !b.float32 { // the reference takes no work items
		b.stageWork(tokens)
	}
}

// stageWork copies attention's work items to the stage. The sequences of few new tokens decode, if there is
// memory for what they compute, and the others run as prefill.
func (b *Backend) stageWork(tokens int) {
	k, s, to := b.kernels.attention, &b.scratch, &b.staged
	s.decodeWork, s.prefillWork = s.decodeWork[:0], s.prefillWork[:0]
	for seq, of := range s.spans {
		if seq < b.mostDecodeSeqs && k.decodes(of) {
			work := k.decodeWork(s.decodeWork, seq, of)
			if len(work) <= b.mostDecodeWorks {
				s.decodeWork = work
				to.decodeSeqs++
				continue
			}
		}
		s.prefillWork = k.prefillWork(s.prefillWork, seq, of)
	}
	if to.decodeSeqs > 0 {
		to.decodeWork = put(&b.stage, s.decodeWork, min(b.tables(to.decodeSeqs), b.mostDecodeWorks))
		to.attention.works = put(&b.stage, []int32{int32(len(s.decodeWork))}, 1)
	}
	if to.prefillWorks = len(s.prefillWork); to.prefillWorks > 0 {
		to.prefillWork = put(&b.stage, s.prefillWork, tokens)
	}
}

func (b *Backend) eps() float32 { return float32(b.config.RMSNormEps) }

// inputType is the type of matrix products' inputs and of cached keys and values.
func (b *Backend) inputType() elementType {
	if b.float32 {
		return typeF32
	}
	return typeBF16
}

func ptr(m model.Matrix) devicePtr { return m.Data.(*matrix).ptr }

// float32Out is the memory of m, for a verb that stores float32.
func float32Out(m model.Matrix) devicePtr {
	m.Data.(*matrix).bf16 = false
	return ptr(m)
}

// inputOut is the memory of m, for a verb that stores the input of a matrix product.
func (b *Backend) inputOut(m model.Matrix) devicePtr {
	m.Data.(*matrix).bf16 = !b.float32
	return ptr(m)
}

// tables is the most entries of the block tables of so many sequences.
func (l *stepLimits) tables(seqs int) int { return min(seqs*l.seqBlocks, l.tableBlocks) }
