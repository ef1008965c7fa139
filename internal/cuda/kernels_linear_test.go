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

type linearCase struct {
	tokens, rows, k, blocks int
}

// Every awkward number at least once with each of the others' kinds: less than, exactly and just over a tile,
// a step, a segment.
var linearCases = []linearCase{
	{1, 1, 8, 1},
	{1, 331, 72, 7},
	{2, 7, 64, 3},
	{7, 16, 136, 1},
	{8, 17, 192, 3},
	{9, 131, 520, 7},
	{31, 64, 576, 2},
	{33, 20, 1032, 2},
	{127, 131, 64, 40},
	{128, 7, 520, 1},
	{129, 331, 136, 3},
	{200, 17, 192, 2},
	{3, 40, 3072, 2},
	{1, 32064, 8, 40},
}

// Those for the checked build of the emulator, which watches every access.
var linearCasesChecked = []linearCase{
	{1, 1, 8, 1},
	{1, 75, 72, 7},
	{3, 49, 584, 1}, // more stages than the ring has
	{8, 33, 1032, 2},
	{9, 40, 72, 2},
	{33, 20, 1032, 2},
	{130, 70, 136, 3},
	{2, 40, 3072, 2},
}

// TestLinear holds the matrix products against float64, and against each other: in decode and in prefill,
// with the norm inside or before it, and on any grid, the bytes are the same.
func TestLinear(t *testing.T) {
	cases := linearCases
	if checked || onGPU && small() {
		cases = linearCasesChecked
	}
	b := openKernels(t)
	for i, c := range cases {
		for weight, name := range []string{typeBF16: "bf16", typeF16: "f16"} {
			b.t = t
			ok := t.Run(fmt.Sprintf("%s tokens=%d rows=%d k=%d blocks=%d", name, c.tokens, c.rows, c.k,
				c.blocks), func(t *testing.T) {
				b.t = t
				testLinear(b, c, elementType(weight), uint64(i))
			})
			if !ok {
				return // the device may be lost
			}
		}
	}
}

// linearOperands is a case's random numbers, here and on the device.
type linearOperands struct {
	linearCase
	typ    elementType // of w
	before []float32   // [tokens, rows], that addTo adds to
	inputs []float64   // [tokens, k]: RMSNorm(x)·norm, rounded to bfloat16
	w      []float64   // [2·rows, k]

	xDev, normDev, wDev, normed array
}

const linearEps = 1e-5

func newLinearOperands(b *kernelBench, c linearCase, typ elementType, seed uint64) *linearOperands {
	random := rand.New(rand.NewPCG(seed, 1))
	tokens, rows, k := c.tokens, c.rows, c.k
	o := &linearOperands{linearCase: c, typ: typ}
	x, norm := make([]float32, tokens*k), make([]float32, k)
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	for i := range norm {
		norm[i] = float32(1 + random.NormFloat64()/8)
	}
	o.before = normals(random, tokens*rows, 1)
	bits := make([]uint16, 2*rows*k)
	o.w = make([]float64, len(bits))
	for i := range o.w {
		bits[i], o.w[i] = stored(typ, random.NormFloat64()*2/math.Sqrt(float64(k)))
	}

	o.xDev, o.normDev, o.wDev = upload(b, x), upload(b, norm), upload(b, bits)
	o.normed = b.alloc(tokens * k * 2)
	b.k.rmsNorm(&b.q, rowNorm{
		y: o.normed.devicePtr, typ: typeBF16, x: o.xDev.devicePtr, norm: o.normDev.devicePtr,
		tokens: tokens, cols: k, eps: linearEps,
	})
	b.run()
	o.inputs = make([]float64, tokens*k)
	for i, bits := range download[uint16](b, o.normed) {
		o.inputs[i] = float64(weight.FromBF16(bits))
	}
	return o
}

// product is one of n tokens from first on.
func (o *linearOperands) product(e epilogue, y array, first, n int) product {
	return product{
		epilogue: e, y: y.devicePtr, x: o.normed.devicePtr + devicePtr(first*o.k*2), w: o.wDev.devicePtr,
		weight: o.typ, tokens: n, rows: o.rows, k: o.k,
	}
}

// output is memory for the results of n tokens from first on.
func (o *linearOperands) output(b *kernelBench, e epilogue, first, n int) array {
	switch e {
	case addTo:
		return upload(b, o.before[first*o.rows:][:n*o.rows])
	case gateUp:
		return b.alloc(n * o.rows * 2)
	}
	return b.alloc(n * o.rows * 4)
}

func testLinear(b *kernelBench, c linearCase, typ elementType, seed uint64) {
	o := newLinearOperands(b, c, typ, seed)
	prefilled := testLinearPrefill(b, o)
	for first := 0; first < c.tokens; first += decodeTokens {
		testLinearDecode(b, o, prefilled, first, min(decodeTokens, c.tokens-first))
		if first >= 16 { // and the last tokens
			first = max(first, (c.tokens-1)/8*8-8)
		}
	}
	b.free(o.xDev, o.normDev, o.wDev, o.normed)
}

// testLinearPrefill compares prefill with float64. It returns the bytes of the results.
func testLinearPrefill(b *kernelBench, o *linearOperands) (results [epilogues][]byte) {
	var ys [epilogues]array
	for e := range epilogues {
		ys[e] = o.output(b, e, 0, o.tokens)
		b.k.prefill(&b.q, o.product(e, ys[e], 0, o.tokens))
	}
	b.run()
	sums, added := download[float32](b, ys[store]), download[float32](b, ys[addTo])
	gated := download[uint16](b, ys[gateUp])
	dot, size := dots(o.inputs, o.w[:o.rows*o.k], o.tokens, o.rows, o.k)
	up, upSize := dots(o.inputs, o.w[o.rows*o.k:], o.tokens, o.rows, o.k)
	// A forgotten term is about 1/k of size, a forgotten low half of f16 2⁻¹⁰.
	rounding := func(i int) float64 { return size[i] * 4e-6 }
	requireNear(b.t, "linear_prefill", dot, func(i int) float64 { return float64(sums[i]) }, rounding)
	requireNear(b.t, "linear_add_prefill", dot,
		func(i int) float64 { return float64(added[i]) - float64(o.before[i]) },
		func(i int) float64 { return rounding(i) + math.Abs(float64(added[i]))*1e-7 + 1e-7 })
	gatedWant := make([]float64, len(dot))
	for i, g := range dot {
		gatedWant[i] = silu64(g) * up[i]
	}
	requireNear(b.t, "gate_up_prefill", gatedWant,
		func(i int) float64 { return float64(weight.FromBF16(gated[i])) },
		func(i int) float64 {
			return math.Abs(gatedWant[i])/256 + 1e-5*(size[i]+1)*(upSize[i]+1)
		})
	b.free(ys[:]...)
	return [epilogues][]byte{store: bytesOf(sums), addTo: bytesOf(added), gateUp: bytesOf(gated)}
}

// testLinearDecode compares decode of n tokens with prefill.
func testLinearDecode(b *kernelBench, o *linearOperands, prefilled [epilogues][]byte, first, n int) {
	for e := range epilogues {
		for _, v := range []phase{decode, normDecode} {
			if e == addTo && v == normDecode {
				continue
			}
			y := o.output(b, e, first, n)
			p := o.product(e, y, first, n)
			if v == normDecode {
				p.x = o.xDev.devicePtr + devicePtr(first*o.k*4)
				p.norm, p.eps = o.normDev.devicePtr, linearEps
			}
			p.stages = wideStages // and 4 where this is too much, or for an odd number of tokens
			if n%2 == 1 || p.shared() > b.k.maxShared {
				p.stages = decodeStages
			}
			b.k.decode(&b.q, p, o.blocks)
			b.run()
			row := len(prefilled[e]) / o.tokens
			require.Equal(b.t, prefilled[e][first*row:][:n*row], download[byte](b, y),
				"%s of tokens %d … %d: not the bytes of prefill", productKernel(e, v, o.typ.kind()), first,
				first+n-1)
			b.free(y)
		}
	}
}

// TestLinearSpecials: weights that a format can store but random ones seldom are. Subnormal ones count as
// what they are, in decode, in prefill and in the reference.
func TestLinearSpecials(t *testing.T) {
	const rows, k, prefill = 16, 64, decodeTokens + 1
	b := openKernels(t)
	for weight, values := range map[elementType][]float64{
		typeBF16: {0, 1, -1, 0x1p-126, 0x1p-133, -0x1.fep127},
		// Subnormals, the least and the greatest; numbers whose rounding to bfloat16 goes up, down, and to
		// even.
		typeF16: {
			0, 1, -1, 0x1p-24, -0x3ffp-24, 65504, 1 + 0x1p-10, 1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x7p-10,
			-2047,
		},
	} {
		bits, want := make([]uint16, rows*k), make([]float32, rows)
		x, wide := make([]uint16, prefill*k), make([]float32, prefill*k)
		for i := range x {
			x[i], wide[i] = 0x3f80, 1
		}
		for r := range rows { // one weight in a row: nothing else is rounded
			value := values[r%len(values)]
			bits[r*k+r], _ = stored(weight, value)
			want[r] = float32(value)
		}
		xDev, wideDev, w := upload(b, x), upload(b, wide), upload(b, bits)
		for name, run := range map[string]func(p product){
			"decode":    func(p product) { b.k.decode(&b.q, p, 1) },
			"prefill":   func(p product) { b.k.prefill(&b.q, p) },
			"reference": func(p product) { p.x = wideDev.devicePtr; b.k.reference(&b.q, p) },
		} {
			tokens := 1
			if name == "prefill" {
				tokens = prefill
			}
			y := b.alloc(tokens * rows * 4)
			run(product{
				y: y.devicePtr, x: xDev.devicePtr, w: w.devicePtr, weight: weight, tokens: tokens,
				rows: rows, k: k,
			})
			b.run()
			require.Equal(t, slices.Repeat(want, tokens), download[float32](b, y), "%s, type %d", name,
				weight)
			b.free(y)
		}
		b.free(xDev, wideDev, w)
	}
}

func TestReferenceLinear(t *testing.T) {
	b := openKernels(t)
	random := rand.New(rand.NewPCG(4, 4))
	for _, c := range []struct{ tokens, rows, k int }{{1, 1, 8}, {3, 5, 72}, {9, 17, 520}, {2, 4, 33}} {
		for _, weight := range []elementType{typeBF16, typeF16, typeF32} {
			x, before := make([]float32, c.tokens*c.k), make([]float32, c.tokens*c.rows)
			x64, w64 := make([]float64, len(x)), make([]float64, 2*c.rows*c.k)
			for i := range x {
				x[i] = float32(random.NormFloat64())
				x64[i] = float64(x[i])
			}
			for i := range before {
				before[i] = float32(random.NormFloat64())
			}
			narrow, wide := make([]uint16, len(w64)), make([]float32, len(w64))
			for i := range w64 {
				v := random.NormFloat64()
				if weight == typeF32 {
					wide[i] = float32(v)
					w64[i] = float64(wide[i])
				} else {
					narrow[i], w64[i] = stored(weight, v)
				}
			}
			w := upload(b, narrow)
			if weight == typeF32 {
				b.free(w)
				w = upload(b, wide)
			}
			xDev, y, added, gated := upload(b, x), b.alloc(len(before)*4), upload(b,
				before), b.alloc(len(before)*4)
			p := product{
				x: xDev.devicePtr, w: w.devicePtr, weight: weight, tokens: c.tokens, rows: c.rows,
				k: c.k,
			}
			for e, out := range [epilogues]array{store: y, addTo: added, gateUp: gated} {
				p.epilogue, p.y = epilogue(e), out.devicePtr
				b.k.reference(&b.q, p)
			}
			b.run()

			dot, size := dots(x64, w64[:c.rows*c.k], c.tokens, c.rows, c.k)
			up, upSize := dots(x64, w64[c.rows*c.k:], c.tokens, c.rows, c.k)
			name := fmt.Sprintf("%v type %d", c, weight)
			got := download[float32](b, y)
			requireNear(t, name, dot, func(i int) float64 { return float64(got[i]) },
				func(i int) float64 { return size[i] * 1e-6 })
			sum := make([]float32, len(got))
			for i := range got {
				sum[i] = before[i] + got[i]
			}
			require.Equal(t, sum, download[float32](b, added), name)
			gatedWant := make([]float64, len(dot))
			for i, g := range dot {
				gatedWant[i] = silu64(g) * up[i]
			}
			got = download[float32](b, gated)
			requireNear(t, name, gatedWant, func(i int) float64 { return float64(got[i]) },
				func(i int) float64 { return 2e-6 * (size[i] + 1) * (upSize[i] + 1) })
			b.free(xDev, w, y, added, gated)
		}
	}
}
