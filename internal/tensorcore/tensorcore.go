// Package tensorcore computes in Go, bit for bit, what NVIDIA's tensor cores compute: mma.sync m16n8k16
// of bfloat16 inputs and a float32 sum. The self-test of a GPU and the tests of the emulator compare with
// it.
//
// A tensor core does not add floats one after another. It multiplies exactly, aligns every product and
// the running sum to the largest exponent among them, truncates each after a fixed number of bits, adds
// the results as integers, and truncates the total to a float32. Generations differ in the number of bits
// that are kept and in the number of products that are added at once.
//
// This description is by Xie et al., "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores"
// (2025), arXiv 2511.10909. The authors compared it with real GPUs.
package tensorcore

import (
	"fmt"
	"math"
	"math/bits"
)

// K is the number of products that one instruction adds to a sum.
const K = 16

// Arch is how the tensor cores of a generation add.
type Arch struct {
	name     string
	fraction int // bits kept after the point, at the largest exponent
	products int // added in one step; a divisor of K
}

// The generations that the kernels run on.
var (
	Ampere = Arch{"sm_80", 24, 8}  // compute capability 8.x: Ampere and Ada
	Hopper = Arch{"sm_90", 25, 16} // compute capability 9.0 and newer: Hopper and Blackwell
)

// For returns the generation of a compute capability with the given major number.
func For(major int) Arch {
	if major < 9 {
		return Ampere
	}
	return Hopper
}

// String returns the name of the oldest architecture of the generation.
func (a Arch) String() string { return a.name }

// nan is the only NaN that tensor cores produce.
var nan = math.Float32frombits(0x7fffffff)

// DotAdd returns one element of an instruction's result: c + x·y, where x is a row of A and y a column of B,
// both [K] bfloat16.
func (a Arch) DotAdd(c float32, x, y []uint16) float32 {
	if len(x) != K || len(y) != K {
		panic(fmt.Sprintf("tensorcore: DotAdd of %d and %d values, not %d", len(x), len(y), K))
	}
	for at := 0; at < K; at += a.products {
		c = a.step(c, x[at:at+a.products], y[at:at+a.products])
	}
	return c
}

// Dot returns x·y, both [k] bfloat16, as a chain of instructions computes it: in ascending order of k, from a
// sum of 0. If k is not a multiple of K, the missing values are zeros.
func (a Arch) Dot(x, y []uint16) float32 {
	var c float32
	for len(x) >= K {
		c = a.DotAdd(c, x[:K], y[:K])
		x, y = x[K:], y[K:]
	}
	if len(x) > 0 {
		var lastX, lastY [K]uint16
		copy(lastX[:], x)
		copy(lastY[:], y)
		c = a.DotAdd(c, lastX[:], lastY[:])
	}
	return c
}

// term is sign·significand·2^exponent, before it is aligned.
type term struct {
	negative    bool
	significand uint64
	exponent    int // of the bit that stands for 1; for zero and subnormal numbers the least one
	fraction    int // bits of the significand after the point
}

// step adds c and the products of x and y at once.
func (a Arch) step(c float32, x, y []uint16) float32 {
	if special, is := specialSum(c, x, y); is {
		return special
	}
	var terms [K + 1]term
	terms[0] = termOf(math.Float32bits(c), 23)
	for i := range x {
		// A bfloat16 is the upper half of a float32.
		p, q := termOf(uint32(x[i])<<16, 23), termOf(uint32(y[i])<<16, 23)
		terms[1+i] = term{
			negative:    p.negative != q.negative,
			significand: (p.significand >> 16) * (q.significand >> 16),
			exponent:    p.exponent + q.exponent,
			fraction:    2 * 7,
		}
	}
	used := terms[:1+len(x)]
	largest := used[0].exponent
	for _, t := range used {
		largest = max(largest, t.exponent)
	}
	var sum int64 // in units of 2^(largest-fraction)
	for _, t := range used {
		aligned := t.significand << (a.fraction - t.fraction)
		aligned >>= min(largest-t.exponent, 63)
		if t.negative {
			sum -= int64(aligned)
		} else {
			sum += int64(aligned)
		}
	}
	return truncate(sum, largest-a.fraction)
}

// specialSum is the result if there are infinities or NaN among the inputs.
func specialSum(c float32, x, y []uint16) (float32, bool) {
	const all = 0x7f80 // the exponent's bits: infinities and NaN have all of them
	some := math.Float32bits(c)>>16&all == all
	for i := range x {
		some = some || x[i]&all == all || y[i]&all == all
	}
	if !some {
		return 0, false
	}
	// In float64 no product of finite bfloat16 numbers overflows, nor does their sum.
	sum := float64(c)
	for i := range x {
		sum += value(x[i]) * value(y[i])
	}
	switch {
	case math.IsNaN(sum):
		return nan, true
	case math.IsInf(sum, 0):
		return float32(sum), true
	}
	return 0, false
}

// value is the value of a bfloat16.
func value(bits uint16) float64 { return float64(math.Float32frombits(uint32(bits) << 16)) }

// termOf splits a finite float32, given as bits.
func termOf(u uint32, fraction int) term {
	t := term{
		negative: u>>31 == 1, significand: uint64(u & 0x7fffff), exponent: int(u >> 23 & 0xff),
		fraction: fraction,
	}
	if t.exponent == 0 {
		t.exponent = -126
	} else {
		t.significand |= 1 << 23
		t.exponent -= 127
	}
	return t
}

// truncate is sum·2^unit as a float32, rounded toward zero. A sum of 0 is +0. A sum that is too large is
// infinite.
func truncate(sum int64, unit int) float32 {
	if sum == 0 {
		return 0
	}
	magnitude, sign := uint64(sum), uint32(0)
	if sum < 0 {
		magnitude, sign = uint64(-sum), 1<<31
	}
	exponent := unit + bits.Len64(magnitude) - 1 // of the leading bit
	if exponent > 127 {
		return math.Float32frombits(sign | 0x7f800000)
	}
	last := max(exponent, -126) - 23 // exponent of the float32's last bit
	if shift := last - unit; shift >= 64 {
		magnitude = 0
	} else if shift > 0 {
		magnitude >>= shift
	} else {
		magnitude <<= -shift
	}
	if magnitude == 0 {
		return 0
	}
	if magnitude < 1<<23 { // subnormal
		return math.Float32frombits(sign | uint32(magnitude))
	}
	return math.Float32frombits(sign | uint32(exponent+127)<<23 | uint32(magnitude)&0x7fffff)
}
