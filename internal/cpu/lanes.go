//go:build amd64 || arm64

package cpu

import (
	"encoding/binary"
	"unsafe"

	"phi3/internal/weight"
)

// laneKernels are kernels of a matrix product whose every result has as many running sums, its lanes, as a
// register has: the i-th takes the products (or pairs of them) i, i+lanes, … in ascending order. At the end
// they are added pairwise.
//
// Where k is not a multiple of step, the last step is the row's last step weights. The input has zeros for
// those of them that the step before has taken, so a kernel never reads past a row.
type laneKernels struct {
	lanes int // running sums of a result
	step  int // of k, multiplied at once
	rows  int // rows multiplied at once where there are several tokens

	// one sets sums [8] to the products of x with eight rows of n weights that are stride bytes apart. n is a
	// multiple of step. Where back is not 0, one more step follows, whose weights begin back bytes before the
	// end of the n ones. What lies ahead bytes from the rows is fetched into the cache.
	one func(w weight.Format) func(sums *float32, w *byte, stride, ahead int, x *float32, n, back int)
	// several multiplies blocks of rows of n weights with six tokens and adds to lanes [blocks, rows, 6,
	// lanes]. The rows of a block are stride bytes apart, a block and the next one next bytes. x is as
	// packed, [steps, 6, step]. n is a multiple of step and neither n nor blocks is 0; back is that of one.
	// What lies ahead bytes from the rows is fetched into the cache.
	several func(w weight.Format) func(lanes *float32, w *byte, stride, next, blocks, ahead int,
		x *float32, n, back int)
	// sum adds up the lanes [n, lanes] of n sums, as one does. n is a multiple of 4 and not 0.
	sum func(sums, lanes *float32, n int)
	// narrow, if set: x is bfloat16, two in the place of a float32; it makes them of x [n], which has been
	// rounded.
	narrow func(to *byte, x *float32, n int)
}

const (
	laneBlock  = 1024 // of k
	tokenGroup = 6    // what several multiplies at once
	// The most rows of a tile, and the most groups whose running sums are kept while others are computed: 192
	// KB of them with 16 lanes.
	laneMostRows = 64
	maxGroups    = 8
)

// linear are the loops around the kernels.
func (l *laneKernels) linear() *linearKernels {
	return &linearKernels{
		tileRows: laneTileRows,
		multiply: l.multiply,
		newScratch: func(s *scratch, _, maxTokens int) {
			grow(&s.sums, maxTokens*laneMostRows)
			grow(&s.lanes, min(tokenGroups(maxTokens), maxGroups)*(laneMostRows+2*l.rows)*tokenGroup*l.lanes)
			grow(&s.tail, l.step-1) // see addShort
		},
		pack:        l.pack,
		packedBytes: func(tokens, k int) int { return tokenGroups(tokens) * tokenGroup * l.steps(k) * l.step * l.elemSize() },
		group:       tokenGroup,
	}
}

// laneTileRows: few rows where weights are read only once or twice, many where tokens have to be read again
// for every tile. Threads must find enough tiles.
func laneTileRows(tokens, cols, threads int) int {
	if tokens <= 2*tokenGroup {
		return 16
	}
	return min(laneMostRows, max(16, cols/(4*threads)/16*16))
}

// elemSize is the bytes of a packed value.
func (l *laneKernels) elemSize() int {
	if l.narrow != nil {
		return 2
	}
	return 4
}

// tokenGroups is how many groups so many tokens make.
func tokenGroups(tokens int) int { return (tokens + tokenGroup - 1) / tokenGroup }

// steps is how many steps a row of k weights takes; none if it is shorter than one.
func (l *laneKernels) steps(k int) int {
	if k < l.step {
		return 0
	}
	return (k + l.step - 1) / l.step
}

// back is how many bytes before the end of the whole steps of a row of k weights its last step begins, 0 if
// nothing is left over.
func (l *laneKernels) back(k, size int) int {
	if k < l.step || k%l.step == 0 {
		return 0
	}
	return (l.step - k%l.step) * size
}

// lay writes steps first … last-1 of a token's values.
func (l *laneKernels) lay(to []byte, x []float32, first, last int) {
	whole, size := min(last, len(x)/l.step), l.elemSize()
	switch values := x[first*l.step : whole*l.step]; {
	case l.narrow == nil:
		copy(floats(to), values)
	case len(values) > 0:
		l.narrow(&to[0], &values[0], len(values))
	}
	if whole == last {
		return
	}
	rest := x[whole*l.step:]
	to = to[(whole-first)*l.step*size:][:l.step*size]
	clear(to)
	to = to[(l.step-len(rest))*size:]
	if l.narrow == nil {
		copy(floats(to), rest)
		return
	}
	for i, v := range rest {
		binary.LittleEndian.PutUint16(to[2*i:], upperHalf(v))
	}
}

// pack is linearKernels.pack: a step of each of six tokens, and on to the next step. (Rows of several
// thousand values would lie at the same place in every way of the first cache.) A single token's steps follow
// each other.
func (l *laneKernels) pack(in *input, group int) {
	steps, size := l.steps(in.k), l.step*l.elemSize()
	if in.tokens == 1 {
		l.lay(in.packed, in.x, 0, steps)
		return
	}
	packed := in.packed[group*steps*tokenGroup*size:]
	for i := range tokenGroup {
		token := group*tokenGroup + i
		var x []float32
		if token < in.tokens {
			x = in.row(token)
		}
		for step := range steps {
			to := packed[(step*tokenGroup+i)*size:][:size]
			if x == nil {
				clear(to) // no token: finite numbers at least
				continue
			}
			l.lay(to, x, step, step+1)
		}
	}
}

// multiply is linearKernels.multiply.
func (l *laneKernels) multiply(p *product, t *tile, s *scratch) {
	rows, halves := p.group, 1 // rows of sums, a half
	if t.second > 0 {
		halves = 2
	}
	sums := s.sums[:p.in.tokens*halves*rows] // [tokens, halves, rows]
	x := &p.in
	whole := t.k / l.step * l.step
	for half := range halves {
		n := t.n + half*t.second
		if x.tokens == 1 {
			l.oneToken(sums[half*rows:], t, n, x, s, whole)
			continue
		}
		groups := tokenGroups(x.tokens)
		for group := 0; group < groups; group += maxGroups {
			l.tokens(sums[half*rows:], halves*rows, t, n, x, s, whole, group, min(group+maxGroups, groups))
		}
	}
	if whole == 0 {
		addShort(sums, halves*rows, t, x, s)
	}
	p.finishSums(sums, halves*rows, t)
}

// oneToken sets sums to the products of t.count rows from n on with the only token. whole of k make whole
// steps.
func (l *laneKernels) oneToken(sums []float32, t *tile, n int, x *input, s *scratch, whole int) {
	one := l.one(t.dtype)
	stride, back := t.k*elemSize(t.dtype), l.back(t.k, elemSize(t.dtype))
	values := unsafe.SliceData(floats(x.packed))
	for i := 0; i < t.count; i += 8 {
		if t.count-i >= 8 {
			one(&sums[i], &t.row(n + i)[0], stride, 8*stride, values, whole, back)
			continue
		}
		same := &s.blockSums
		for j := i; j < t.count; j++ { // the end of the matrix: eight times one row
			one(&same[0], &t.row(n + j)[0], 0, 0, values, whole, back)
			sums[j] = same[0]
		}
	}
}

// tokens sets sums, cols of them a token, of the tokens in groups first … last-1 to their products with
// t.count rows from n on. whole of k make whole steps.
//
// The loops are, from outside in: blocks of k, groups of tokens, blocks of rows, and k again in a kernel. So
// a group's values of a block of k (24 KB) stay in the first cache while the rows pass, and the tile's (up to
// 128 KB) are in the second cache from the first group on. The running sums wait in memory between two blocks
// of k; a sum's order is the one that a single token has.
func (l *laneKernels) tokens(
	sums []float32, cols int, t *tile, n int, x *input, s *scratch, whole, first, last int,
) {
	several := l.several(t.dtype)
	size := elemSize(t.dtype)
	stride := t.k * size
	// rows of the rest are blocks of their own: the same row several times
	full, rest := t.count/l.rows, t.count%l.rows
	blocks := full + rest
	values := floats(x.packed)
	step := tokenGroup * l.step * l.elemSize() / 4 // of values
	blockLanes := l.rows * tokenGroup * l.lanes
	lanes := s.lanes[:(last-first)*blocks*blockLanes]
	clear(lanes)
	for k := 0; k < whole; k += laneBlock {
		width, back := min(laneBlock, whole-k), 0
		if k+width == whole {
			back = l.back(t.k, size)
		}
		ahead := t.count * stride // the next tile, which the first group fetches
		for group := first; group < last; group++ {
			x := &values[(group*l.steps(t.k)+k/l.step)*step]
			lanes := lanes[(group-first)*blocks*blockLanes:]
			if full > 0 {
				several(&lanes[0], &t.row(n)[k*size], stride, l.rows*stride, full, ahead, x, width, back)
			}
			if rest > 0 {
				several(&lanes[full*blockLanes], &t.row(n + full*l.rows)[k*size], 0, stride, rest, ahead, x,
					width, back)
			}
			ahead = 0
		}
	}
	blockSums := &s.blockSums
	for group := first; group < last; group++ {
		for block := range blocks {
			l.sum(&blockSums[0], &lanes[((group-first)*blocks+block)*blockLanes], l.rows*tokenGroup)
			i, rows := block*l.rows, l.rows
			if block >= full {
				i, rows = full*l.rows+block-full, 1
			}
			for token := group * tokenGroup; token < min((group+1)*tokenGroup, x.tokens); token++ {
				for r := range rows {
					sums[token*cols+i+r] = blockSums[r*tokenGroup+token-group*tokenGroup]
				}
			}
		}
	}
}
