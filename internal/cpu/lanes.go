//go:build amd64 || arm64

package cpu

import (
	"unsafe"

	"phi3/internal/safetensors"
)

// The functions of avx2_amd64.s. A weight row is read where it lies in memory, at any address, and never past its end.

// dotRows8BF16 sets sums [8] to the products of the vector x [n] with eight rows of n bfloat16 that are stride bytes apart.
// n is a multiple of 8. What lies ahead bytes from the rows is fetched into the cache.
//
//go:noescape
func dotRows8BF16(sums *float32, w *byte, stride, ahead int, x *float32, n int)

//go:noescape
func dotRows8F16(sums *float32, w *byte, stride, ahead int, x *float32, n int)

//go:noescape
func dotRows8F32(sums *float32, w *byte, stride, ahead int, x *float32, n int)

// dot2x6BF16 multiplies pairs of rows of n bfloat16 with six vectors and adds to lanes [pairs, 2, 6, 8], the running sums of rows and
// vectors. The rows of a pair are stride bytes apart, a pair and the next one next bytes. x is [n/8, 6, 8]. n is a multiple of 8 and
// neither n nor pairs is 0. What lies ahead bytes from the rows is fetched into the cache.
//
//go:noescape
func dot2x6BF16(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n int)

//go:noescape
func dot2x6F16(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n int)

//go:noescape
func dot2x6F32(lanes *float32, w *byte, stride, next, pairs, ahead int, x *float32, n int)

// sumLanes adds up the lanes [n, 8] of n sums, in the order of dotRows8BF16. n is a multiple of 4 and not 0.
//
//go:noescape
func sumLanes(sums, lanes *float32, n int)

const (
	avx2TileRows = 16
	avx2KBlock   = 1024
)

// avx2Dots is kernels.dots.
func avx2Dots(sums []float32, t *tile, x *input, s *scratch) {
	whole := t.k &^ 7
	if x.tokens == 1 {
		avx2OneToken(sums, t, x.row(0), whole)
	} else {
		groups := tokenGroups(x.tokens)
		for group := 0; group < groups; group += maxGroups {
			avx2Tokens(sums, t, x, s, whole, group, min(group+maxGroups, groups))
		}
	}
	addTail(sums, avx2TileRows, whole, t, x, s)
}

// dotRows8 is the right one of the three; n may be 0. sums has room for 8.
func dotRows8(dtype safetensors.DType, sums *float32, w *byte, stride, ahead int, x []float32, n int) {
	switch dtype {
	case safetensors.BF16:
		dotRows8BF16(sums, w, stride, ahead, unsafe.SliceData(x), n)
	case safetensors.F16:
		dotRows8F16(sums, w, stride, ahead, unsafe.SliceData(x), n)
	case safetensors.F32:
		dotRows8F32(sums, w, stride, ahead, unsafe.SliceData(x), n)
	}
}

// avx2OneToken sets sums [tileRows] to the products of a tile with x, up to k = whole.
func avx2OneToken(sums []float32, t *tile, x []float32, whole int) {
	stride := t.k * elemSize(t.dtype)
	half := avx2TileRows
	if t.second > 0 {
		half /= 2
	}
	for i := 0; i < avx2TileRows; i += 8 {
		first := i % half
		n := t.n + first + i/half*t.second // the weight's row whose sum is sums[i]
		if t.count-first >= 8 {
			dotRows8(t.dtype, &sums[i], &t.row(n)[0], stride, 8*stride, x, whole)
			continue
		}
		var same [8]float32
		for j := range max(0, t.count-first) { // the end of the matrix: eight times one row
			dotRows8(t.dtype, &same[0], &t.row(n + j)[0], 0, 0, x, whole)
			sums[i+j] = same[0]
		}
	}
}

// avx2Tokens sets sums [tokens, tileRows] of the tokens in groups first … last-1 to their products with a tile, up to k = whole.
//
// The loops are, from outside in: blocks of k, groups of tokens, pairs of rows, and k again in a kernel. So a group's values of a block
// (24 KB) stay in the first cache while the pairs pass, and the tile's (32 KB) are in the second cache from the first group on.
// The running sums wait in memory between two blocks; a sum's order is the one that a single token has.
func avx2Tokens(sums []float32, t *tile, x *input, s *scratch, whole, first, last int) {
	dot := dot2x6BF16
	switch t.dtype {
	case safetensors.F16:
		dot = dot2x6F16
	case safetensors.F32:
		dot = dot2x6F32
	}
	size := elemSize(t.dtype)
	stride := t.k * size
	// Pair i is the rows n+i·step and n+i·step+distance of the weight; their sums' places are i·step and i·step+place.
	pairs, step, distance, place := t.count/2, 2, 1, 1
	if t.second > 0 {
		pairs, step, distance, place = t.count, 1, t.second, avx2TileRows/2
	}
	odd := t.second == 0 && t.count%2 == 1 // a last row alone: a pair of twice the same
	allPairs := pairs
	if odd {
		allPairs++
	}
	lanes := s.lanes[:(last-first)*allPairs*pairLanes]
	clear(lanes)
	for k := 0; k < whole; k += avx2KBlock {
		n := min(avx2KBlock, whole-k)
		ahead := allPairs * step * stride // the next tile, which the first group fetches
		for group := first; group < last; group++ {
			x := &x.packed[(group*(whole/8)+k/8)*tokenGroup*8]
			lanes := lanes[(group-first)*allPairs*pairLanes:]
			if pairs > 0 {
				dot(&lanes[0], &t.row(t.n)[k*size], distance*stride, step*stride, pairs, ahead, x, n)
			}
			if odd {
				dot(&lanes[pairs*pairLanes], &t.row(t.n + pairs*step)[k*size], 0, 0, 1, ahead, x, n)
			}
			ahead = 0
		}
	}
	pairs = allPairs
	pairSums := s.pairSums[:pairs*2*tokenGroup]
	for group := first; group < last; group++ {
		sumLanes(&pairSums[0], &lanes[(group-first)*pairs*pairLanes], len(pairSums))
		for token := group * tokenGroup; token < min((group+1)*tokenGroup, x.tokens); token++ {
			to := row(sums, token, avx2TileRows)
			for pair := range pairs {
				from := pairSums[pair*2*tokenGroup+token-group*tokenGroup:]
				to[pair*step], to[pair*step+place] = from[0], from[tokenGroup]
			}
		}
	}
}
