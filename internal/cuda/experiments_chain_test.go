//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/weight"
)

// layerShape is that of a layer's matrix products.
type layerShape struct {
	hidden, qkv, inner int
}

var phi3Mini = layerShape{hidden: 3072, qkv: 9216, inner: 8192}

// bytes of a layer's weights, bfloat16.
func (s layerShape) bytes() int {
	return 2 * (s.qkv*s.hidden + s.hidden*s.hidden + 2*s.inner*s.hidden + s.hidden*s.inner)
}

// layerWeights are the addresses of a layer's weights.
type layerWeights struct {
	qkv, o, gateUp, down devicePtr
}

func (s layerShape) weightsAt(p devicePtr) layerWeights {
	var w layerWeights
	for _, part := range []struct {
		at    *devicePtr
		elems int
	}{
		{&w.qkv, s.qkv * s.hidden},
		{&w.o, s.hidden * s.hidden},
		{&w.gateUp, 2 * s.inner * s.hidden},
		{&w.down, s.hidden * s.inner},
	} {
		*part.at = p
		p += devicePtr(2 * part.elems)
	}
	return w
}

// layerProduct is one of the four products of a layer, without its operands.
type layerProduct struct {
	name string
	product
	normed bool // in decode, its input is normalized
	of     func(w layerWeights) devicePtr
}

func (s layerShape) products() []layerProduct {
	return []layerProduct{
		{
			"qkv",
			product{epilogue: store, rows: s.qkv, k: s.hidden},
			true,
			func(w layerWeights) devicePtr { return w.qkv },
		},
		{
			"o",
			product{epilogue: addTo, rows: s.hidden, k: s.hidden},
			false,
			func(w layerWeights) devicePtr { return w.o },
		},
		{
			"gate-up",
			product{epilogue: gateUp, rows: s.inner, k: s.hidden},
			true,
			func(w layerWeights) devicePtr { return w.gateUp },
		},
		{
			"down",
			product{epilogue: addTo, rows: s.hidden, k: s.inner},
			false,
			func(w layerWeights) devicePtr { return w.down },
		},
	}
}

// TestLayerProducts: the products read all weights of a layer, each once, in the order of their addresses.
func TestLayerProducts(t *testing.T) {
	at := devicePtr(1 << 20)
	w := phi3Mini.weightsAt(at)
	for _, p := range phi3Mini.products() {
		require.Equal(t, at, p.of(w), p.name)
		p.weight = typeBF16
		at += devicePtr(p.weightBytes())
	}
	require.Equal(t, devicePtr(1<<20+phi3Mini.bytes()), at)
}

// randomWeights are different weights for as many layers as fit in 4 GB, which is too much for any cache.
// After that the addresses repeat.
func (x *experiment) randomWeights(tb testing.TB, s layerShape, layers int) []layerWeights {
	tb.Helper()
	different := min(sized(16, 2), x.affordable(tb, 4<<30)/s.bytes())
	if different < 2 {
		tb.Fatalf("too little free memory: the weights of two layers take %d MB", 2*s.bytes()>>20)
	}
	pool := x.allocate(tb, different*s.bytes())
	x.fillBF16(tb, pool, different*s.bytes()/2, 1, 0.035) // the standard deviation of trained weights, 0.02
	weights := make([]layerWeights, layers)
	for i := range weights {
		weights[i] = s.weightsAt(pool + devicePtr(i%different*s.bytes()))
	}
	return weights
}

// chain is the products of all layers for one token, with the program's own kernels.
type chain struct {
	*experiment
	layerShape
	weights []layerWeights
	kernels *kernelSet

	x, qkv      devicePtr // [hidden], [qkv] float32
	attended, h devicePtr // [hidden], [inner] bfloat16
	norm        devicePtr // [hidden] float32
	start       []float32 // x before the first layer
}

func newChain(x *experiment) *chain {
	c := &chain{experiment: x, layerShape: sized(phi3Mini, layerShape{hidden: 192, qkv: 576, inner: 136})}
	x.measureCeilings(x)
	c.weights = x.randomWeights(x, c.layerShape, sized(32, 3))
	x.must(x, func() (err error) {
		if c.kernels, err = x.loadKernels(nil); err != nil {
			return err
		}
		return c.kernels.countResident(x.device, c.hidden)
	})
	rng := rand.New(rand.NewSource(1))
	norm := make([]float32, c.hidden)
	for i := range norm {
		c.start = append(c.start, float32(rng.NormFloat64()))
		norm[i] = float32(1 + 0.1*rng.NormFloat64())
	}
	c.norm, c.x = x.upload(x, norm), x.allocate(x, 4*c.hidden)
	c.qkv, c.h = x.allocate(x, 4*c.layerShape.qkv), x.allocate(x, 2*c.inner)
	c.attended = x.allocate(x, 2*c.hidden)
	x.fillBF16(x, c.attended, c.hidden, 2, 1)
	return c
}

func (c *chain) layers() int { return len(c.weights) }

// queue is the chain as the backend queues it. The rings are long if the launches will overlap.
func (c *chain) queue(long bool) queue {
	d := &device{multiprocessors: c.multiprocessors, overlap: long}
	operands := map[string]struct{ y, x devicePtr }{
		"qkv": {c.qkv, c.x}, "o": {c.x, c.attended}, "gate-up": {c.h, c.x}, "down": {c.x, c.h},
	}
	var q queue
	for _, w := range c.weights {
		for _, v := range c.products() {
			p := v.product
			p.y, p.x = operands[v.name].y, operands[v.name].x
			p.w, p.weight, p.tokens = v.of(w), typeBF16, 1
			if v.normed {
				p.norm, p.eps = c.norm, 1e-5
			}
			q = append(q, c.kernels.by(d, decode, p)...)
		}
	}
	return q
}

// result runs the chain once from its start and returns the bits of x, qkv and h.
func (c *chain) result(tb testing.TB, run func() error) []uint16 {
	tb.Helper()
	c.must(tb, func() error {
		if err := c.copyToDevice(c.x, encode(c.start), c.stream); err != nil {
			return err
		}
		for _, out := range []struct {
			p     devicePtr
			bytes int
		}{{c.qkv, 4 * c.layerShape.qkv}, {c.h, 2 * c.inner}} {
			if err := c.fill(out.p, 0xff, out.bytes, c.stream); err != nil {
				return err
			}
		}
		return run()
	})
	return slices.Concat(
		readBack[uint16](tb, c.experiment, c.x, 2*c.hidden),
		readBack[uint16](tb, c.experiment, c.qkv, 2*c.layerShape.qkv),
		readBack[uint16](tb, c.experiment, c.h, c.inner),
	)
}

// time times the chain as a graph.
func (c *chain) time(f *figure, g graph) {
	f.Helper()
	s := c.seconds(f, c.enqueueGraph(g))
	f.report(s*1e6, fmt.Sprintf("µs/%dlayers", c.layers()))
	c.reportRead(f, float64(c.layers()*c.bytes()), s)
}

// chainVariants are the ways in which the products of a chain may overlap.
var chainVariants = []struct {
	name     string
	prefetch int  // bytes of the next matrix that each product prefetches into L2
	overlap  bool // by programmatic dependent launch
	long     bool // rings of 6 stages and one block a multiprocessor; otherwise 4 stages and two blocks
}{
	{"graph", 0, false, false},
	{"prefetch-4MB", 4 << 20, false, false},
	{"prefetch-8MB", 8 << 20, false, false},
	{"prefetch-12MB", 12 << 20, false, false},
	{"pdl", 0, true, false},
	{"pdl-96KB", 0, true, true},
	{"pdl-96KB+prefetch-8MB", 8 << 20, true, true},
	{"pdl-96KB+prefetch-12MB", 12 << 20, true, true},
}

// askChain asks what the gaps between the decode products cost, and what closes them. The four products of
// a layer of Phi-3-mini run for one token and 32 layers, each with weights of its own. The figures are
// microseconds for all layers, and GB/s of weights. What is missing to the read ceiling is lost between the
// kernels.
func askChain(x *experiment) {
	c := newChain(x)
	want := c.result(x, x.enqueue(c.queue(false)))
	require.NotEqual(x, encode(c.start), encode(want[:2*c.hidden]), "x after the chain")
	for i, v := range want[2*(c.hidden+c.layerShape.qkv):] {
		value := weight.FromBF16(v)
		require.False(x, math.IsNaN(float64(value)) || math.IsInf(float64(value), 0), "h[%d] = %v", i, value)
	}
	for _, v := range chainVariants {
		x.figure(v.name, func(f *figure) {
			if v.overlap && !c.overlap {
				f.Skip("this GPU or driver does not overlap launches")
			}
			q := c.queue(v.long)
			q.prefetch(v.prefetch)
			q.overlap(v.overlap)
			g := x.graph(f, q)
			for range 3 { // several times, because a wrong order need not show at once
				different := 0
				for i, bits := range c.result(f, x.enqueueGraph(g)) {
					if bits != want[i] {
						different++
					}
				}
				require.Zero(f, different, "of %d halves of values differ from the first run's", len(want))
			}
			c.time(f, g)
		})
	}
}

// askCarveOut asks whether the driver by itself gives the decode kernels enough shared memory: two blocks
// of 72 KB and more must fit on a multiprocessor. It runs the chain of phi3's own kernels with the
// driver's split between shared memory and L1 cache, and with everything as shared memory. If 100 is
// faster than default, the program must ask for it.
func askCarveOut(x *experiment) {
	c := newChain(x)
	q := c.queue(false)
	want := c.result(x, x.enqueue(q))
	kernels := []function{
		c.kernels.products[store][normDecode][typeBF16], c.kernels.products[gateUp][normDecode][typeBF16],
		c.kernels.products[addTo][decode][typeBF16],
	}
	for _, share := range []struct {
		name    string
		percent int
	}{{"default", -1}, {"100", 100}} {
		x.figure(share.name, func(f *figure) {
			x.must(f, func() error {
				for _, k := range kernels {
					if err := x.preferShared(k, share.percent); err != nil {
						return err
					}
				}
				return nil
			})
			g := x.graph(f, q)
			require.True(f, slices.Equal(want, c.result(f, x.enqueueGraph(g))), "the same bits as before")
			c.time(f, g)
		})
	}
}
