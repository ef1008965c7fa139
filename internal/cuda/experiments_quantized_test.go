//go:build cuda && linux && cgo

package cuda

import (
	"fmt"

	"phi3/internal/weight"
)

// askQuantized asks how fast decode reads packed weights. The four products of a layer of Phi-3-mini run for
// one token, as in the program, with bfloat16 weights and with those of four formats. Each figure is a graph
// of the same product with the weights of many layers. The figures are microseconds of one product, and GB/s
// of packed weights. docs/cuda.md says what is expected of formats of 4 bits. The weights are random bits:
// their values do not change the time.
func askQuantized(x *experiment) {
	x.measureCeilings(x)
	s := sized(phi3Mini, layerShape{hidden: 256, qkv: 768, inner: 256})
	weights := x.randomWeights(x, s, sized(16, 2))
	var k *kernelSet
	x.must(x, func() (err error) {
		if k, err = x.loadKernels(nil); err != nil {
			return err
		}
		return k.countResident(x.device, s.hidden)
	})
	widest := max(s.hidden, s.inner, s.qkv)
	in, out := x.allocate(x, 4*widest), x.allocate(x, 4*widest)
	x.fillBF16(x, in, 2*widest, 1, 1)

	for _, v := range s.products() {
		p := v.product
		p.x, p.y, p.tokens = in, out, 1
		if v.normed {
			p.norm, p.eps = in, 1e-5
		}
		for _, f := range []weight.Format{weight.BF16, weight.Q4_0, weight.Q4_K, weight.Q6_K, weight.Q8_0} {
			p.weight = typeOf(f)
			x.figure(fmt.Sprintf("%s/%s", v.name, p.weight), func(f *figure) {
				var q queue
				for _, w := range weights {
					p.w = v.of(w)
					q = append(q, k.by(x.device, decode, p)...)
				}
				seconds := x.seconds(f, x.enqueueGraph(x.graph(f, q))) / float64(len(weights))
				f.report(seconds*1e6, "µs")
				x.reportRead(f, float64(p.weightBytes()), seconds)
			})
		}
	}
}
