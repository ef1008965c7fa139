//go:build cuda && linux && cgo

package cuda

/*
#include "args.h"
*/
import "C"

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/x448/float16"

	"phi3/internal/tensorcore"
	"phi3/internal/weight"
)

// The self-test of tensor cores and of the matrix products that use them.

func linearChecks() []kernelGroup {
	const sums = "tensor cores as described, reference_linear"
	const silu = "the described sums through float64, reference_gate_up"
	products := kernelGroup{run: (*tester).products}
	for _, l := range []struct {
		name, against string
		best          Verdict
	}{
		{"linear_prefill", sums, VerdictExact},
		{"linear_add_prefill", sums, VerdictExact},
		{"gate_up_prefill", silu, VerdictOK},
		{"linear_decode", sums + ", prefill", VerdictExact},
		{"norm_linear_decode", sums + ", prefill", VerdictExact},
		{"linear_add_decode", sums + ", prefill", VerdictExact},
		{"gate_up_decode", silu + ", prefill", VerdictOK},
		{"norm_gate_up_decode", silu + ", prefill", VerdictOK},
	} {
		for _, suffix := range []string{"_bf16", "_f16"} {
			products.kernels = append(products.kernels, kernelCheck{l.name + suffix, l.best, l.against})
		}
	}
	tensorCores := kernelGroup{
		kernels: []kernelCheck{{TensorCores, VerdictExact, "the published description, float64"}},
		run:     (*tester).tensorCores,
	}
	return []kernelGroup{tensorCores, products}
}

// ---- Tensor cores ----------------------------------------------------------------------

// tensorCores sends numbers of every kind through one mma, and through two, of which the first makes the sum
// that the second adds to. The products with so few columns are nothing but these: the other mmas of their
// step add zeros.
func (t *tester) tensorCores() {
	const rows = 64
	of := t.of(TensorCores)
	for i, kind := range tensorcore.Kinds {
		of.ran("%s", kind.Name)
		for _, c := range []struct {
			kernel    string
			tokens, k int
		}{
			{"linear_decode_bf16", 8, 16},
			{"linear_decode_bf16", 8, 32},
			{"linear_prefill_bf16", 36, 16},
			{"linear_prefill_bf16", 36, 32},
		} {
			in := kind.Draw(rand.New(rand.NewPCG(uint64(i), uint64(c.k))), rows, c.tokens, c.k)
			w, x := in.A, in.B // a product's sums start at 0, so in.C is not used
			xDev, wDev, y := toDevice(t.workbench, x), toDevice(t.workbench, w), t.alloc(c.tokens*rows*4)
			p := product{
				y: y.devicePtr, x: xDev.devicePtr, w: wDev.devicePtr, weight: typeBF16,
				tokens: c.tokens, rows: rows, k: c.k,
			}
			if c.tokens <= decodeTokens {
				t.k.linearDecode(&t.q, p, rows/16)
			} else {
				t.k.linearPrefill(&t.q, p)
			}
			t.run(c.kernel)
			got, want := fromDevice[float32](t.workbench, y), make([]float32, c.tokens*rows)
			for i := range want {
				want[i] = 0 + t.sums.Dot(x[i/rows*c.k:][:c.k], w[i%rows*c.k:][:c.k])
			}
			where := fmt.Sprintf("%s, %d mma in %s", kind.Name, c.k/16, c.kernel)
			of.described(got, want)
			for i := range got {
				of.roundedSum(where, i, got[i], x[i/rows*c.k:][:c.k], w[i%rows*c.k:][:c.k])
			}
			t.settle(TensorCores, where)
			t.free(xDev, wDev, y)
		}
	}
	for _, form := range []string{"1 and 2 mma", "decode and prefill"} {
		of.ran("%s", form)
	}
}

// roundedSum wants a sum that some tensor core or other could give: finite ones within 2⁻²⁰ of the largest
// magnitude in each of 16 terms, where 2⁻²⁴ is usual; infinities and NaN where float64 has them.
func (t *tally) roundedSum(where string, i int, got float32, x, w []uint16) {
	// largest is of the finite terms. Where these are aligned, zeros and subnormal numbers count as 2⁻¹²⁶.
	var sum, largest float64
	for j := range x {
		a, b := float64(weight.FromBF16(x[j])), float64(weight.FromBF16(w[j]))
		sum += a * b
		if !math.IsInf(a*b, 0) && a == a && b == b {
			largest = max(largest, max(math.Abs(a), 0x1p-126)*max(math.Abs(b), 0x1p-126))
		}
	}
	const edge = math.MaxFloat32 / 32 // of larger terms, some orders of adding make infinities
	switch {
	case largest > edge:
	case math.IsNaN(sum) || math.IsInf(sum, 0):
		if bits32(got) != bits32(float32(sum)) {
			t.fail("%s: sum %d is %g, not %g", where, i, got, sum)
		}
	case !t.within(math.Abs(float64(got)-sum), largest*float64(len(x))*0x1p-20+0x1p-149):
		t.fail("%s: sum %d is %g, and float64 has %g", where, i, got, sum)
	}
}

// ---- Products ----------------------------------------------------------------------

// productSizes have every awkward number: fewer than, exactly and just over a tile, a step, a segment. The
// last three fill the GPU: every block of decode goes through several tiles, and every segment through more
// steps than its ring has stages.
func (t *tester) productSizes() []productSize {
	many := 4*C.LINEAR_DECODE_TILE*t.d.multiprocessors + 5
	return []productSize{
		{1, 1, 8},
		{2, 7, 64},
		{7, 17, 72},
		{8, 131, 520},
		{9, 131, 136},
		{33, 20, 1032},
		{128, 7, 136},
		{129, 150, 72},
		{1, many, 3072},
		{4, many, 3072},
		{200, many, 520},
	}
}

// products runs all of them, decode and prefill with the norm inside and outside, on the same numbers.
func (t *tester) products() {
	for i, size := range t.productSizes() {
		for _, weight := range []elementType{typeBF16, typeF16} {
			if t.stop() {
				return
			}
			t.product(size, weight, uint64(i))
		}
	}
}

// productCase is one size and type of weights, with what is known of the results.
type productCase struct {
	productSize
	where, suffix string
	weight        elementType

	xDev, normDev, wDev, normedDev array // x [tokens, k] float32, norm [k], w, inputs

	inputs         []uint16  // [tokens, k] bfloat16: RMSNorm(x)·norm
	before         []float32 // [tokens, rows], that linear_add adds to
	w              []uint16  // [2·rows, k], of weight
	xNorm, wNorm   []float64 // of each token and weight row: rounding errors grow with their product
	referenceSum   []float32 // [tokens, rows]
	referenceGated []float32 // [tokens, rows]
	chosen         []int     // outputs that are computed on the host, too, and there:
	sum, up        []float32 // with the output's row of w, and with the row that is its up if it is a gate
}

const productEps = 1e-5

// bitsOf are the bits of results, bfloat16 or float32.
type bitsOf []uint32

// product judges all products of one size and type of weights.
func (t *tester) product(size productSize, weight elementType, seed uint64) {
	c := t.newProductCase(size, weight, seed)
	t.reference(c)
	t.describe(c)
	prefilled := t.prefill(c)
	t.decode(c, prefilled)
	t.free(c.xDev, c.normDev, c.wDev, c.normedDev)
}

// newProductCase draws the numbers and brings them to the GPU. x is normalised there.
func (t *tester) newProductCase(size productSize, weight elementType, seed uint64) *productCase {
	random := rand.New(rand.NewPCG(seed, 6))
	tokens, rows, k := size.tokens, size.rows, size.k
	c := &productCase{
		productSize: size, where: size.String(), weight: weight,
		suffix: "_" + typeNames[weight],
	}
	c.before = normals(random, tokens*rows, 1)
	// Of many weights only the first are drawn, and repeated: drawing all takes longer than a GPU's test. As
	// many as are a prime number, so that rows differ.
	const drawn = 65521
	bits, values := stored16(weight, normals(random, min(2*rows*k, drawn), 2/math.Sqrt(float64(k))))
	c.w = repeated(bits, 2*rows*k)
	c.wNorm = lengths(repeated(values, 2*rows*k), k)
	norm := normals(random, k, 1.0/8)
	for i := range norm {
		norm[i]++
	}
	c.xDev = toDevice(t.workbench, normals(random, tokens*k, 1))
	c.normDev, c.wDev = toDevice(t.workbench, norm), toDevice(t.workbench, c.w)
	c.normedDev = t.alloc(tokens * k * 2)
	normed := c.normedDev.devicePtr
	t.k.rmsNorm(&t.q, normed, typeBF16, c.xDev.devicePtr, c.normDev.devicePtr, tokens, k, productEps)
	t.run("rms_norm")
	c.inputs = fromDevice[uint16](t.workbench, c.normedDev)
	c.xNorm = lengths(widened(c.inputs), k)

	const most = 1000
	for i := range min(most, tokens*rows) {
		if tokens*rows > most {
			i = random.IntN(tokens * rows)
		}
		c.chosen = append(c.chosen, i)
	}
	return c
}

// operands are those of a product of the first tokens, whose input is not normalised inside.
func (c *productCase) operands(tokens int) product {
	return product{
		x: c.normedDev.devicePtr, norm: c.normDev.devicePtr, w: c.wDev.devicePtr, weight: c.weight,
		tokens: tokens, rows: c.rows, k: c.k, eps: productEps,
	}
}

// reference runs the reference kernels.
func (t *tester) reference(c *productCase) {
	inputs, y := toDevice(t.workbench, widened(c.inputs)), t.alloc(c.tokens*c.rows*4)
	p := c.operands(c.tokens)
	p.x, p.y = inputs.devicePtr, y.devicePtr
	t.k.referenceLinear(&t.q, p, false)
	t.run("reference_linear")
	c.referenceSum = fromDevice[float32](t.workbench, y)
	t.k.referenceGateUp(&t.q, p)
	t.run("reference_gate_up")
	c.referenceGated = fromDevice[float32](t.workbench, y)
	t.free(inputs, y)
}

// prefill judges the products of many tokens, which take few, too. It returns the results of each operation.
func (t *tester) prefill(c *productCase) map[string]bitsOf {
	results := map[string]bitsOf{}
	for _, prefill := range []struct {
		operation string
		launch    func(*queue, product)
	}{
		{"linear", t.k.linearPrefill},
		{"linear_add", t.k.linearAddPrefill},
		{"gate_up", t.k.gateUpPrefill},
	} {
		name := prefill.operation + "_prefill" + c.suffix
		y, p := t.output(c, prefill.operation, c.tokens), c.operands(c.tokens)
		p.y = y.devicePtr
		prefill.launch(&t.q, p)
		t.run(name)
		t.of(name).ran("%s", c.where)
		results[prefill.operation] = t.judgeProduct(c, t.of(name), c.where, prefill.operation, y, c.tokens)
		t.settle(name, c.where)
		t.free(y)
	}
	return results
}

// decode judges the products of up to 8 tokens, on several grids.
func (t *tester) decode(c *productCase, prefilled map[string]bitsOf) {
	tokens, tiles := min(c.tokens, decodeTokens), decodeTiles(c.rows)
	// One block, unless that takes long; a number that does not divide the tiles; and two a multiprocessor.
	grids := distinct(min(tiles, 2*t.d.multiprocessors), min(tiles, 7))
	if c.rows < 1000 {
		grids = distinct(append(grids, 1)...)
	}
	for _, decode := range []struct {
		name, operation string
		launch          func(*queue, product, int)
		norm            bool
	}{
		{"linear_decode", "linear", t.k.linearDecode, false},
		{"norm_linear_decode", "linear", t.k.normLinearDecode, true},
		{"linear_add_decode", "linear_add", t.k.linearAddDecode, false},
		{"gate_up_decode", "gate_up", t.k.gateUpDecode, false},
		{"norm_gate_up_decode", "gate_up", t.k.normGateUpDecode, true},
	} {
		if decode.norm && !t.k.normFits(tokens, c.k) { // the backend runs the kernel without the norm then
			continue
		}
		name := decode.name + c.suffix
		of := t.of(name)
		of.ran("%d×%d×%d on %s", tokens, c.rows, c.k, blocksText(grids))
		for _, blocks := range grids {
			y, p := t.output(c, decode.operation, tokens), c.operands(tokens)
			p.y = y.devicePtr
			if decode.norm {
				p.x = c.xDev.devicePtr
			}
			decode.launch(&t.q, p, blocks)
			t.run(name)
			where := fmt.Sprintf("%d×%d×%d on %d blocks", tokens, c.rows, c.k, blocks)
			got := t.judgeProduct(c, of, where, decode.operation, y, tokens)
			if t.trusted(decode.operation + "_prefill" + c.suffix) {
				same(of, "the bytes of prefill", where, got, prefilled[decode.operation][:len(got)])
			}
			t.settle(name, where)
			t.free(y)
		}
	}
}

// trusted tells whether nothing was found wrong with a kernel, so that others can be compared with it.
func (t *tester) trusted(kernel string) bool {
	of := t.of(kernel)
	return of == nil || of.problem == ""
}

// output is an array for a product's results.
func (t *tester) output(c *productCase, operation string, tokens int) array {
	switch operation {
	case "gate_up":
		return t.alloc(tokens * c.rows * 2)
	case "linear_add":
		return toDevice(t.workbench, c.before[:tokens*c.rows])
	}
	return t.alloc(tokens * c.rows * 4)
}

// describe computes the chosen outputs as tensor cores are described.
func (t *tester) describe(c *productCase) {
	c.sum, c.up = make([]float32, len(c.chosen)), make([]float32, len(c.chosen))
	parallel(len(c.chosen), func(i int) {
		token, row := c.chosen[i]/c.rows, c.chosen[i]%c.rows
		x := c.inputs[token*c.k:][:c.k]
		c.sum[i] = productSum(t.sums, x, c.w[row*c.k:][:c.k], c.weight)
		c.up[i] = productSum(t.sums, x, c.w[(c.rows+row)*c.k:][:c.k], c.weight)
	})
}

// productSum is one output of a product, bit for bit: kernels/linear.cuh.
func productSum(a tensorcore.Arch, x, w []uint16, typ elementType) float32 {
	const tile = tensorcore.K
	steps := ceilDiv(len(x), C.K_STEP)
	segment := C.K_STEP * ceilDiv(steps, C.K_SEGMENTS)
	var total float32
	for first := 0; first < len(x); first += segment {
		var sum float32
		for at := first; at < min(first+segment, len(x)); at += tile {
			var xs, high, low [tile]uint16 // zeros from column k on
			n := copy(xs[:], x[at:])
			copy(high[:], w[at:])
			if typ == typeF16 { // as two bfloat16 numbers, the greater first
				for i := range n {
					v := float16.Frombits(w[at+i]).Float32()
					high[i] = weight.ToBF16(v)
					low[i] = weight.ToBF16(v - weight.FromBF16(high[i]))
				}
			}
			if sum = a.DotAdd(sum, high[:], xs[:]); typ == typeF16 {
				sum = a.DotAdd(sum, low[:], xs[:])
			}
		}
		total += sum
	}
	return total
}

// judgeProduct compares the results of one operation for the first tokens with all that is known of them, and
// returns their bits.
func (t *tester) judgeProduct(
	c *productCase, of *tally, where, operation string, y array, tokens int,
) (results bitsOf) {
	n := tokens * c.rows
	var got []float32
	if operation == "gate_up" {
		narrow := fromDevice[uint16](t.workbench, y)
		got = widened(narrow)
		for _, v := range narrow {
			results = append(results, uint32(v))
		}
	} else {
		got = fromDevice[float32](t.workbench, y)
		for _, v := range got {
			results = append(results, math.Float32bits(v))
		}
	}
	if t.err != nil {
		return results
	}

	// Sums in another order differ by some 1e-7 of their terms' magnitudes for every rounding. A forgotten
	// term is about 1/k of these.
	rounding := func(i, row int) float64 { return 4e-6 * c.xNorm[i/c.rows] * c.wNorm[row] }
	var wantBits, gotBits []float32 // of the chosen outputs
	switch operation {
	case "linear", "linear_add":
		for j, i := range c.chosen {
			if i < n {
				want := c.sum[j]
				if operation == "linear_add" {
					want += c.before[i]
				}
				wantBits, gotBits = append(wantBits, want), append(gotBits, got[i])
			}
		}
		of.described(gotBits, wantBits)
		if t.trusted("reference_linear") {
			want := func(i int) float64 { return float64(c.referenceSum[i]) }
			tolerance := func(i int) float64 { return rounding(i, i%c.rows) }
			if operation == "linear_add" {
				want = func(i int) float64 { return float64(c.before[i]) + float64(c.referenceSum[i]) }
				tolerance = func(i int) float64 {
					return rounding(i, i%c.rows) + 1e-7*math.Abs(float64(got[i])) + 1e-7
				}
			}
			of.near("reference_linear", where, n, at32(got), want, tolerance)
		}
	case "gate_up":
		// SiLU(g)·u is rounded to bfloat16; before, ex2.approx, whose last bits nobody describes, and four
		// more roundings may move it by 1e-6, and by 1e-7 for each unit of g, since the argument of a power
		// is rounded, too.
		for j, i := range c.chosen {
			if i < n {
				g, u := float64(c.sum[j]), float64(c.up[j])
				v, off := silu64(g)*u, 1e-6*(1+math.Abs(g))
				want := nearestBF16(v)
				if got[i] == nearestBF16(v*(1-off)) || got[i] == nearestBF16(v*(1+off)) {
					want = got[i]
				}
				wantBits, gotBits = append(wantBits, want), append(gotBits, got[i])
			}
		}
		of.described(gotBits, wantBits)
		if t.trusted("reference_gate_up") {
			of.near("reference_gate_up", where, n, at32(got), at32(c.referenceGated), func(i int) float64 {
				gate, up := c.xNorm[i/c.rows]*c.wNorm[i%c.rows], c.xNorm[i/c.rows]*c.wNorm[c.rows+i%c.rows]
				return math.Abs(float64(c.referenceGated[i]))/256 + 4e-6*(gate+1)*(up+1)
			})
		}
	}
	return results
}

func nearestBF16(x float64) float32 { return weight.FromBF16(weight.ToBF16(float32(x))) }

// repeated is n elements, from s again and again.
func repeated[T any](s []T, n int) []T {
	all := make([]T, n)
	for at := 0; at < n; {
		at += copy(all[at:], s)
	}
	return all
}

// lengths are the Euclidean norms of rows of k.
func lengths(s []float32, k int) []float64 {
	norms := make([]float64, len(s)/k)
	for i := range norms {
		for _, v := range s[i*k:][:k] {
			norms[i] += float64(v) * float64(v)
		}
		norms[i] = math.Sqrt(norms[i])
	}
	return norms
}

// blocksText is "1/7/264 blocks".
func blocksText(grids []int) string {
	words := make([]string, len(grids))
	for i, n := range grids {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, "/") + " blocks"
}

func distinct(numbers ...int) []int {
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
