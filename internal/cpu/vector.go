//go:build amd64 || arm64

package cpu

import (
	"math"
	"unsafe"

	"phi3/internal/safetensors"
)

// The functions of vector_amd64.s. n is a multiple of 8 and not 0, but where it counts rows.

// gate8 sets y = SiLU(gate)·up, all [n].
//
//go:noescape
func gate8(y, gate, up *float32, n int)

// scaleMax multiplies x [n] by scale and returns the largest product.
//
//go:noescape
func scaleMax(x *float32, n int, scale float32) float32

// expSum replaces x [n] by exp(x - top) and returns their sum, taken like a dot product's.
//
//go:noescape
func expSum(x *float32, n int, top float32) float32

// addRowsBF16 sets sums [cols] to the sum of n rows of bfloat16, stride bytes apart, each times its weight, in ascending order.
// cols is a multiple of 8, n at least 1. What lies ahead bytes from a row is fetched into the cache.
//
//go:noescape
func addRowsBF16(sums, weights *float32, rows *byte, stride, n, ahead, cols int)

//go:noescape
func addRowsF32(sums, weights *float32, rows *byte, stride, n, ahead, cols int)

// avx2Gate is kernels.gate.
func avx2Gate(y, gate, up []float32) {
	whole := len(y) &^ 7
	if whole > 0 {
		gate8(&y[0], &gate[0], &up[0], whole)
	}
	if whole < len(y) {
		var out, g, u [8]float32
		copy(g[:], gate[whole:])
		copy(u[:], up[whole:])
		gate8(&out[0], &g[0], &u[0], 8)
		copy(y[whole:], out[:])
	}
}

// fetchRows is how many keys or values lie between the one that is read and the one whose way into the cache begins.
const fetchRows = 32

// avx2Attend is kernels.attend.
//
// Scores are computed for eight keys at a time, counted from the chunk's first, so also for some that the query may not see, or that are
// not there yet: a block always has room for a whole chunk. Those scores become -Inf before anything looks at them.
func avx2Attend(sum, q []float32, keys, vals kvRows, from, to int, scale float32, scores []float32) (m, l float32) {
	dim := len(q)
	whole := dim &^ 7
	dtype, size := safetensors.BF16, 2
	if keys.f32 != nil {
		dtype, size = safetensors.F32, 4
	}
	stride := dim * size
	first, last := from&^7, (to+7)&^7
	for p := first; p < last; p += 8 {
		dotRows8(dtype, &scores[p], keys.at(p*dim), stride, fetchRows*stride, q, whole)
	}
	for d := whole; d < dim; d++ {
		for p := from; p < to; p++ {
			scores[p] += float32(q[d] * keys.value(p*dim+d))
		}
	}
	for p := range scores[first:from] {
		scores[first+p] = float32(math.Inf(-1))
	}
	for p := range scores[to:last] {
		scores[to+p] = float32(math.Inf(-1))
	}
	m = scaleMax(&scores[first], last-first, scale)
	l = expSum(&scores[first], last-first, m)
	if whole > 0 {
		addRows := addRowsBF16
		if vals.f32 != nil {
			addRows = addRowsF32
		}
		addRows(&sum[0], &scores[from], vals.at(from*dim), stride, to-from, fetchRows*stride, whole)
	}
	for d := whole; d < dim; d++ {
		sum[d] = 0
		for p := from; p < to; p++ {
			sum[d] += float32(scores[p] * vals.value(p*dim+d))
		}
	}
	return m, l
}

// at is where element i lies in memory.
func (r kvRows) at(i int) *byte {
	if r.f32 != nil {
		return (*byte)(unsafe.Pointer(&r.f32[i]))
	}
	return (*byte)(unsafe.Pointer(&r.bf16[i]))
}

// value is element i.
func (r kvRows) value(i int) float32 {
	if r.f32 != nil {
		return r.f32[i]
	}
	return fromBF16(r.bf16[i])
}
