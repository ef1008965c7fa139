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

	"github.com/x448/float16"

	"phi3/internal/tensorcore"
	"phi3/internal/weight"
)

// The self-test of tensor cores, and what they should compute.

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
				t.k.decode(&t.q, p, rows/16)
			} else {
				t.k.prefill(&t.q, p)
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
