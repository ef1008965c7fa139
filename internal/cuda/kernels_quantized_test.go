//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// quantizedFormats are all of them, in ascending order.
func quantizedFormats(t testing.TB) (formats []weight.Format) {
	t.Helper()
	for f := weight.BF16; f.String() != ""; f++ {
		if f.Quantized() {
			formats = append(formats, f)
		}
		if f == weight.IQ4_XS {
			break
		}
	}
	require.Len(t, formats, len(elementFormats)-int(typeQuantized), "a type for each format")
	return formats
}

func typeOf(f weight.Format) elementType {
	return elementType(slices.Index(elementFormats[:], f))
}

// edgeBlocks are weight blocks of one byte value, random ones with extreme scales, and those of any bytes.
func edgeBlocks(random *rand.Rand, f weight.Format) (data []byte) {
	_, bytes := f.Block()
	for _, value := range []byte{0, 1, 0x7f, 0x80, 0xff} {
		data = append(data, slices.Repeat([]byte{value}, bytes)...)
	}
	scales := []float64{
		0, 0x1p-24, -0x1p-24, 0x3ffp-24, 0x1p-14, 65504, -65504, math.Inf(1), math.Inf(-1), math.NaN(),
	}
	for i := range 64 {
		block := make([]byte, bytes)
		for i := range block {
			block[i] = byte(random.Uint32())
		}
		if i < len(scales) {
			setScale(block, f, scales[i])
		}
		data = append(data, block...)
	}
	if f == weight.Q8_K { // products that are rounded, and those beyond float32
		for _, scale := range []float64{1.0 / 3, math.MaxFloat32, 1e-45, 1.17e-38} {
			block := slices.Clone(data[len(data)-bytes:])
			setScale(block, f, scale)
			data = append(data, block...)
		}
	}
	return data
}

// requireSame wants the same bits, except in NaN.
func requireSame(t testing.TB, want, got []float32, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		if bits32(want[i]) != bits32(got[i]) {
			require.FailNow(t, what, "weight %d is %g, want %g", i, got[i], want[i])
		}
	}
}

// TestUnpack compares the weights that embed widens with weight.Unpack's, of every format. The table is one
// row, or a row for each block.
func TestUnpack(t *testing.T) {
	b := openKernels(t)
	random := rand.New(rand.NewPCG(9, 1))
	for _, f := range quantizedFormats(t) {
		weights, bytes := f.Block()
		data := edgeBlocks(random, f)
		blocks := len(data) / bytes
		bits := make([]uint16, blocks*weights)
		weight.Unpack(bits, data, f)
		want := widened(bits)
		for _, rows := range []int{1, blocks} {
			ids := make([]int32, rows)
			for i := range ids {
				ids[i] = int32(i)
			}
			cols := len(bits) / rows
			table := upload(b, newQuantMatrix(f, data, rows, cols).packed())
			idsDev, x := upload(b, ids), b.alloc(len(bits)*4)
			stored := parameter{ptr: table.devicePtr, typ: typeOf(f)}
			b.k.embed(&b.q, x.devicePtr, stored, idsDev.devicePtr, rows, cols)
			b.run()
			requireSame(t, want, download[float32](b, x), fmt.Sprintf("%v, %d rows", f, rows))
			b.free(table, idsDev, x)
		}
	}
}

// What a product says of the size of its matrix, which limits the prefetch, is the size on the device.
func TestQuantizedWeightBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 2))
	for _, f := range quantizedFormats(t) {
		weights, _ := f.Block()
		p := product{weight: typeOf(f), rows: 5, k: 3 * weights}
		for p.epilogue = range epilogues {
			rows := map[bool]int{false: 5, true: 10}[p.epilogue == gateUp]
			data, _ := packed(random, f, rows, p.k, 1)
			require.Equal(t, len(data), p.weightBytes(), f)
		}
	}
}

// TestQuantizedBlocks: a decode product with quantized weights has a block for each row group, up to as many
// as fit, also where launches overlap, because the blocks must unpack. With other weights a block has a tile
// of 16 rows, and one on a multiprocessor is enough.
func TestQuantizedBlocks(t *testing.T) {
	k := linearKernels{maxShared: 227 << 10}
	for w := range weightKinds {
		k.resident[addTo][w][0] = 2
	}
	p := product{epilogue: addTo, weight: typeOf(weight.Q4_K), tokens: 1, rows: 3067, k: 3072}
	require.Equal(t, 384, p.decodeTiles())
	require.Equal(t, 2, k.fit(&p, true))
	require.Equal(t, decodeStages, p.stages)
	p.weight = typeBF16
	require.Equal(t, 192, p.decodeTiles())
	require.Equal(t, 1, k.fit(&p, true))
	require.Equal(t, wideStages, p.stages)
}

// quantizedCases are sizes for weights of 32 and of 256 weights a block. k is in blocks of 32. gate_up runs
// only where rows is a multiple of 8.
var quantizedCases = []linearCase{
	{1, 1, 1, 1},
	{1, 72, 3, 7},
	{3, 56, 17, 1}, // more stages than the ring has
	{8, 33, 8, 2},
	{9, 40, 5, 2},
	{33, 24, 33, 2}, // segments that begin and end in the middle of a stage
	{130, 70, 4, 3},
	{2, 40, 96, 2},
	{4, 16, 5, 5}, // blocks without a row group
}

// TestLinearQuantized holds the products with quantized weights against those with the bfloat16 weights that
// these expand to: the bytes are the same, in every kernel.
func TestLinearQuantized(t *testing.T) {
	b := openKernels(t)
	for i, f := range quantizedFormats(t) {
		weights, _ := f.Block()
		for j, c := range quantizedCases {
			if (checked || onGPU && small()) && (i+j)%3 != 0 {
				continue // a third of the cases
			}
			c.k = ceilDiv(c.k*32, weights) * weights
			b.t = t
			name := fmt.Sprintf("%s tokens=%d rows=%d k=%d blocks=%d", f, c.tokens, c.rows, c.k, c.blocks)
			ok := t.Run(name, func(t *testing.T) {
				b.t = t
				testLinearQuantized(b, c, typeOf(f), uint64(j))
			})
			if !ok {
				return // the device may be lost
			}
		}
	}
}

func testLinearQuantized(b *kernelBench, c linearCase, typ elementType, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	o := newLinearOperands(b, c, typeBF16, seed)
	data, bits := packed(random, typ.format(), 2*c.rows, c.k, 2/math.Sqrt(float64(c.k)))
	b.free(o.wDev)
	w := map[elementType]array{typ: upload(b, data), typeBF16: upload(b, bits)}
	// Only gate_up has both halves of the rows. The array of the others ends where their matrix does.
	half := upload(b, data[:quantBytes(typ.format(), c.rows, c.k)])
	weights := func(e epilogue, stored elementType) devicePtr {
		if e != gateUp && stored == typ {
			return half.devicePtr
		}
		return w[stored].devicePtr
	}

	inputs := upload(b, widened(download[uint16](b, o.normed)))
	compare := func(what string, run func(product), p func(elementType) (product, array)) {
		var results [2][]byte
		for i, stored := range []elementType{typ, typeBF16} {
			p, y := p(stored)
			run(p)
			b.run()
			results[i] = download[byte](b, y)
			b.free(y)
		}
		require.Equal(b.t, results[1], results[0], "%s: not the bytes of bfloat16 weights", what)
	}
	for e := range epilogues {
		if e == gateUp && c.rows%groupRows > 0 {
			continue
		}
		operands := func(n int) func(elementType) (product, array) {
			return func(stored elementType) (product, array) {
				y := o.output(b, e, 0, n)
				p := o.product(e, y, 0, n)
				p.w, p.weight = weights(e, stored), stored
				return p, y
			}
		}
		n := min(c.tokens, decodeTokens)
		compare(productKernel(e, prefill, typ.kind()), func(p product) { b.k.prefill(&b.q, p) },
			operands(c.tokens))
		compare(productKernel(e, decode, typ.kind()), func(p product) { b.k.decode(&b.q, p, c.blocks) },
			operands(n))
		if c.tokens >= decodeTokens {
			compare(productKernel(e, batch, typ.kind()), func(p product) { b.k.batch(&b.q, p, c.blocks) },
				operands(min(c.tokens, batchTokens)))
		}
		if e != addTo {
			compare(productKernel(e, normDecode, typ.kind()), func(p product) {
				p.x, p.norm, p.eps = o.xDev.devicePtr, o.normDev.devicePtr, linearEps
				b.k.decode(&b.q, p, c.blocks)
			}, operands(n))
		}
		compare(referenceKernel(e), func(p product) {
			p.x = inputs.devicePtr
			b.k.reference(&b.q, p)
		}, func(stored elementType) (product, array) {
			y := b.alloc(c.tokens * c.rows * 4)
			if e == addTo {
				y = upload(b, o.before)
			}
			p := o.product(e, y, 0, c.tokens)
			p.w, p.weight = weights(e, stored), stored
			return p, y
		})
	}
	b.free(inputs, o.xDev, o.normDev, o.normed, w[typ], w[typeBF16], half)
}

// TestQuantizedWaits: decode products with quantized weights, each of which reads what the one before it
// wrote, have the same results one after another and overlapped.
func TestQuantizedWaits(t *testing.T) {
	const tokens, hidden, inner, blocks = 2, 96, 64, 2
	b := openKernels(t)
	random := rand.New(rand.NewPCG(9, 3))
	before, norm := normals(random, tokens*hidden, 1), upload(b, normals(random, hidden, 1))
	up, _ := packed(random, weight.Q4_0, 2*inner, hidden, 0.2)
	down, _ := packed(random, weight.Q4_0, hidden, inner, 0.2)
	upDev, downDev, h := upload(b, up), upload(b, down), b.alloc(2*tokens*inner)
	results := func(together bool) []byte {
		x := upload(b, before)
		defer b.free(x)
		b.do(func() error { return b.d.fill(h.devicePtr, poison, h.bytes, b.stream) })
		gates := product{
			epilogue: gateUp, y: h.devicePtr, x: x.devicePtr, norm: norm.devicePtr, eps: linearEps,
			w: upDev.devicePtr, weight: typeOf(weight.Q4_0), tokens: tokens, rows: inner, k: hidden,
		}
		add := product{
			epilogue: addTo, y: x.devicePtr, x: h.devicePtr, w: downDev.devicePtr,
			weight: typeOf(weight.Q4_0), tokens: tokens, rows: hidden, k: inner,
		}
		for _, p := range []product{gates, add, gates, add} {
			b.k.decode(&b.q, p, blocks)
			if !together {
				b.run()
			}
		}
		b.run()
		return download[byte](b, x)
	}
	require.Equal(t, results(false), results(true))
	b.free(norm, upDev, downDev, h)
}
