//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// The self-test of what works on rows: embed, copy_rows, rms_norm, argmax; and of the reference products,
// which the fast ones are compared with.

func rowChecks() []kernelGroup {
	const float64s = "float64 on the host"
	return []kernelGroup{
		{[]kernelCheck{{"embed", VerdictExact, "the table's rows"}}, (*tester).embed},
		{[]kernelCheck{{"copy_rows", VerdictExact, "the rows themselves"}}, (*tester).copyRows},
		{[]kernelCheck{{"argmax", VerdictExact, "a search on the host"}}, (*tester).argmax},
		{[]kernelCheck{{"rms_norm", VerdictOK, float64s}}, (*tester).rmsNorm},
		{[]kernelCheck{
			{"reference_linear", VerdictOK, float64s},
			{"reference_gate_up", VerdictOK, float64s},
		}, (*tester).referenceProducts},
	}
}

// The sizes of a table of embeddings; the last is a Phi-3-mini's width.
var tableSizes = []struct{ rows, cols int }{{5, 7}, {33, 64}, {3, 300}, {40, 3072}}

func (t *tester) embed() {
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range tableSizes {
		for i := range elementFormats {
			typ, c := elementType(i), c
			c.cols = wholeBlocks(typ, c.cols)
			table, values := typed(random, typ, c.rows, c.cols)
			ids := rowsToPick(random, c.rows)
			tableDev, idsDev := toDevice(t.workbench, table), toDevice(t.workbench, ids)
			x := t.alloc(len(ids) * c.cols * 4)
			stored := parameter{ptr: tableDev.devicePtr, typ: typ}
			t.k.embed(&t.q, x.devicePtr, stored, idsDev.devicePtr, len(ids), c.cols)
			t.run("embed")
			where := fmt.Sprintf("%d×%d of %v", c.rows, c.cols, typ)
			t.of("embed").ran("%s", where)
			t.pickedRows("embed", where, fromDevice[float32](t.workbench, x), values, ids, c.cols)
			t.free(tableDev, idsDev, x)
		}
	}
}

func (t *tester) copyRows() {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range tableSizes {
		values, ids := normals(random, c.rows*c.cols, 1), rowsToPick(random, c.rows)
		from, idsDev := toDevice(t.workbench, values), toDevice(t.workbench, ids)
		y := t.alloc(len(ids) * c.cols * 4)
		t.k.copyRows(&t.q, y.devicePtr, from.devicePtr, idsDev.devicePtr, len(ids), c.cols)
		t.run("copy_rows")
		where := fmt.Sprintf("%d×%d", c.rows, c.cols)
		t.of("copy_rows").ran("%s", where)
		t.pickedRows("copy_rows", where, fromDevice[float32](t.workbench, y), values, ids, c.cols)
		t.free(from, idsDev, y)
	}
}

// rowsToPick is the first and the last row, some twice, in no order.
func rowsToPick(random *rand.Rand, rows int) []int32 {
	ids := []int32{int32(rows - 1), 0}
	for range 5 {
		ids = append(ids, int32(random.IntN(rows)))
	}
	return ids
}

func (t *tester) pickedRows(kernel, where string, got, table []float32, ids []int32, cols int) {
	var want []float32
	for _, id := range ids {
		want = append(want, table[int(id)*cols:][:cols]...)
	}
	same(t.of(kernel), "the rows asked for", where, got, want)
	t.settle(kernel, where)
}

func (t *tester) rmsNorm() {
	const eps = 1e-5
	random := rand.New(rand.NewPCG(1, 3))
	of := t.of("rms_norm")
	for _, c := range []struct{ tokens, cols int }{
		{1, 1}, {3, 7}, {2, 8}, {1, 1023}, {5, 1024}, {9, 3072}, {1, 5121},
	} {
		where := fmt.Sprintf("%d×%d", c.tokens, c.cols)
		x, norm := normals(random, c.tokens*c.cols, 3), normals(random, c.cols, 1)
		want := make([]float64, len(x))
		for token := range c.tokens {
			row := x[token*c.cols:][:c.cols]
			var squares float64
			for _, v := range row {
				squares += float64(v) * float64(v)
			}
			for i, v := range row {
				want[token*c.cols+i] = float64(v) / math.Sqrt(squares/float64(c.cols)+eps) * float64(norm[i])
			}
		}
		xDev, normDev := toDevice(t.workbench, x), toDevice(t.workbench, norm)
		exact, narrow := t.alloc(len(x)*4), t.alloc(len(x)*2)
		for y, typ := range map[array]elementType{exact: typeF32, narrow: typeBF16} {
			t.k.rmsNorm(&t.q, rowNorm{
				y: y.devicePtr, typ: typ, x: xDev.devicePtr, norm: normDev.devicePtr,
				tokens: c.tokens, cols: c.cols, eps: eps,
			})
			t.run("rms_norm")
		}
		of.ran("%s to f32 and bf16", where)
		got := fromDevice[float32](t.workbench, exact)
		// Some ten roundings to float32, of 6e-8 each, and those of the sum of squares, of which the root
		// takes half.
		tolerance := func(i int) float64 { return math.Abs(want[i]) * 5e-7 }
		of.near("float64", where, len(want), at32(got), at64(want), tolerance)
		rounded, _ := stored16(typeBF16, got)
		where += " to bf16"
		same(of, "the float32 results, rounded", where, fromDevice[uint16](t.workbench, narrow), rounded)
		t.settle("rms_norm", where)
		t.free(xDev, normDev, exact, narrow)
	}
}

func at32(s []float32) func(int) float64 { return func(i int) float64 { return float64(s[i]) } }

func at64(s []float64) func(int) float64 { return func(i int) float64 { return s[i] } }

func (t *tester) argmax() {
	random := rand.New(rand.NewPCG(1, 4))
	of := t.of("argmax")
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, vocab := range []int{1, 31, 1025, 2000, 32064, 200064} {
		const rows = 6
		logits, want := normals(random, rows*vocab, 1), make([]int32, rows)
		for r := range rows {
			row := logits[r*vocab:][:vocab]
			first, second := random.IntN(vocab), random.IntN(vocab)
			first, second = min(first, second), max(first, second)
			switch r {
			case 0: // all negative: what threads without a logit start from must not win
				for i := range row {
					row[i] = -1 - row[i]*row[i]
				}
				row[first] = -0.5
			case 1, 2: // a tie: the lower wins
				row[first], row[second] = 100, 100
			case 3:
				row[first], row[second] = nan, inf
			case 4:
				row[first], row[second] = -inf, nan
			case 5: // the greatest number is no infinity
				row[first] = math.MaxFloat32
			}
			if want[r] = int32(first); r == 3 || r == 4 {
				want[r] = ^want[r]
			}
		}
		dev, next := toDevice(t.workbench, logits), t.alloc(4*rows)
		t.k.argmax(&t.q, next.devicePtr, dev.devicePtr, rows, vocab)
		t.run("argmax")
		where := fmt.Sprintf("vocabulary of %d", vocab)
		of.ran("%d×%d", rows, vocab)
		same(of, "the ids of the greatest logits", where, fromDevice[int32](t.workbench, next), want)
		t.settle("argmax", where)
		t.free(dev, next)
	}
}

// referenceProducts compares them with float64. Rounding of a sum of k products in float32 is 6e-8 of the sum
// of their magnitudes at most for each of k additions, and about √k of these in the mean.
func (t *tester) referenceProducts() {
	random := rand.New(rand.NewPCG(1, 5))
	linear, gate := t.of("reference_linear"), t.of("reference_gate_up")
	for _, c := range []productSize{{1, 1, 8}, {3, 5, 72}, {9, 17, 520}, {2, 130, 33}} {
		for i := range elementFormats {
			typ := elementType(i)
			c := c.ofBlocks(typ)
			where := fmt.Sprintf("%v of %v", c, typ)
			x, before := normals(random, c.tokens*c.k, 1), normals(random, c.tokens*c.rows, 1)
			data, w := typed(random, typ, 2*c.rows, c.k)
			xDev, wDev := toDevice(t.workbench, x), toDevice(t.workbench, data)
			y, added, gated := t.alloc(len(before)*4), toDevice(t.workbench, before), t.alloc(len(before)*4)
			p := product{
				x: xDev.devicePtr, w: wDev.devicePtr, weight: typ,
				tokens: c.tokens, rows: c.rows, k: c.k,
			}
			for e, out := range [epilogues]array{store: y, addTo: added, gateUp: gated} {
				p.epilogue, p.y = epilogue(e), out.devicePtr
				t.k.reference(&t.q, p)
				t.run(referenceKernel(p.epilogue))
			}

			sums, addedSums := fromDevice[float32](t.workbench, y), fromDevice[float32](t.workbench, added)
			products, wantSum := fromDevice[float32](t.workbench, gated), make([]float32, len(before))
			dot, size := make([]float64, len(before)), make([]float64, len(before))
			up, upSize := make([]float64, len(before)), make([]float64, len(before))
			for i := range dot {
				row := x[i/c.rows*c.k:][:c.k]
				dot[i], size[i] = dot64(row, w[i%c.rows*c.k:])
				up[i], upSize[i] = dot64(row, w[(c.rows+i%c.rows)*c.k:])
				wantSum[i] = before[i] + sums[i]
			}
			linear.ran("%s, stored and added", where)
			linear.near("float64", where, len(dot), at32(sums), at64(dot),
				func(i int) float64 { return size[i] * 1e-6 })
			same(linear, "the sums, added", where, addedSums, wantSum)
			t.settle("reference_linear", where)
			gate.ran("%s", where)
			gate.near("float64", where, len(dot), at32(products),
				func(i int) float64 { return silu64(dot[i]) * up[i] },
				func(i int) float64 { return 2e-6 * (size[i] + 1) * (upSize[i] + 1) })
			t.settle("reference_gate_up", where)
			t.free(xDev, wDev, y, added, gated)
		}
	}
}

// dot64 is the dot product of x and the first elements of w, and the sum of its terms' magnitudes.
func dot64(x, w []float32) (dot, size float64) {
	for i, v := range x {
		p := float64(v) * float64(w[i])
		dot += p
		size += math.Abs(p)
	}
	return dot, size
}

// productSize is of a matrix product: so many tokens, outputs a token, and columns.
type productSize struct{ tokens, rows, k int }

func (s productSize) String() string { return fmt.Sprintf("%d×%d×%d", s.tokens, s.rows, s.k) }

// ofBlocks is s with k raised to whole blocks of a type of weights, and rows to whole row groups if it is
// quantized.
func (s productSize) ofBlocks(typ elementType) productSize {
	s.k = wholeBlocks(typ, s.k)
	if typ >= typeQuantized {
		s.rows = ceilDiv(s.rows, groupRows) * groupRows // which gate_up needs
	}
	return s
}

// norm queues the RMSNorm that makes the inputs of a product.
func (t *tester) norm(c *productCase) {
	t.k.rmsNorm(&t.q, rowNorm{
		y: c.normedDev.devicePtr, typ: typeBF16, x: c.xDev.devicePtr, norm: c.normDev.devicePtr,
		tokens: c.tokens, cols: c.k, eps: productEps,
	})
}
