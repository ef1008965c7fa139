//go:build cuda && linux && cgo

package cuda

/*
#include "args.h"

static int batch_row_tiles(int tokens) { return LINEAR_BATCH_ROW_TILES(tokens); }
static int batch_shared(int tokens, int stages) { return LINEAR_BATCH_SHARED(tokens, stages); }
*/
import "C"

// batchShape is how the batch products divide their work, for a range of numbers of tokens.
type batchShape struct {
	tokens int // at most
	rows   int // weight rows of a block
	stages int // of its ring
	shared int // its bytes of dynamic shared memory
	// resident is how many blocks a multiprocessor runs at once.
	resident [epilogues][weightKinds]int
}

// newBatchShapes are the shapes in ascending order of tokens. Their rings have as many stages as fit.
func newBatchShapes(maxShared int) (shapes [2]batchShape) {
	for i, tokens := range [...]int{batchTokens / 2, batchTokens} {
		s := batchShape{tokens: tokens, rows: 16 * int(C.batch_row_tiles(C.int(tokens)))}
		for _, s.stages = range [...]int{C.LINEAR_BATCH_MAX_STAGES, 6, 4, 2} {
			s.shared = int(C.batch_shared(C.int(tokens), C.int(s.stages)))
			if s.shared <= maxShared {
				break
			}
		}
		shapes[i] = s
	}
	return shapes
}

// batchShape is the shape for a number of tokens.
func (l *linearKernels) batchShape(tokens int) *batchShape {
	i := 0
	for l.batchShapes[i].tokens < tokens {
		i++
	}
	return &l.batchShapes[i]
}

// batchParts is how many blocks of a batch product have work.
func (l *linearKernels) batchParts(p *product) int {
	outputs := l.batchShape(p.tokens).rows
	if p.epilogue == gateUp {
		outputs /= 2
	}
	return ceilDiv(p.rows, outputs)
}

// batchResident is how many blocks of the batch product a multiprocessor runs at once.
func (l *linearKernels) batchResident(p *product) int {
	return l.batchShape(p.tokens).resident[p.epilogue][p.weight.kind()]
}

// batch queues a product of up to batchTokens tokens, on any number of blocks: the results do not depend on
// it. norm must be 0.
func (l *linearKernels) batch(q *queue, p product, blocks int) {
	shape, args := l.batchShape(p.tokens), p.args()
	args.stages = C.int32_t(shape.stages)
	addWaiting(q, l.products[p.epilogue][batch][p.weight.kind()],
		grid{blocks, 1, C.LINEAR_BATCH_THREADS, shape.shared}, args)
	(*q)[len(*q)-1].weights = uint32(p.weightBytes())
}

// countBatchResident asks the device how many blocks of the batch products a multiprocessor runs at once.
func (l *linearKernels) countBatchResident(d *device) (err error) {
	for i := range l.batchShapes {
		s := &l.batchShapes[i]
		for e := range epilogues {
			for w := range weightKinds {
				s.resident[e][w], err = d.residentBlocks(l.products[e][batch][w], C.LINEAR_BATCH_THREADS,
					s.shared)
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
