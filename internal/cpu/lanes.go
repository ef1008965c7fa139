//go:build amd64 || arm64

package cpu

import (
	"encoding/binary"
	"unsafe"

	"phi3/internal/weight"
)

// laneKernels are loops of a matrix product in which each result has several running sums, its lanes: as many
// as a register holds. Lane i takes the products (or pairs of products) i, i+lanes, … in ascending order. At
// the end the lanes are added pairwise.
//
// If k is not a multiple of step, one more step takes the last step weights of the row. Some of them were
// taken before; the input has zeros for those. So a kernel never reads past the end of a row.
type laneKernels struct {
	lanes int // running sums of a result
	step  int // how many of k are multiplied at once
	rows  int // how many rows are multiplied at once if there are several tokens: a band

	// one adds to sums [8, lanes], the running sums, the products of x [k] with eight rows of k weights, and
	// prefetches rows. It returns nil if quantized weights must be unpacked first.
	one func(w weight.Format) func(*dotArgs)
	// several returns two loops, for groups of six and of four tokens. They add to sums [bands, rows, group,
	// lanes], the running sums, the products of bands of rows with a group of tokens, x [k/step, group,
	// step], and prefetch rows. k is at least a step.
	several func(w weight.Format) (six, four func(*dotArgs))
	// sum adds up the lanes [n, lanes] of n sums. n is a multiple of 4, at least 4.
	sum func(sums, lanes *float32, n int)
	// sumBand, if set, adds up the lanes of the first n tokens of a group and of the four rows of a band,
	// which are laneStride bytes apart. The four sums of a token are stride bytes after those of the token
	// before.
	sumBand func(sums *float32, stride int, lanes *float32, laneStride, n int)
	// narrow, if set, converts x [n], which has been rounded, to bfloat16, and writes the steps stride bytes
	// apart; then the packed values are bfloat16, two in the place of a float32. n is a multiple of step.
	narrow func(to *byte, stride int, x *float32, n int)
}

const (
	laneStretch = 1024 // of k
	// The most rows of a panel for up to fewTokens tokens.
	laneFewRows, fewTokens = 32, 32
	// How many tokens several multiplies at once.
	largeGroup, smallGroup = 6, 4
	// The most rows of a panel, and the most groups of tokens whose running sums are kept at a time: together
	// 192 KB with 16 lanes.
	laneMaxRows = 64
	maxGroups   = 8
	// How many of k of eight quantized rows are unpacked at once for a single token: 8 KB.
	oneStretch = 512
	// How many quantized weights of a panel are unpacked at once for several tokens: half of a second-level
	// cache of 1 MB.
	mostUnpacked = 256 << 10
)

// linear returns the loops around the kernels.
func (l *laneKernels) linear() *linearKernels {
	return &linearKernels{
		panelRows: lanePanelRows, unpackedRows: laneUnpackedRows,
		multiply: l.multiply,
		scratch: func(widest, maxTokens int) scratchSize {
			groups := min(laneGroups(maxTokens).count(), maxGroups)
			return scratchSize{
				sums:  maxTokens * laneMaxRows,
				lanes: groups * (laneMaxRows + 2*l.rows) * largeGroup * l.lanes,
				tail:  l.step - 1, // see addShort

				unpacked: min(laneMaxRows*upTo32(widest), max(mostUnpacked, 16*widest)),
			}
		},
		pack: l.pack,
		packItems: func(tokens int) (items, size int) {
			if tokens == 1 {
				return 1, 1
			}
			return laneGroups(tokens).places(), 1
		},
		packedBytes: func(tokens, k int) int {
			return laneGroups(tokens).places() * l.steps(k) * l.step * l.elemSize()
		},
	}
}

// lanePanelRows returns few rows if weights are read only once or twice, and many if tokens are read again
// for every panel. There must be enough panels for the threads.
func lanePanelRows(tokens, cols, threads int) int {
	most := laneMaxRows
	if tokens <= fewTokens {
		most = laneFewRows
	}
	return min(most, max(16, cols/(4*threads)/16*16))
}

// laneUnpackedRows is linearKernels.unpackedRows.
func laneUnpackedRows(k int) int { return min(laneMaxRows, max(16, mostUnpacked/k/16*16)) }

// elemSize returns the bytes of a packed value.
func (l *laneKernels) elemSize() int {
	if l.narrow != nil {
		return 2
	}
	return 4
}

// tokenGroups divides tokens into groups: large ones, then small ones. The last group may have fewer tokens
// than places.
type tokenGroups struct{ large, small int }

// count returns the number of groups.
func (g tokenGroups) count() int { return g.large + g.small }

// first returns the first token of group i, which is the number of places before it.
func (g tokenGroups) first(i int) int {
	return min(i, g.large)*largeGroup + max(0, i-g.large)*smallGroup
}

// places returns the number of places of all groups.
func (g tokenGroups) places() int { return g.first(g.count()) }

// around returns the first place of the group that a place is in, and the number of the group's places.
func (g tokenGroups) around(place int) (first, places int) {
	if rest := place - g.large*largeGroup; rest >= 0 {
		return place - rest%smallGroup, smallGroup
	}
	return place - place%largeGroup, largeGroup
}

// laneGroups divides tokens into groups of six and at most two groups of four, so that at most one place of
// a group is empty (two, if there are only two tokens).
func laneGroups(tokens int) tokenGroups {
	small := [largeGroup]int{0, 2, 2, 1, 1, 0}[tokens%largeGroup]
	if tokens < smallGroup {
		small = 1
	}
	large := max(0, tokens-small*smallGroup+largeGroup-1) / largeGroup
	return tokenGroups{large, small}
}

// steps returns how many steps a row of k weights takes: 0 if it is shorter than a step.
func (l *laneKernels) steps(k int) int {
	if k < l.step {
		return 0
	}
	return (k + l.step - 1) / l.step
}

// back returns how many bytes before the end of the whole steps of a row of k weights the last step begins,
// or 0 if the row consists of whole steps.
func (l *laneKernels) back(k, size int) int {
	if k < l.step || k%l.step == 0 {
		return 0
	}
	return (l.step - k%l.step) * size
}

// pack is linearKernels.pack. An item is a place of a group: the token there, or none. One step of each token
// of a group is followed by the next step of each. (Six rows of several thousand values each would compete
// for the same places of the first-level cache.)
func (l *laneKernels) pack(in *input, place int) {
	first, tokens := 0, 1
	if in.tokens > 1 {
		first, tokens = laneGroups(in.tokens).around(place)
	}
	steps, size := l.steps(in.k), l.step*l.elemSize()
	if steps == 0 {
		return
	}
	to, stride := in.packed[(first*steps+place-first)*size:], tokens*size
	if place >= in.tokens { // no token: any finite numbers
		for step := range steps {
			clear(to[step*stride:][:size])
		}
		return
	}
	x := in.row(place)
	whole := in.k / l.step
	if l.narrow != nil {
		l.narrow(&to[0], stride, &x[0], whole*l.step)
	} else {
		for step := range whole {
			copy(floats(to[step*stride:][:size]), x[step*l.step:][:l.step])
		}
	}
	if whole < steps {
		l.packRest(to[whole*stride:][:size], x[whole*l.step:])
	}
}

// packRest writes the last step, which begins with zeros for weights that were multiplied before.
func (l *laneKernels) packRest(to []byte, rest []float32) {
	clear(to)
	to = to[(l.step-len(rest))*l.elemSize():]
	if l.narrow == nil {
		copy(floats(to), rest)
		return
	}
	for i, v := range rest {
		binary.LittleEndian.PutUint16(to[2*i:], upperHalf(v))
	}
}

// multiply is linearKernels.multiply.
func (l *laneKernels) multiply(p *product, t *panel, s *scratch) {
	halves := 1
	if t.second > 0 {
		halves = 2
	}
	cols := halves * p.panelCols
	sums := s.sums[:p.in.tokens*cols] // [tokens, halves, panelCols]
	half := &s.half
	*half = halfPanel{panel: t, cols: cols, in: &p.in, whole: t.k / l.step * l.step}
	for i := range halves {
		half.sums, half.n = sums[i*p.panelCols:], t.n+i*t.second
		if p.in.tokens == 1 {
			l.oneToken(half, s)
			continue
		}
		half.rows, half.stride = half.bytes[half.n*half.rowBytes:], half.rowBytes
		if half.unpack != nil {
			half.unpackRows(s.unpacked[:half.count*half.k], half.n, half.count, 0,
				(half.next-half.panel.n)*half.rowBytes)
			half.rows, half.stride = bytesOf(s.unpacked), 2*half.k
		}
		groups := laneGroups(p.in.tokens).count()
		for group := 0; group < groups; group += maxGroups {
			l.tokens(half, s, group, min(group+maxGroups, groups))
		}
	}
	if half.whole == 0 {
		addShort(sums, cols, t, &p.in, s)
	}
	p.finishSums(sums, cols, t)
}

// oneToken sets the sums of the only token.
func (l *laneKernels) oneToken(h *halfPanel, s *scratch) {
	direct := l.one(h.format) // without unpacking
	one, size := l.one(h.operand), elemSize(h.operand)
	values := floats(h.in.packed)
	lanes := s.lanes[:8*l.lanes]
	a := &s.dot
	a.sums = &lanes[0]
	for i := 0; i < h.count; {
		n, rows := h.n+i, 8
		if h.count-i < 8 { // the end of the matrix: the same row eight times
			rows = 1
		}
		clear(lanes)
		if direct != nil {
			a.rows, a.stride = &h.row(n)[0], rows/8*h.rowBytes
			a.ahead = 8 * a.stride
			a.x, a.k, a.back = unsafe.SliceData(values), h.whole, l.back(h.k, size)
			a.scales = &bytesOf(s.unpacked)[0]
			direct(a)
		} else {
			a.rows, a.ahead, a.back = &bytesOf(s.unpacked)[0], 0, 0
			for k := 0; k < h.k; k += oneStretch {
				a.k = min(oneStretch, h.k-k)
				a.x, a.stride = &values[k*l.elemSize()/4], rows/8*a.k*size
				h.unpackRows(s.unpacked[:rows*a.k], n, rows, k, 8*h.rowBytes)
				one(a)
			}
		}
		if rows == 8 {
			l.sum(&h.sums[i], &lanes[0], 8)
		} else {
			l.sum(&s.bandSums[0], &lanes[0], 4)
			h.sums[i] = s.bandSums[0]
		}
		i += rows
	}
}

// tokens sets the sums of the tokens in groups first … last-1.
//
// The loops are, from outside in: stretches of k, groups of tokens, bands of rows, and k again in a kernel.
// A group's values of a stretch (24 KB) stay in the first-level cache while the rows pass, and the weights of
// a stretch (up to 128 KB) are in the second-level cache from the first group on. The running sums wait in
// memory between two stretches, so the order of a sum is the one that a single token has.
//
// Meanwhile the weights of the next stretch are prefetched. Each group prefetches its share of them: too many
// prefetches at once would delay the loads.
func (l *laneKernels) tokens(h *halfPanel, s *scratch, first, last int) {
	six, four := l.several(h.operand)
	b := l.bandsOf(h, s, first, last)
	a := &s.dot
	for k := 0; k < h.whole; k += laneStretch {
		a.k, a.back = min(laneStretch, h.whole-k), 0
		then := a.k * b.size // where the weights are that follow
		if k+a.k == h.whole {
			a.back = l.back(h.k, b.size)
			then = h.count*h.stride - k*b.size // in the next panel
		}
		for group := first; group < last; group++ {
			at, tokens := b.group(group)
			several := six
			if tokens == smallGroup {
				several = four
			}
			a.x = &floats(h.in.packed)[(at*l.steps(h.k)+k/l.step*tokens)*l.step*l.elemSize()/4]
			a.ahead, a.pace = 0, l.step*b.size
			if h.unpack == nil && first == 0 {
				a.ahead = then + group*a.k*b.size/last
				a.pace /= last
			}
			b.multiply(a, several, h.rows[k*b.size:], group)
		}
	}
	for group := first; group < last; group++ {
		b.sum(group)
	}
}

// laneBands are the bands of rows that are multiplied with some groups of tokens, and their running sums.
// Rows that do not fill a band are bands of their own: the same row several times.
type laneBands struct {
	*laneKernels
	h          *halfPanel
	s          *scratch
	groups     tokenGroups
	start      int // the first token
	full, rest int // the bands of several rows, and those of one row
	size       int // the bytes of a weight
	lanes      []float32
}

// bandsOf returns the bands of the panel, for the groups first … last-1. Their sums are 0.
func (l *laneKernels) bandsOf(h *halfPanel, s *scratch, first, last int) laneBands {
	b := laneBands{laneKernels: l, h: h, s: s, groups: laneGroups(h.in.tokens), size: elemSize(h.operand)}
	b.start = b.groups.first(first)
	b.full, b.rest = h.count/l.rows, h.count%l.rows
	b.lanes = s.lanes[:b.sumsOf(b.groups.first(last)-b.start)]
	clear(b.lanes)
	return b
}

// sumsOf returns how many running sums there are for some tokens.
func (b *laneBands) sumsOf(tokens int) int {
	return (b.full + b.rest) * b.rows * tokens * b.laneKernels.lanes
}

// group returns the first token of a group and the number of its places.
func (b *laneBands) group(i int) (first, tokens int) {
	first = b.groups.first(i)
	return first, b.groups.first(i+1) - first
}

// multiply adds the products of all bands with a group. The rest of a is set.
func (b *laneBands) multiply(a *dotArgs, several func(*dotArgs), rows []byte, group int) {
	at, tokens := b.group(group)
	lanes := b.lanes[b.sumsOf(at-b.start):]
	if b.full > 0 {
		a.sums, a.rows, a.bands = &lanes[0], &rows[0], b.full
		a.stride, a.next = b.h.stride, b.rows*b.h.stride
		several(a)
	}
	if b.rest > 0 {
		band := b.rows * tokens * b.laneKernels.lanes
		a.sums, a.rows, a.bands = &lanes[b.full*band], &rows[b.full*b.rows*b.h.stride], b.rest
		a.stride, a.next = 0, b.h.stride
		several(a)
	}
}

// sum sets the sums of a group's tokens.
func (b *laneBands) sum(group int) {
	at, tokens := b.group(group)
	lanes := b.lanes[b.sumsOf(at-b.start):]
	for band := range b.full + b.rest {
		if b.sumBand != nil && band < b.full {
			b.sumBand(&b.h.sums[at*b.h.cols+band*b.rows], 4*b.h.cols,
				&lanes[band*b.rows*tokens*b.laneKernels.lanes], 4*tokens*b.laneKernels.lanes,
				min(tokens, b.h.in.tokens-at))
			continue
		}
		b.laneKernels.sum(&b.s.bandSums[0], &lanes[band*b.rows*tokens*b.laneKernels.lanes], b.rows*tokens)
		i, rows := band*b.rows, b.rows
		if band >= b.full {
			i, rows = b.full*b.rows+band-b.full, 1
		}
		for token := at; token < min(at+tokens, b.h.in.tokens); token++ {
			for r := range rows {
				b.h.sums[token*b.h.cols+i+r] = b.s.bandSums[r*tokens+token-at]
			}
		}
	}
}
