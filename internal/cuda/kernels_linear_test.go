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

// linearBench is a device for one test, which ends at the first error, with the kernels of this file if the
// test is about them.
type linearBench struct {
	*workbench
	t testing.TB
	k *linearKernels
}

func newLinearBench(t testing.TB) *linearBench {
	return &linearBench{t: t, workbench: newWorkbench(open(t))}
}

func openLinear(t testing.TB) *linearBench {
	b := newLinearBench(t)
	b.do(func() error {
		m, _, err := b.d.loadCode(nil)
		if err != nil {
			return err
		}
		b.k, err = b.d.loadLinearKernels(m)
		return err
	})
	b.check()
	return b
}

// check ends the test if something is wrong.
func (b *linearBench) check() {
	b.t.Helper()
	require.NoError(b.t, b.err, b.at)
	require.Empty(b.t, b.wrong)
}

func (b *linearBench) alloc(size int) array {
	b.t.Helper()
	defer b.check()
	return b.workbench.alloc(size)
}

func upload[T any](b *linearBench, s []T) array {
	b.t.Helper()
	defer b.check()
	return toDevice(b.workbench, s)
}

func download[T any](b *linearBench, a array) []T {
	b.t.Helper()
	defer b.check()
	return fromDevice[T](b.workbench, a)
}

func (b *linearBench) run() {
	b.t.Helper()
	b.workbench.run("")
	b.check()
}

// stored rounds x to what is stored in type e, and gives its value.
func stored(e elementType, x float64) (bits uint16, value float64) {
	significant, lowest := 8, -126 // of a bfloat16: significant bits, least exponent
	if e == typeF16 {
		significant, lowest = 11, -14
	}
	_, exponent := math.Frexp(x)
	ulp := math.Ldexp(1, max(exponent, lowest+1)-significant)
	value = math.RoundToEven(x/ulp) * ulp
	if e == typeBF16 {
		return uint16(math.Float32bits(float32(value)) >> 16), value
	}
	magnitude := math.Abs(value)
	if _, exponent = math.Frexp(magnitude); magnitude == 0 || exponent <= lowest {
		bits = uint16(magnitude * (1 << 24))
	} else {
		bits = uint16(exponent+14)<<10 | uint16(math.Ldexp(magnitude, 11-exponent))&0x3ff
	}
	if math.Signbit(value) {
		bits |= 0x8000
	}
	return bits, value
}

// dots are the dot products of rows of x and rows of w in float64, and the sums of their terms' magnitudes.
func dots(x, w []float64, tokens, rows, k int) (dot, size []float64) {
	dot, size = make([]float64, tokens*rows), make([]float64, tokens*rows)
	parallel(tokens, func(t int) {
		for r := range rows {
			var d, s float64
			for i, v := range x[t*k:][:k] {
				p := v * w[r*k+i]
				d += p
				s += math.Abs(p)
			}
			dot[t*rows+r], size[t*rows+r] = d, s
		}
	})
	return dot, size
}

// requireNear wants every got to be within tolerance(i) of want.
func requireNear(
	t testing.TB, name string, want []float64, got func(i int) float64, tolerance func(i int) float64,
) {
	t.Helper()
	for i, w := range want {
		if g := got(i); !(math.Abs(g-w) <= tolerance(i)) {
			require.FailNow(t, name, "element %d is %g, want %g ± %g", i, g, w, tolerance(i))
		}
	}
}

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
	b := openLinear(t)
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

func testLinear(b *linearBench, c linearCase, typ elementType, seed uint64) {
	const eps = 1e-5
	random := rand.New(rand.NewPCG(seed, 1))
	tokens, rows, k := c.tokens, c.rows, c.k
	x, norm, before := make([]float32, tokens*k), make([]float32, k), make([]float32, tokens*rows)
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	for i := range norm {
		norm[i] = float32(1 + random.NormFloat64()/8)
	}
	for i := range before {
		before[i] = float32(random.NormFloat64())
	}
	w, wBits := make([]float64, 2*rows*k), make([]uint16, 2*rows*k)
	for i := range w {
		wBits[i], w[i] = stored(typ, random.NormFloat64()*2/math.Sqrt(float64(k)))
	}

	xDev, normDev, wDev := upload(b, x), upload(b, norm), upload(b, wBits)
	normed := b.alloc(tokens * k * 2)
	b.k.rmsNorm(&b.q, normed.devicePtr, typeBF16, xDev.devicePtr, normDev.devicePtr, tokens, k, eps)
	b.run()
	inputs := make([]float64, tokens*k)
	for i, bits := range download[uint16](b, normed) {
		inputs[i] = float64(weight.FromBF16(bits))
	}

	// Prefill against float64.
	p := product{
		x: normed.devicePtr, norm: normDev.devicePtr, w: wDev.devicePtr, weight: typ,
		tokens: tokens, rows: rows, k: k, eps: eps,
	}
	linear, linearAdd, gateUp := b.alloc(tokens*rows*4), upload(b, before), b.alloc(tokens*rows*2)
	for y, f := range map[array]func(*queue, product){
		linear: b.k.linearPrefill, linearAdd: b.k.linearAddPrefill, gateUp: b.k.gateUpPrefill,
	} {
		p.y = y.devicePtr
		f(&b.q, p)
	}
	b.run()
	sums, gated := download[float32](b, linear), download[uint16](b, gateUp)
	added := download[float32](b, linearAdd)
	dot, size := dots(inputs, w[:rows*k], tokens, rows, k)
	up, upSize := dots(inputs, w[rows*k:], tokens, rows, k)
	// a forgotten term is about 1/k of size, a forgotten low half of f16 2⁻¹⁰
	rounding := func(i int) float64 { return size[i] * 4e-6 }
	requireNear(b.t, "linear_prefill", dot, func(i int) float64 { return float64(sums[i]) }, rounding)
	requireNear(b.t, "linear_add_prefill", dot,
		func(i int) float64 { return float64(added[i]) - float64(before[i]) },
		func(i int) float64 { return rounding(i) + math.Abs(float64(added[i]))*1e-7 + 1e-7 })
	gatedWant := make([]float64, len(dot))
	for i, g := range dot {
		gatedWant[i] = silu64(g) * up[i]
	}
	requireNear(b.t, "gate_up_prefill", gatedWant, func(i int) float64 { return float64(weight.FromBF16(gated[i])) },
		func(i int) float64 {
			return math.Abs(gatedWant[i])/256 + 1e-5*(size[i]+1)*(upSize[i]+1)
		})

	// Decode against prefill, up to 8 tokens at a time.
	for first := 0; first < tokens; first += 8 {
		n := min(8, tokens-first)
		p.tokens = n
		p.x = normed.devicePtr + devicePtr(first*k*2)
		fused := p
		fused.x = xDev.devicePtr + devicePtr(first*k*4)
		for _, kernel := range []struct {
			name   string
			launch func(*queue, product, int)
			p      product
			want   any
			before []float32 // of y, for add
		}{
			{"linear_decode", b.k.linearDecode, p, sums[first*rows:][:n*rows], nil},
			{"norm_linear_decode", b.k.normLinearDecode, fused, sums[first*rows:][:n*rows], nil},
			{
				"linear_add_decode", b.k.linearAddDecode, p, added[first*rows:][:n*rows],
				before[first*rows:][:n*rows],
			},
			{"gate_up_decode", b.k.gateUpDecode, p, gated[first*rows:][:n*rows], nil},
			{"norm_gate_up_decode", b.k.normGateUpDecode, fused, gated[first*rows:][:n*rows], nil},
		} {
			var y array
			switch {
			case kernel.before != nil:
				y = upload(b, kernel.before)
			case kernel.name == "gate_up_decode" || kernel.name == "norm_gate_up_decode":
				y = b.alloc(n * rows * 2)
			default:
				y = b.alloc(n * rows * 4)
			}
			kernel.p.y = y.devicePtr
			kernel.launch(&b.q, kernel.p, c.blocks)
			b.run()
			var got any
			if _, narrow := kernel.want.([]uint16); narrow {
				got = download[uint16](b, y)
			} else {
				got = download[float32](b, y)
			}
			require.Equal(b.t, kernel.want, got, "%s of tokens %d … %d: not the bytes of prefill",
				kernel.name, first, first+n-1)
			b.free(y)
		}
		if first >= 16 { // and the last tokens
			first = max(first, (tokens-1)/8*8-8)
		}
	}
	b.free(xDev, normDev, wDev, normed, linear, linearAdd, gateUp)
}

// TestLinearSpecials: weights that a format can store but random ones seldom are. Subnormal ones count as
// what they are, in decode, in prefill and in the reference.
func TestLinearSpecials(t *testing.T) {
	const rows, k, prefill = 16, 64, decodeTokens + 1
	b := openLinear(t)
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
			"decode":    func(p product) { b.k.linearDecode(&b.q, p, 1) },
			"prefill":   func(p product) { b.k.linearPrefill(&b.q, p) },
			"reference": func(p product) { p.x = wideDev.devicePtr; b.k.referenceLinear(&b.q, p, false) },
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

func TestRMSNorm(t *testing.T) {
	const eps = 1e-5
	b := openLinear(t)
	random := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct{ tokens, cols int }{
		{1, 1},
		{3, 7},
		{2, 8},
		{1, 1023},
		{5, 1024},
		{2, 3072},
		{1, 5121},
	} {
		x, norm := make([]float32, c.tokens*c.cols), make([]float32, c.cols)
		for i := range x {
			x[i] = float32(random.NormFloat64() * 3)
		}
		for i := range norm {
			norm[i] = float32(random.NormFloat64())
		}
		want := make([]float64, len(x))
		for t := range c.tokens {
			var squares float64
			for _, v := range x[t*c.cols:][:c.cols] {
				squares += float64(v) * float64(v)
			}
			for i, v := range x[t*c.cols:][:c.cols] {
				want[t*c.cols+i] = float64(v) / math.Sqrt(squares/float64(c.cols)+eps) * float64(norm[i])
			}
		}
		xDev, normDev, exact, narrow := upload(b, x), upload(b, norm), b.alloc(len(x)*4), b.alloc(len(x)*2)
		b.k.rmsNorm(&b.q, exact.devicePtr, typeF32, xDev.devicePtr, normDev.devicePtr, c.tokens, c.cols, eps)
		b.k.rmsNorm(&b.q, narrow.devicePtr, typeBF16, xDev.devicePtr, normDev.devicePtr, c.tokens, c.cols,
			eps)
		b.run()
		got := download[float32](b, exact)
		requireNear(t, fmt.Sprint("float32 ", c), want, func(i int) float64 { return float64(got[i]) },
			func(i int) float64 { return math.Abs(want[i]) * 5e-7 })
		rounded := make([]uint16, len(got))
		for i, v := range got {
			rounded[i], _ = stored(typeBF16, float64(v))
		}
		require.Equal(t, rounded, download[uint16](b, narrow), "bfloat16 %v", c)
		b.free(xDev, normDev, exact, narrow)
	}
}

func TestReferenceLinear(t *testing.T) {
	b := openLinear(t)
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
			p.y = y.devicePtr
			b.k.referenceLinear(&b.q, p, false)
			p.y = added.devicePtr
			b.k.referenceLinear(&b.q, p, true)
			p.y = gated.devicePtr
			b.k.referenceGateUp(&b.q, p)
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

func TestArgmax(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	type change struct {
		id    int
		logit float32
	}
	// Rows of 2000 logits that are 0, but for some.
	rows := []struct {
		name    string
		changes []change
		want    int32
	}{
		{"all equal", nil, 0},
		{"last", []change{{1999, 5}}, 1999},
		{"tie", []change{{700, 5}, {701, 5}, {1024 + 700, 5}, {300, 4}}, 700},
		{"tie far apart", []change{{1023, 5}, {1024, 5}}, 1023},
		{"negative zero is zero", []change{{0, float32(math.Copysign(0, -1))}}, 0},
		{"NaN", []change{{9, nan}, {4, 7}}, ^9},
		{"first of NaN and infinities", []change{{1900, nan}, {1033, inf}, {1800, -inf}}, ^1033},
		{"-infinity", []change{{1999, -inf}, {5, 3}}, ^1999},
		{"NaN at 0", []change{{0, nan}}, ^0},
		{"greatest float", []change{{77, math.MaxFloat32}, {78, -math.MaxFloat32}}, 77},
	}
	b := openLinear(t)
	const vocab = 2000
	logits := make([]float32, len(rows)*vocab)
	want := make([]int32, len(rows))
	for r, row := range rows {
		for _, c := range row.changes {
			logits[r*vocab+c.id] = c.logit
		}
		want[r] = row.want
	}
	check := func(logits []float32, vocab int, want []int32) {
		dev, next := upload(b, logits), b.alloc(4*len(want))
		b.k.argmax(&b.q, next.devicePtr, dev.devicePtr, len(want), vocab)
		b.run()
		require.Equal(t, want, download[int32](b, next), "vocab %d", vocab)
		b.free(dev, next)
	}
	check(logits, vocab, want)
	random := rand.New(rand.NewPCG(5, 5))
	for _, vocab := range []int{1, 2, 31, 1023, 1025, 32064} {
		logits, want := make([]float32, 3*vocab), make([]int32, 3)
		for i := range logits {
			// all negative: what threads without a logit start from must not win
			logits[i] = -1 - random.Float32()
			if r := i / vocab; logits[i] > logits[r*vocab+int(want[r])] {
				want[r] = int32(i % vocab)
			}
		}
		check(logits, vocab, want)
	}
}

// A decode step queues some 160 launches, again and again.
func TestQueueAllocatesNothing(t *testing.T) {
	k, q := &linearKernels{}, make(queue, 0, 4)
	p := product{tokens: 1, rows: 9216, k: 3072}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q = q[:0]
		k.normLinearDecode(&q, p, 264)
		k.linearAddPrefill(&q, p)
		k.rmsNorm(&q, 0, typeBF16, 0, 0, 1, 3072, 1e-5)
		k.argmax(&q, 0, 0, 1, 32064)
	}))
}

func BenchmarkQueue(b *testing.B) {
	k, q := &linearKernels{}, make(queue, 0, 1)
	p := product{tokens: 1, rows: 9216, k: 3072}
	for b.Loop() {
		q = q[:0]
		k.normLinearDecode(&q, p, 264)
	}
}
