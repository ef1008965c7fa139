//go:build cuda && linux && cgo

package cuda

import (
	"fmt"

	"github.com/stretchr/testify/require"
)

// askBatch asks up to how many tokens each kernel of a product is the fastest. The four products of a layer
// of Phi-3-mini run for 8 to 65 tokens, by those of the decode, batch and prefill kernels that take so many
// tokens. Each figure is a graph of the same product with the weights of many layers, so that no weights are
// in the caches. The figures are microseconds of one product, and GB/s of weights. The head of
// kernels/linear_batch.cu says what is expected. The program runs batch from 9 to 64 tokens. If another
// kernel is faster there, [Backend.product] should choose it.
func askBatch(x *experiment) {
	x.measureCeilings(x)
	s := sized(phi3Mini, layerShape{hidden: 192, qkv: 576, inner: 136})
	weights := x.randomWeights(x, s, sized(16, 2))
	var k *kernelSet
	x.must(x, func() (err error) {
		if k, err = x.loadKernels(nil); err != nil {
			return err
		}
		return k.countResident(x.device, s.hidden)
	})
	const most = batchTokens + 1
	widest := max(s.hidden, s.inner)
	in, out := x.allocate(x, 2*most*widest), x.allocate(x, 4*most*max(s.qkv, widest))
	x.fillBF16(x, in, most*widest, 1, 1)
	zeros := make([]float32, most*s.hidden)

	for _, v := range s.products() {
		p := v.product
		p.x, p.y, p.weight = in, out, typeBF16
		for _, tokens := range []int{decodeTokens, 9, 16, 32, batchTokens, most} {
			p.tokens = tokens
			// result is the bits of the product with the first weights.
			result := func(f *figure, by phase) []uint16 {
				x.write(f, out, encode(zeros)) // which addTo adds to
				p.w = v.of(weights[0])
				x.runOnce(f, k.by(x.device, by, p))
				return readBack[uint16](f, x, out, p.resultBytes()/2)
			}
			for _, by := range []phase{decode, batch, prefill} {
				if by == decode && tokens > decodeTokens || by == batch && tokens > batchTokens {
					continue
				}
				x.figure(fmt.Sprintf("%s/%dtokens/%s", v.name, tokens, phaseNames[by]), func(f *figure) {
					require.Equal(f, result(f, prefill), result(f, by), "the bits of prefill")
					var q queue
					for _, w := range weights {
						p.w = v.of(w)
						q = append(q, k.by(x.device, by, p)...)
					}
					seconds := x.seconds(f, x.enqueueGraph(x.graph(f, q))) / float64(len(weights))
					f.report(seconds*1e6, "µs")
					x.reportRead(f, float64(p.weightBytes()), seconds)
				})
			}
		}
	}
}

var phaseNames = map[phase]string{decode: "decode", batch: "batch", prefill: "prefill"}

// by is the queue of one product, computed by the kernel of that phase.
func (k *kernelSet) by(d *device, v phase, p product) queue {
	b := &Backend{device: d, kernels: k, turn: &turn{}}
	b.productBy(v, p)
	return b.queue
}

// resultBytes is the size of the product's result.
func (p *product) resultBytes() int {
	if p.epilogue == gateUp {
		return p.tokens * p.rows * 2
	}
	return p.tokens * p.rows * 4
}
