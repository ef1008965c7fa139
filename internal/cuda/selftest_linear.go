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

	"phi3/internal/weight"
)

// The self-test of the matrix products.

func linearChecks() []kernelGroup {
	products := kernelGroup{run: (*tester).products}
	for _, l := range []productVariant{
		{store, prefill},
		{addTo, prefill},
		{gateUp, prefill},
		{store, batch},
		{addTo, batch},
		{gateUp, batch},
		{store, decode},
		{store, normDecode},
		{addTo, decode},
		{gateUp, decode},
		{gateUp, normDecode},
	} {
		against, best := "tensor cores as described, reference_linear", VerdictExact
		if l.e == gateUp {
			against, best = "the described sums through float64, reference_gate_up", VerdictOK
		}
		if l.v != prefill {
			against += ", prefill"
		}
		for w := range weightKinds {
			products.kernels = append(products.kernels,
				kernelCheck{productKernel(l.e, l.v, w), best, against})
		}
	}
	tensorCores := kernelGroup{
		kernels: []kernelCheck{{TensorCores, VerdictExact, "the published description, float64"}},
		run:     (*tester).tensorCores,
	}
	return []kernelGroup{tensorCores, products}
}

// productSizes have numbers that are less than, equal to and just above a tile, a step and a segment. The
// last three fill the GPU: every block of decode processes several tiles, and every segment has more
// steps than its ring has stages.
func (t *tester) productSizes() []productSize {
	many := 4*C.LINEAR_DECODE_TILE*t.d.multiprocessors + 5
	return []productSize{
		{1, 1, 8},
		{2, 7, 64},
		{7, 17, 72},
		{8, 131, 520},
		{9, 131, 136},
		{20, 75, 584},
		{33, 20, 1032},
		{128, 7, 136},
		{129, 150, 72},
		{1, many, 3072},
		{4, many, 3072},
		{200, many, 520},
	}
}

// products runs all of them, of all phases and with the norm inside and outside, on the same numbers.
func (t *tester) products() {
	sizes := t.productSizes()
	for i, size := range sizes {
		for _, weight := range []elementType{typeBF16, typeF16} {
			if t.stop() {
				return
			}
			t.product(size, weight, uint64(i))
		}
	}
	for i := range len(elementFormats) - int(typeQuantized) { // the sizes in turn
		if t.stop() {
			return
		}
		weight := typeQuantized + elementType(i)
		t.product(sizes[i%len(sizes)].ofBlocks(weight), weight, uint64(i))
	}
}

// productCase is one size and type of weights, with what is known of the results.
type productCase struct {
	productSize
	where  string
	weight elementType

	xDev, normDev, wDev, normedDev array // x [tokens, k] float32, norm [k], w, inputs

	inputs         []uint16  // [tokens, k] bfloat16: RMSNorm(x)·norm
	before         []float32 // [tokens, rows], that linear_add adds to
	w              []uint16  // [2·rows, k], of weight, or bfloat16 if that is quantized
	xNorm, wNorm   []float64 // of each token and weight row: rounding errors grow with their product
	referenceSum   []float32 // [tokens, rows]
	referenceGated []float32 // [tokens, rows]
	chosen         []int     // outputs that are computed on the host, too, and there:
	sum, up        []float32 // with the output's row of w, and with the row of its up

	// expanded is the results of prefill with w, if the weight is quantized: the same bytes are wanted.
	expanded [epilogues]bitsOf
}

const productEps = 1e-5

// bitsOf are the bits of results, bfloat16 or float32.
type bitsOf []uint32

// product judges all products of one size and type of weights.
func (t *tester) product(size productSize, weight elementType, seed uint64) {
	c := t.newProductCase(size, weight, seed)
	t.reference(c)
	t.describe(c)
	if weight >= typeQuantized {
		t.expand(c)
	}
	prefilled := t.prefill(c)
	t.onGrids(c, prefilled, min(c.tokens, batchTokens), []productVariant{
		{store, batch}, {addTo, batch}, {gateUp, batch},
	})
	t.onGrids(c, prefilled, min(c.tokens, decodeTokens), []productVariant{
		{store, decode}, {store, normDecode}, {addTo, decode}, {gateUp, decode}, {gateUp, normDecode},
	})
	t.free(c.xDev, c.normDev, c.wDev, c.normedDev)
}

// newProductCase draws the numbers and copies them to the GPU, which normalizes x.
func (t *tester) newProductCase(size productSize, weight elementType, seed uint64) *productCase {
	random := rand.New(rand.NewPCG(seed, 6))
	tokens, rows, k := size.tokens, size.rows, size.k
	c := &productCase{
		productSize: size, where: fmt.Sprintf("%v of %v", size, weight), weight: weight,
	}
	c.before = normals(random, tokens*rows, 1)
	// Only the first weights are drawn, and then repeated, because drawing all would take longer than the
	// test on a GPU. Their number is a prime, so that rows differ.
	const drawn = 65521
	deviation := 2 / math.Sqrt(float64(k))
	if weight >= typeQuantized {
		data, bits := packed(random, weight.format(), 2*rows, k, deviation)
		c.w, c.wDev = bits, toDevice(t.workbench, data)
		c.wNorm = lengths(widened(bits), k)
	} else {
		bits, values := stored16(weight, normals(random, min(2*rows*k, drawn), deviation))
		c.w = repeated(bits, 2*rows*k)
		c.wDev = toDevice(t.workbench, c.w)
		c.wNorm = lengths(repeated(values, 2*rows*k), k)
	}
	norm := normals(random, k, 1.0/8)
	for i := range norm {
		norm[i]++
	}
	c.xDev = toDevice(t.workbench, normals(random, tokens*k, 1))
	c.normDev = toDevice(t.workbench, norm)
	c.normedDev = t.alloc(tokens * k * 2)
	t.norm(c)
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

// product is one of the first tokens, of input that is normalized already.
func (c *productCase) product(e epilogue, y array, tokens int) product {
	return product{
		epilogue: e, y: y.devicePtr, x: c.normedDev.devicePtr, w: c.wDev.devicePtr, weight: c.weight,
		tokens: tokens, rows: c.rows, k: c.k,
	}
}

// reference runs the reference kernels.
func (t *tester) reference(c *productCase) {
	inputs, y := toDevice(t.workbench, widened(c.inputs)), t.alloc(c.tokens*c.rows*4)
	for e, to := range map[epilogue]*[]float32{store: &c.referenceSum, gateUp: &c.referenceGated} {
		p := c.product(e, y, c.tokens)
		p.x = inputs.devicePtr
		t.k.reference(&t.q, p)
		t.run(referenceKernel(e))
		*to = fromDevice[float32](t.workbench, y)
	}
	t.free(inputs, y)
}

// prefill judges the products of any number of tokens. It returns each product's results.
func (t *tester) prefill(c *productCase) (results [epilogues]bitsOf) {
	for e := range epilogues {
		name := productKernel(e, prefill, c.weight.kind())
		y := t.output(c, e, c.tokens)
		t.k.prefill(&t.q, c.product(e, y, c.tokens))
		t.run(name)
		t.of(name).ran("%s", c.where)
		results[e] = t.judgeProduct(c, t.of(name), c.where, e, y, c.tokens)
		t.settle(name, c.where)
		t.free(y)
	}
	return results
}

type productVariant struct {
	e epilogue
	v phase
}

// onGrids judges decode or batch products of the first tokens, on several grids.
func (t *tester) onGrids(c *productCase, prefilled [epilogues]bitsOf, tokens int, vs []productVariant) {
	tiles := ceilDiv(c.rows, C.LINEAR_DECODE_TILE)
	if c.weight >= typeQuantized { // blocks share row groups
		tiles = ceilDiv(c.rows, groupRows)
	}
	// One block, unless that takes long; a number that does not divide the tiles; and two a multiprocessor.
	grids := distinct(min(tiles, 2*t.d.multiprocessors), min(tiles, 7))
	if c.rows < 1000 {
		grids = distinct(append(grids, 1)...)
	}
	for _, d := range vs {
		if d.v == normDecode && !t.k.normFits(tokens, c.k) { // the backend does not run it either
			continue
		}
		name := productKernel(d.e, d.v, c.weight.kind())
		of := t.of(name)
		ran := productSize{tokens, c.rows, c.k}
		of.ran("%v of %v on %s", ran, c.weight, blocksText(grids))
		for _, blocks := range grids {
			y := t.output(c, d.e, tokens)
			p := c.product(d.e, y, tokens)
			if d.v == normDecode {
				p.x, p.norm, p.eps = c.xDev.devicePtr, c.normDev.devicePtr, productEps
			}
			t.norm(c) // again: launches overlap as in a token
			if d.v == batch {
				t.k.batch(&t.q, p, blocks)
			} else {
				t.k.fit(&p, t.d.overlap) // the rings as in a token
				t.k.decode(&t.q, p, blocks)
			}
			t.run(name)
			where := fmt.Sprintf("%v of %v on %d blocks", ran, c.weight, blocks)
			got := t.judgeProduct(c, of, where, d.e, y, tokens)
			if t.trusted(productKernel(d.e, prefill, c.weight.kind())) {
				same(of, "the bytes of prefill", where, got, prefilled[d.e][:len(got)])
			}
			t.settle(name, where)
			t.free(y)
		}
	}
}

// trusted reports whether nothing is wrong with a kernel so far, so that others can be compared with it.
func (t *tester) trusted(kernel string) bool {
	of := t.of(kernel)
	return of == nil || of.problem == ""
}

// output is an array for a product's results.
func (t *tester) output(c *productCase, e epilogue, tokens int) array {
	switch e {
	case gateUp:
		return t.alloc(tokens * c.rows * 2)
	case addTo:
		return toDevice(t.workbench, c.before[:tokens*c.rows])
	}
	return t.alloc(tokens * c.rows * 4)
}

// describe computes the chosen outputs with the published arithmetic of tensor cores.
func (t *tester) describe(c *productCase) {
	c.sum, c.up = make([]float32, len(c.chosen)), make([]float32, len(c.chosen))
	numbers := c.weight // the type of those in c.w
	if numbers >= typeQuantized {
		numbers = typeBF16
	}
	parallel(len(c.chosen), func(i int) {
		token, row := c.chosen[i]/c.rows, c.chosen[i]%c.rows
		x := c.inputs[token*c.k:][:c.k]
		c.sum[i] = productSum(t.sums, x, c.w[row*c.k:][:c.k], numbers)
		c.up[i] = productSum(t.sums, x, c.w[(c.rows+row)*c.k:][:c.k], numbers)
	})
}

// results are the numbers that a product has stored, and their bits.
func (t *tester) results(e epilogue, y array) (numbers []float32, bits bitsOf) {
	if e == gateUp {
		narrow := fromDevice[uint16](t.workbench, y)
		for _, v := range narrow {
			bits = append(bits, uint32(v))
		}
		return widened(narrow), bits
	}
	numbers = fromDevice[float32](t.workbench, y)
	for _, v := range numbers {
		bits = append(bits, math.Float32bits(v))
	}
	return numbers, bits
}

// judgeProduct compares the results of one product for the first tokens with all that is known of them, and
// returns their bits.
func (t *tester) judgeProduct(
	c *productCase, of *tally, where string, e epilogue, y array, tokens int,
) bitsOf {
	n := tokens * c.rows
	got, results := t.results(e, y)
	if t.err != nil {
		return results
	}
	if c.weight >= typeQuantized && t.trusted(productKernel(e, prefill, bf16Weights)) {
		same(of, "the bytes of bfloat16 weights", where, results, c.expanded[e][:n])
	}

	// Sums in another order differ by some 1e-7 of their terms' magnitudes for every rounding. A forgotten
	// term is about 1/k of these.
	rounding := func(i, row int) float64 { return 4e-6 * c.xNorm[i/c.rows] * c.wNorm[row] }
	var wantBits, gotBits []float32 // of the chosen outputs
	switch e {
	case store, addTo:
		for j, i := range c.chosen {
			if i < n {
				want := c.sum[j]
				if e == addTo {
					want += c.before[i]
				}
				wantBits, gotBits = append(wantBits, want), append(gotBits, got[i])
			}
		}
		of.described(gotBits, wantBits)
		if t.trusted("reference_linear") {
			want := func(i int) float64 { return float64(c.referenceSum[i]) }
			tolerance := func(i int) float64 { return rounding(i, i%c.rows) }
			if e == addTo {
				want = func(i int) float64 { return float64(c.before[i]) + float64(c.referenceSum[i]) }
				tolerance = func(i int) float64 {
					return rounding(i, i%c.rows) + 1e-7*math.Abs(float64(got[i])) + 1e-7
				}
			}
			of.near("reference_linear", where, n, at32(got), want, tolerance)
		}
	case gateUp:
		// SiLU(g)·u is rounded to bfloat16. Before that, ex2.approx, whose last bits are not specified,
		// and four roundings may change it by 1e-6, and by 1e-7 for each unit of g, because the argument
		// of the power is rounded too.
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
