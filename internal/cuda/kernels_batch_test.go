//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Numbers of tokens at the limits of the shapes, and numbers that are less than, equal to and just above a
// tile of rows, a step, a segment, a ring.
var batchCases = []linearCase{
	{9, 131, 520, 2},
	{16, 32, 64, 1},
	{17, 75, 1032, 3},
	{32, 331, 72, 4},
	{33, 130, 584, 1},
	{64, 64, 1544, 1},
	{64, 331, 136, 7},
	{1, 20, 8, 1}, // fewer than the backend gives them
}

// Those for the checked build of the emulator, which watches every access.
var batchCasesChecked = []linearCase{
	{9, 70, 584, 1}, // more stages than the ring has, and two parts a block
	{17, 33, 72, 2},
	{33, 65, 328, 1},
	{64, 20, 136, 1},
}

// TestLinearBatch holds the batch products against prefill, which is held against float64, and against
// decode, with rings for every size of shared memory: the bytes are the same.
func TestLinearBatch(t *testing.T) {
	cases := batchCases
	if checked || onGPU && small() {
		cases = batchCasesChecked
	}
	b := openKernels(t)
	for i, c := range cases {
		for weight, name := range []string{typeBF16: "bf16", typeF16: "f16"} {
			b.t = t
			ok := t.Run(fmt.Sprintf("%s tokens=%d rows=%d k=%d blocks=%d", name, c.tokens, c.rows, c.k,
				c.blocks), func(t *testing.T) {
				b.t = t
				o := newLinearOperands(b, c, elementType(weight), uint64(i))
				prefilled := testLinearPrefill(b, o)
				testLinearBatch(b, o, prefilled)
				testLinearDecode(b, o, prefilled, max(0, c.tokens-decodeTokens), min(c.tokens, decodeTokens))
				b.free(o.xDev, o.normDev, o.wDev, o.normed)
			})
			if !ok {
				return // the device may be lost
			}
		}
	}
}

// testLinearBatch compares the batch products with prefill.
func testLinearBatch(b *kernelBench, o *linearOperands, prefilled [epilogues][]byte) {
	own := b.k.batchShapes
	defer func() { b.k.batchShapes = own }()
	tried := map[int]bool{}
	for _, maxShared := range []int{b.k.maxShared, 163 << 10, 99 << 10} {
		if maxShared > b.k.maxShared {
			continue
		}
		b.k.batchShapes = newBatchShapes(maxShared)
		stages := b.k.batchShape(o.tokens).stages
		if tried[stages] {
			continue
		}
		tried[stages] = true
		for e := range epilogues {
			y := o.output(b, e, 0, o.tokens)
			b.k.batch(&b.q, o.product(e, y, 0, o.tokens), o.blocks)
			b.run()
			require.Equal(b.t, prefilled[e], download[byte](b, y), "%s, %d stages: not the bytes of prefill",
				productKernel(e, batch, o.typ.kind()), stages)
			b.free(y)
		}
	}
}

// TestBatchWaits: batch products, each of which reads what the one before it wrote, have the same results one
// after another and overlapped.
func TestBatchWaits(t *testing.T) {
	b := openKernels(t)
	o := newLinearOperands(b, linearCase{tokens: 17, rows: 72, k: 584}, typeBF16, 1)
	down := newLinearOperands(b, linearCase{tokens: 17, rows: 584, k: 72}, typeBF16, 2)
	h := o.output(b, gateUp, 0, 17)
	results := func(together bool) []byte {
		copied := down.output(b, addTo, 0, 17)
		b.do(func() error { return b.d.fill(h.devicePtr, poison, h.bytes, b.stream) })
		first, second := o.product(gateUp, h, 0, 17), down.product(addTo, copied, 0, 17)
		second.x = h.devicePtr
		third := second // reads what the first wrote, and adds to what the second wrote
		for _, p := range []product{first, second, third} {
			b.k.batch(&b.q, p, 2)
			if !together {
				b.run()
			}
		}
		b.run()
		defer b.free(copied)
		return download[byte](b, copied)
	}
	require.Equal(t, results(false), results(true))
	b.free(h)
}

// TestBatchShapes: on every GPU a block's ring fits in its shared memory, and has enough bytes of weights in
// flight for the memory of that GPU.
func TestBatchShapes(t *testing.T) {
	for maxShared, inFlight := range map[int]int{
		227 << 10: 48 << 10, 163 << 10: 40 << 10, 99 << 10: 16 << 10,
	} {
		for _, s := range newBatchShapes(maxShared) {
			require.LessOrEqual(t, s.shared, maxShared, "%d tokens", s.tokens)
			stage := 8 * s.rows * 16 * 2 // of the eight segments' weights, 16 columns of 2 bytes each
			require.GreaterOrEqual(t, (s.stages-1)*stage, inFlight, "%d tokens", s.tokens)
		}
	}
}
