//go:build amd64 || arm64

package cpu

import "phi3/internal/weight"

// The functions of avx2_amd64.s and of neon_arm64.s, which compute the same bits. A weight row is read where
// it lies in memory, at any address, and never past its end.

// dotRows8BF16 sets sums [8] to the products of the vector x [n] with eight rows of n bfloat16 that are
// stride bytes apart. n is a multiple of 8. Of back see laneKernels.one. What lies ahead bytes from the rows
// is fetched into the cache.
//
//go:noescape
func dotRows8BF16(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func dotRows8F16(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

//go:noescape
func dotRows8F32(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)

// dot2x6BF16 multiplies pairs of rows of n bfloat16 with six vectors and adds to lanes [pairs, 2, 6, 8], the
// running sums of rows and vectors. The rows of a pair are stride bytes apart, a pair and the next one next
// bytes. x is [n/8, 6, 8]. n is a multiple of 8 and neither n nor pairs is 0. What lies ahead bytes from the
// rows is fetched into the cache.
//
//go:noescape
func dot2x6BF16(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n, back int)

//go:noescape
func dot2x6F16(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n, back int)

//go:noescape
func dot2x6F32(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n, back int)

// sumLanes adds up the lanes [n, 8] of n sums, in the order of dotRows8BF16. n is a multiple of 4 and not 0.
//
//go:noescape
func sumLanes(sums, lanes *float32, n int)

// rows8 is laneKernels.one.
func rows8(w weight.Format) func(sums *float32, w *byte, stride, ahead int, x *float32, n, back int) {
	switch w {
	case weight.BF16:
		return dotRows8BF16
	case weight.F16:
		return dotRows8F16
	default:
		return dotRows8F32
	}
}

// several8 is laneKernels.several.
func several8(
	w weight.Format,
) func(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n, back int) {
	switch w {
	case weight.BF16:
		return dot2x6BF16
	case weight.F16:
		return dot2x6F16
	default:
		return dot2x6F32
	}
}
