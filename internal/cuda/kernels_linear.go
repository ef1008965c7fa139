//go:build cuda && linux && cgo

package cuda

/*
#include "args.h"

// bfloat16 columns that NORMED_BYTES adds to a row.
enum { NORMED_PADDING = NORMED_BYTES(1, 0) / 2 };

// Bytes that each stage adds to the shared memory of a decode product.
enum { DECODE_STAGE_BYTES = LINEAR_DECODE_RING(1) };
*/
import "C"

import "gorgonia.org/cu"

// epilogue is what a matrix product does with its sums, as in kernels/linear.cuh.
type epilogue int

const (
	store  epilogue = iota // y = sum
	addTo                  // y = y + sum
	gateUp                 // y = SiLU(g)·u
	epilogues
)

// epilogueNames are the kernels' names for them.
var epilogueNames = [epilogues]string{store: "linear", addTo: "linear_add", gateUp: "gate_up"}

// phase is the kernels for a number of tokens. All give the same bits.
type phase int

const (
	decode     phase = iota // up to decodeTokens tokens
	normDecode              // the same, of RMSNorm(x)·norm; there is none for addTo
	batch                   // up to batchTokens tokens
	prefill                 // any number of tokens
	phases
)

// weightKind is the types of weights that share a product's kernel.
type weightKind int

const (
	bf16Weights weightKind = iota
	f16Weights
	quantizedWeights // of all formats
	weightKinds
)

// suffixes end the names of the kernels for a kind of weights.
var suffixes = [weightKinds]string{
	bf16Weights: "_bf16", f16Weights: "_f16", quantizedWeights: "_quantized",
}

// kind is the kind of weights of a type. Only the reference kernels take typeF32.
func (t elementType) kind() weightKind {
	switch {
	case t >= typeQuantized:
		return quantizedWeights
	case t == typeF16:
		return f16Weights
	}
	return bf16Weights
}

// productKernel is the name of the kernel of a product.
func productKernel(e epilogue, v phase, w weightKind) string {
	switch v {
	case normDecode:
		return "norm_" + epilogueNames[e] + "_decode" + suffixes[w]
	case batch:
		return epilogueNames[e] + "_batch" + suffixes[w]
	case prefill:
		return epilogueNames[e] + "_prefill" + suffixes[w]
	}
	return epilogueNames[e] + "_decode" + suffixes[w]
}

// referenceKernel is the name of the kernel that computes a product in float32.
func referenceKernel(e epilogue) string {
	if e == gateUp {
		return "reference_gate_up"
	}
	return "reference_linear"
}

// linearKernels are the matrix products of a loaded module. kernels/args.h says what they compute.
type linearKernels struct {
	products [epilogues][phases][weightKinds]function
	// references are the float32 kernels, for weights of any type.
	references [epilogues]function
	// resident is how many blocks of a decode product a multiprocessor runs at once, by the kind of weights
	// and by the number of tokens that the product normalizes, which decides how much shared memory it
	// takes. 0: none.
	resident    [epilogues][weightKinds][decodeTokens + 1]int
	batchShapes [2]batchShape

	maxShared int // bytes of dynamic shared memory that a block can have
}

func (d *device) loadLinearKernels(m cu.Module) (*linearKernels, error) {
	k := &linearKernels{maxShared: d.maxShared, batchShapes: newBatchShapes(d.maxShared)}
	shared := [phases]int{
		decode: min(decodeShared(wideStages), d.maxShared), normDecode: d.maxShared, batch: d.maxShared,
		prefill: C.LINEAR_PREFILL_SHARED,
	}
	for e := range epilogues {
		for v := range phases {
			if e == addTo && v == normDecode {
				continue
			}
			for w := range weightKinds {
				f, err := d.function(m, productKernel(e, v, w))
				if err != nil {
					return nil, err
				}
				if err := d.allowShared(f, shared[v]); err != nil {
					return nil, err
				}
				k.products[e][v][w] = f
			}
		}
		var err error
		if k.references[e], err = d.function(m, referenceKernel(e)); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// countResident asks the device how many blocks of the decode and batch products a multiprocessor runs at
// once. hidden is the k of the products with a norm.
func (l *linearKernels) countResident(d *device, hidden int) (err error) {
	for e := range epilogues {
		for w := range weightKinds {
			l.resident[e][w][0], err = d.residentBlocks(l.products[e][decode][w], C.LINEAR_DECODE_THREADS,
				decodeShared(decodeStages))
			if err != nil {
				return err
			}
			for tokens := 1; e != addTo && tokens <= decodeTokens && l.normFits(tokens, hidden); tokens++ {
				l.resident[e][w][tokens], err = d.residentBlocks(l.products[e][normDecode][w],
					C.LINEAR_DECODE_THREADS, decodeShared(decodeStages)+normedBytes(tokens, hidden))
				if err != nil {
					return err
				}
			}
		}
	}
	return l.countBatchResident(d)
}

// product is a matrix product and its operands, as LinearArgs has them: y [tokens, rows], x [tokens, k],
// w [rows, k], or [2·rows, k] for gateUp.
type product struct {
	epilogue
	y, x, w         devicePtr
	weight          elementType // of w
	tokens, rows, k int
	// norm [k], if not 0, means that the product's input is RMSNorm(x)·norm. x is then float32.
	norm devicePtr
	eps  float32
	// stages of the rings of decode's kernels: decodeStages, which 0 stands for, or wideStages.
	stages int
}

func (p *product) args() *C.LinearArgs {
	return &C.LinearArgs{
		y: C.uint64_t(p.y), x: C.uint64_t(p.x), norm: C.uint64_t(p.norm), w: C.uint64_t(p.w),
		tokens: C.int32_t(p.tokens), rows: C.int32_t(p.rows), k: C.int32_t(p.k), eps: C.float(p.eps),
		_type: C.int32_t(p.weight), stages: C.int32_t(p.stages),
	}
}

// Stages of the rings of decode products, see kernels/args.h.
const (
	decodeStages = C.LINEAR_DECODE_STAGES
	wideStages   = C.LINEAR_DECODE_WIDE_STAGES
)

// decodeShared is the shared memory of a block of a decode product that does not normalize its input.
func decodeShared(stages int) int { return C.LINEAR_DECODE_SUMS + stages*C.DECODE_STAGE_BYTES }

// normedBytes is the shared memory for normalized tokens of k columns.
func normedBytes(tokens, k int) int { return tokens * (k + C.NORMED_PADDING) * 2 }

// normFits reports whether the decode products can normalize this many tokens of k columns in shared memory.
func (l *linearKernels) normFits(tokens, k int) bool {
	return decodeShared(decodeStages)+normedBytes(tokens, k) <= l.maxShared
}

// shared is the shared memory of a block of the decode product.
func (p *product) shared() int {
	bytes := decodeShared(p.stages)
	if p.norm != 0 {
		bytes += normedBytes(p.tokens, p.k)
	}
	return bytes
}

// weightBytes is the size of the product's matrix.
func (p *product) weightBytes() int {
	rows := p.rows
	if p.epilogue == gateUp {
		rows *= 2
	}
	if p.weight >= typeQuantized {
		return quantBytes(p.weight.format(), rows, p.k)
	}
	return rows * p.weight.format().RowBytes(p.k)
}

// decodeTiles is how many blocks of a decode product can have work: a tile each, or a row group of quantized
// weights.
func (p *product) decodeTiles() int {
	if p.epilogue == gateUp || p.weight >= typeQuantized {
		return ceilDiv(p.rows, C.LINEAR_DECODE_TILE/2)
	}
	return ceilDiv(p.rows, C.LINEAR_DECODE_TILE)
}

// fit chooses the stages of a decode product's rings, and returns how many blocks of the product should run
// on a multiprocessor at once. Usually it is as many as fit. If launches overlap, it is one block with long
// rings, so that a block of the next product fits beside it and fills its own rings while this product ends.
// Where two such blocks do not fit, it is again as many as fit. Quantized weights never have long rings:
// they need several blocks to unpack them.
func (l *linearKernels) fit(p *product, overlap bool) (blocks int) {
	const reserved = 1 << 10 // shared memory that the driver adds to each block
	p.stages = wideStages
	if overlap && p.weight < typeQuantized && 2*(p.shared()+reserved) <= l.maxShared+reserved {
		return 1
	}
	p.stages = decodeStages
	if p.norm == 0 {
		return l.resident[p.epilogue][p.weight.kind()][0]
	}
	return l.resident[p.epilogue][p.weight.kind()][p.tokens]
}

// decode queues a product of up to decodeTokens tokens, on any number of blocks. The results depend neither
// on this number nor on p.stages.
func (l *linearKernels) decode(q *queue, p product, blocks int) {
	v := decode
	if p.norm != 0 {
		v = normDecode
	}
	p.stages = max(p.stages, decodeStages)
	f := l.products[p.epilogue][v][p.weight.kind()]
	addWaiting(q, f, grid{blocks, 1, C.LINEAR_DECODE_THREADS, p.shared()}, p.args())
	(*q)[len(*q)-1].weights = uint32(p.weightBytes())
}

// prefill queues a product of any number of tokens. norm must be 0.
func (l *linearKernels) prefill(q *queue, p product) {
	outputs := C.LINEAR_PREFILL_ROWS // of a block
	if p.epilogue == gateUp {
		outputs /= 2
	}
	add(q, l.products[p.epilogue][prefill][p.weight.kind()], grid{
		ceilDiv(p.tokens, C.LINEAR_PREFILL_TOKENS), ceilDiv(p.rows, outputs),
		C.LINEAR_PREFILL_THREADS, C.LINEAR_PREFILL_SHARED,
	}, p.args())
}

// reference queues a product in which x, y and the sums are float32, for a weight of any type. norm must
// be 0. Quantized weights are rounded to bfloat16, all others are exact.
func (l *linearKernels) reference(q *queue, p product) {
	args := &C.ReferenceLinearArgs{
		y: C.uint64_t(p.y), x: C.uint64_t(p.x), w: C.uint64_t(p.w),
		rows: C.int32_t(p.rows), k: C.int32_t(p.k), _type: C.int32_t(p.weight),
	}
	if p.epilogue == addTo {
		args.add = 1
	}
	add(q, l.references[p.epilogue],
		grid{ceilDiv(p.rows, C.REFERENCE_THREADS), p.tokens, C.REFERENCE_THREADS, 0}, args)
}
