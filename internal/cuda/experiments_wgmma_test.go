//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/tensorcore"
	"phi3/internal/weight"
)

// wgmmaArgs is WgmmaArgs of kernels/experiments/wgmma.cu.
type wgmmaArgs struct {
	y, x, w                 devicePtr
	tokens, rows, k, groups int32
}

// wgmmaProduct is a product of the wgmma experiment, and copies of its weights, so many that no cache
// holds them all.
type wgmmaProduct struct {
	name    string
	rows, k int
	copies  []devicePtr
}

const (
	wgmmaWeights, wgmmaInputs           = 1, 2 // seeds
	wgmmaWeightScale, wgmmaInputScale   = 0.035, 1
	wgmmaSegments, wgmmaStep, wgmmaRows = 8, 64, 128
)

// askWGMMA: see kernels/experiments/wgmma.cu.
func askWGMMA(x *experiment) {
	if _, err := x.find("wgmma_96", 0); err != nil {
		x.figure("layer", func(f *figure) { x.kernel(f, "wgmma_96", 0) }) // says why not
		return
	}
	const most = 2048 // tokens
	var products []wgmmaProduct
	for _, p := range []wgmmaProduct{
		{name: "qkv", rows: 9216, k: 3072},
		{name: "o", rows: 3072, k: 3072},
		{name: "gate_up", rows: 16384, k: 3072},
		{name: "down", rows: 3072, k: 8192},
	} {
		for range ceilDiv(x.muchMoreThanL2(x), 2*p.rows*p.k) {
			w := x.allocate(x, 2*p.rows*p.k)
			x.fillAtoms(x, w, p.rows, p.k, wgmmaWeights, wgmmaWeightScale)
			p.copies = append(p.copies, w)
		}
		products = append(products, p)
	}
	in := x.allocate(x, 2*most*8192+24<<10)
	y := x.allocate(x, 4*most*16384)

	for _, tokens := range []int{64, 512, most} {
		for _, n := range []int{96, 128, 192} {
			for _, form := range []struct{ name, suffix string }{{"segments", "_segments"}, {"one-sum", ""}} {
				x.figure(fmt.Sprintf("%dtokens/N%d/%s", tokens, n, form.name), func(f *figure) {
					shared := 5*(wgmmaRows+n)*wgmmaStep*2 + 5*2*8
					k := x.kernel(f, fmt.Sprint("wgmma_", n, form.suffix), shared)
					var flops, total float64
					same, compared := 0, 0
					for i, p := range products {
						x.fillAtoms(f, in, tokens, p.k, wgmmaInputs, wgmmaInputScale)
						var q queue
						for _, w := range p.copies {
							add(&q, k, grid{x.multiprocessors, 1, 384, shared}, &wgmmaArgs{
								y: y, x: in, w: w,
								tokens: int32(tokens), rows: int32(p.rows), k: int32(p.k),
								groups: int32(tokens / 8),
							})
						}
						x.must(f, func() error { return x.fill(y, 0xff, 4*tokens*p.rows, x.stream) })
						x.runOnce(f, q)
						s, c := x.checkWGMMA(f, p, y, tokens, form.suffix != "")
						same, compared = same+s, compared+c

						rounds := 0
						loop := func() bool { rounds++; return rounds <= 20 }
						if i == len(products)-1 {
							loop = f.loop // the benchmark has one loop
						}
						took := x.median(f, loop, x.enqueueGraph(x.graph(f, q))) / float64(len(p.copies))
						work := 2 * float64(tokens) * float64(p.rows) * float64(p.k)
						f.report(work/took/1e12, p.name+"-TFLOP/s")
						flops, total = flops+work, total+took
					}
					f.report(total*1e9, "ns/op")
					f.report(flops/total/1e12, "TFLOP/s")
					f.report(100*float64(same)/float64(compared), "%same-bits")
				})
			}
		}
	}
}

// fillAtoms sets a matrix [rows, k], as atoms of 8 rows and 64 columns, to the values of filledBF16 by row
// and column.
func (x *experiment) fillAtoms(tb testing.TB, p devicePtr, rows, k int, seed uint32, scale float32) {
	tb.Helper()
	x.fillWith(tb, "fill_bf16", fillArgs{data: p, n: int64(rows * k), seed: seed, scale: scale, k: int32(k)})
}

// checkWGMMA compares some of a product's sums with float64. It counts how many have the bits of the
// published description of Hopper's tensor cores. Whether wgmma follows the description is not known, so
// other bits are not a failure.
func (x *experiment) checkWGMMA(
	f *figure, p wgmmaProduct, y devicePtr, tokens int, segments bool,
) (same, compared int) {
	f.Helper()
	rng := rand.New(rand.NewSource(int64(p.rows + p.k + tokens)))
	places := [][2]int{{0, 0}, {0, p.rows - 1}, {tokens - 1, 0}, {tokens - 1, p.rows - 1}}
	for range 20 {
		places = append(places, [2]int{rng.Intn(tokens), rng.Intn(p.rows)})
	}
	stretch := p.k
	if segments {
		stretch = ceilDiv(p.k/wgmmaStep, wgmmaSegments) * wgmmaStep
	}
	for _, at := range places {
		token, row := at[0], at[1]
		in, w := make([]uint16, p.k), make([]uint16, p.k)
		var exact, size float64
		for i := range p.k {
			in[i] = filledBF16(uint32(token*p.k+i), wgmmaInputs, wgmmaInputScale)
			w[i] = filledBF16(uint32(row*p.k+i), wgmmaWeights, wgmmaWeightScale)
			term := float64(weight.FromBF16(in[i])) * float64(weight.FromBF16(w[i]))
			exact, size = exact+term, size+math.Abs(term)
		}
		var model float32
		for from := 0; from < p.k; from += stretch {
			to := min(from+stretch, p.k)
			model += tensorcore.Hopper.Dot(w[from:to], in[from:to])
		}
		got := readBack[float32](f, x, y+devicePtr(4*(token*p.rows+row)), 1)[0]
		// A sum of unrelated values would be off by about size/√k, which is 100 times as much.
		require.InDelta(f, exact, got, 1e-4*size, "%s, token %d of %d, row %d", p.name, token, tokens, row)
		if got == model {
			same++
		}
		compared++
	}
	return same, compared
}
