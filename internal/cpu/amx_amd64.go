package cpu

import (
	"unsafe"

	"phi3/internal/weight"
)

// The functions of amx_amd64.s. config is one of tileConfigs. A step is 32 values of k: a tile of weights and
// one of tokens each, of 1 KiB. steps, blocks, rows and tokens are at least 1. Where fresh is not set, sums
// go on from what they are.

// amxRows sets sums [16, width/4] to the products of 16 rows of bfloat16, stride bytes apart, with width/4
// tokens. A row's next step is next bytes on. x is [steps, 16, width/4, 2]. Meanwhile it fetches what it will
// read, and at last 8 steps of 16 rows at then, as far apart, an address that need not exist.
//
//go:noescape
func amxRows(config *byte, sums *float32, w *byte, stride, next int, x *byte, width, steps int, fresh bool,
	then uintptr)

// amxRows32 sets sums [4, 16, 16], of which half are used, to the products of 16 rows likewise with 32
// tokens, x [steps, 2, 16, 16, 2].
//
//go:noescape
func amxRows32(config *byte, sums *float32, w *byte, stride, next int, x *byte, group, steps int, fresh bool,
	then uintptr)

// amxRows64 sets them to the products with 32 tokens and those group bytes on.
//
//go:noescape
func amxRows64(config *byte, sums *float32, w *byte, stride, next int, x *byte, group, steps int, fresh bool,
	then uintptr)

// amxRowsSplit sets sums [2, 16, width/4] to the products of twice 16 rows, the second ones second bytes
// after the first, in two parts: w is [steps, 2, 16, 32], and the sums take a step's first part, then its
// second one.
//
//go:noescape
func amxRowsSplit(config *byte, sums *float32, w *byte, second int, x *byte, width, steps int, fresh bool)

// amxBlocks sets sums [blocks, 2, 2, 16, 16] to the products of w [blocks, steps, 2, 16, 32] with 32 tokens x
// [steps, 2, 16, 16, 2]. It fetches nextX, as much as x, into the second cache, and so many steps of 2·blocks
// rows of weights at nextW, nextStride bytes apart; these are addresses that need not exist.
//
//go:noescape
func amxBlocks(config *byte, sums *float32, w, x *byte, steps, blocks int, fresh bool, nextX, nextW uintptr,
	nextStride int)

// amxBlocksSplit is the same for weights in two parts: w [blocks, steps, 2 parts, 2, 16, 32].
//
//go:noescape
func amxBlocksSplit(config *byte, sums *float32, w, x *byte, steps, blocks int, fresh bool, nextX,
	nextW uintptr, nextStride int)

// packRowsBF16 copies steps of rows, stride bytes apart, to tiles [16, 32] that are next bytes apart.
//
//go:noescape
func packRowsBF16(to, w *byte, stride, rows, steps, next int)

// packRowsF16 makes two bfloat16 of every float16, of which it is the sum: one of the upper 8 bits of its
// significand, and one, second bytes further on, of the others.
//
//go:noescape
func packRowsF16(to, w *byte, stride, rows, steps, next, second int)

// narrowBF16 copies the upper halves of x [n]. n is a multiple of 32 and not 0.
//
//go:noescape
func narrowBF16(to *byte, x *float32, n int)

// packTokens copies the upper halves of steps of up to 16 tokens, stride bytes apart, to tiles [16 pairs of
// k, 16 tokens, 2] that are next bytes apart, and their pairs pair bytes.
//
//go:noescape
func packTokens(to *byte, x *float32, stride, tokens, steps, next, pair int)

// packPairs copies the upper halves of x [2·pairs, n], whose rows are stride bytes apart, to [pairs, n, 2
// rows], toStride bytes apart, and returns whether all are finite. n is a multiple of 16.
//
//go:noescape
func packPairs(to *byte, toStride int, x *float32, stride, pairs, n int) (finite bool)

// storeTile writes sums [16, 16] of up to 16 rows and tokens to the matrix at to, whose rows are stride bytes
// apart, one a token.
//
//go:noescape
func storeTile(to *float32, stride int, sums *float32, rows, tokens int)

// streamTile does the same past the caches. rows is 16, and to and stride are multiples of 64.
//
//go:noescape
func streamTile(to *float32, stride int, sums *float32, rows, tokens int)

// addTile adds them to what is there.
//
//go:noescape
func addTile(to *float32, stride int, sums *float32, rows, tokens int)

// amxCompute has n times four tiles multiplied and added.
//
//go:noescape
func amxCompute(config *byte, n int)

var amxKernels = &kernels{
	name: "amx", maxTokens: amxBlockTokens,
	linear: func(w weight.Format, float32 bool) *linearKernels {
		if float32 || w == weight.F32 {
			return avx512Linear
		}
		return amxLinear
	},
	vectors: amxVectors, read: avx2Read,
	compute: func() float64 {
		const n = 2_000
		amxCompute(&tileConfigs.full[0], n)
		return n * 4 * 16 * 16 * 32 * 2
	},
}

var amxLinear = &linearKernels{
	panelRows: amxPanelRows, packTokens: 32, pack: amxPack, multiply: amxMultiply,
	scratch: func(_, maxTokens int) scratchSize {
		return scratchSize{
			packed: amxMostRows * amxBlockSteps * 64 * 2,
			sums:   upTo32(min(maxTokens, amxBlockTokens)) * amxMostRows,
		}
	},
	packedBytes: func(tokens, k int) int {
		if tokens <= 16 {
			return upTo32(k) * 16 * 2
		}
		return upTo32(tokens) * upTo32(k) * 2
	},
}

const (
	// A tile of many tokens is up to 256 rows, so that the tokens, which come from the last cache, are
	// multiplied often enough. Blocks of 512 of k of it, 256 KB, are in the second cache while all tokens
	// pass, together with the sums of 512 tokens, another 512 KB; a block of 32 tokens, 32 KB, is in the
	// first one while the rows pass.
	amxMostRows    = 256
	amxBlockSteps  = 16
	amxBlockTokens = 512
)

// tileConfigs say how large the eight tiles are: 16 rows of 64 bytes; for a single token, one column of sums
// (T0, T1) and of 16 pairs of k (T6).
var tileConfigs = func() (c struct{ full, single [64]byte }) {
	for _, c := range []*[64]byte{&c.full, &c.single} {
		c[0] = 1 // palette
		for tile := range 8 {
			c[16+2*tile], c[48+tile] = 64, 16
		}
	}
	c.single[16+2*0], c.single[16+2*1], c.single[16+2*6] = 4, 4, 4
	return c
}()

// amxPanelRows: few rows for one reading of weights, many where tokens have to be read again for every tile.
// Threads must find enough tiles.
func amxPanelRows(tokens, cols, threads int) int {
	if tokens <= 16 {
		return 32
	}
	return min(amxMostRows, max(32, cols/(4*threads)/32*32))
}

// amxPack lays a group of 32 tokens out in tiles [steps, 2, 16, 16, 2], or up to 16 tokens that are all there
// are in tiles [steps, 16, 16, 2], or a single one in [steps, 16, 1, 2]. What is missing of the last step is
// zeros.
func amxPack(in *input, group int) {
	whole := in.k &^ 31
	steps := upTo32(in.k) / 32
	var last [16 * 32]float32
	if in.tokens == 1 {
		if whole > 0 {
			narrowBF16(&in.packed[0], &in.x[0], whole)
		}
		if whole < in.k {
			copy(last[:], in.x[whole:])
			narrowBF16(&in.packed[2*whole], &last[0], 32)
		}
		return
	}
	next := 2048
	if in.tokens <= 16 {
		next = 1024
	}
	packed := in.packed[group*steps*2048:]
	for half := range 2 {
		first := group*32 + half*16
		tokens := min(in.tokens-first, 16)
		if tokens <= 0 {
			if in.tokens > 16 { // finite numbers at least
				for step := range steps {
					clear(packed[step*2048+1024 : (step+1)*2048])
				}
			}
			break
		}
		to := packed[half*1024:]
		if whole > 0 {
			packTokens(&to[0], &in.x[first*in.k], in.k*4, tokens, whole/32, next, 64)
		}
		if whole < in.k {
			clear(last[:])
			for i := range tokens {
				copy(last[i*32:], in.row(first + i)[whole:])
			}
			packTokens(&to[whole/32*next], &last[0], 32*4, tokens, 1, next, 64)
		}
	}
}

// amxMultiply is linearKernels.multiply.
func amxMultiply(p *product, t *panel, s *scratch) {
	if p.in.tokens <= 16 {
		amxFewTokens(p, t, s)
		return
	}
	if p.in.tokens <= 64 && t.dtype == weight.BF16 {
		amxSomeTokens(p, t, s)
		return
	}
	for first := 0; first < p.in.tokens; first += amxBlockTokens {
		amxManyTokens(p, t, s, first, min(first+amxBlockTokens, p.in.tokens))
	}
}

// amxFewTokens multiplies twice 16 rows by up to 16 tokens. Weights of bfloat16 are read where they are.
func amxFewTokens(p *product, t *panel, s *scratch) {
	tokens, width, config := p.in.tokens, 64, &tileConfigs.full[0]
	if tokens == 1 {
		width, config = 4, &tileConfigs.single[0]
	}
	n, count := [2]int{t.n, t.n + 16}, [2]int{min(16, t.count), max(0, t.count-16)}
	if t.second > 0 {
		n[1], count[1] = t.n+t.second, count[0]
	}
	place := 16 * width / 4 // of the second ones' sums
	sums := s.sums[:2*place]
	if t.dtype == weight.F16 {
		amxSumSplit(sums, t, n, count, &p.in, s, config, width)
	} else {
		for i := range 2 {
			then := t.next
			if i == 0 && count[1] > 0 {
				then = n[1]
			}
			amxSumRows(sums[i*place:], t, n[i], count[i], then, &p.in, s, config, width)
		}
	}
	if t.second > 0 {
		p.gate(sums[:place], sums[place:])
		count[1] = 0
	}
	for i := range 2 {
		switch {
		case count[i] == 0:
		case tokens == 1:
			p.finish(0, n[i], sums[i*place:][:count[i]])
		default:
			p.finishTile(n[i], count[i], 0, tokens, &sums[i*place])
		}
	}
}

// amxMostWidth is how many values of k of two times 16 rows are packed at once: two parts of them are 256 KB.
const amxMostWidth = 2048

// amxSumRows sets sums [16, width/4] to the products of up to 16 rows from n on with up to 16 tokens, or sums
// [4, 16, 16] to those with up to 64. The rows from then on are what will be read next.
func amxSumRows(sums []float32, t *panel, n, count, then int, x *input, s *scratch, config *byte, width int) {
	multiply := func(w *byte, stride, next, k, steps int, then uintptr) {
		switch step := k / 32; {
		case x.tokens <= 16:
			amxRows(config, &sums[0], w, stride, next, &x.packed[step*16*width], width, steps, k == 0, then)
		case x.tokens <= 32:
			amxRows32(config, &sums[0], w, stride, next, &x.packed[step*2048], 0, steps, k == 0, then)
		default:
			amxRows64(config, &sums[0], w, stride, next, &x.packed[step*2048], upTo32(t.k)*64, steps, k == 0,
				then)
		}
	}
	if count == 0 {
		return
	}
	done := 0
	if steps := t.k / 32; count == 16 && steps > 0 {
		w := &t.row(n)[0]
		multiply(w, 2*t.k, 64, 0, steps, uintptr(unsafe.Pointer(w))+uintptr((then-n)*2*t.k))
		done = steps * 32
	}
	for k := done; k < t.k; k += amxMostWidth { // what does not fill a tile
		steps := (min(amxMostWidth, t.k-k) + 31) / 32
		packRows(s.packed, t, n, count, k, steps*32, 1024)
		multiply(&s.packed[0], 64, 1024, k, steps, uintptr(unsafe.Pointer(&s.packed[0])))
	}
}

// amxSomeTokens multiplies 16 rows at a time, where they are, by up to 64 tokens. The tiles still wait for
// memory.
func amxSomeTokens(p *product, t *panel, s *scratch) {
	sums := s.sums[:2048]
	for i := 0; i < t.count; i += 16 {
		n, count := t.n+i, min(16, t.count-i)
		then := n + 16
		if then >= t.n+t.count {
			then = t.next
		}
		if t.second == 0 {
			amxSumRows(sums, t, n, count, then, &p.in, s, &tileConfigs.full[0], 64)
		} else {
			amxSumRows(sums, t, n, count, n+t.second, &p.in, s, &tileConfigs.full[0], 64)
			amxSumRows(sums[1024:], t, n+t.second, count, then, &p.in, s, &tileConfigs.full[0], 64)
			p.gate(sums[:1024], sums[1024:])
		}
		for token := 0; token < p.in.tokens; token += 16 {
			p.finishTile(n, count, token, min(16, p.in.tokens-token), &sums[token*16])
		}
	}
}

// amxSumSplit sets sums [2, 16, width/4] likewise to those of up to 16 rows each from two places on, of
// float16.
func amxSumSplit(sums []float32, t *panel, n, count [2]int, x *input, s *scratch, config *byte, width int) {
	const second = amxMostWidth / 32 * 2048
	for k := 0; k < t.k; k += amxMostWidth {
		steps := (min(amxMostWidth, t.k-k) + 31) / 32
		packRows(s.packed, t, n[0], count[0], k, steps*32, 1024)
		packRows(s.packed[second:], t, n[1], count[1], k, steps*32, 1024)
		amxRowsSplit(config, &sums[0], &s.packed[0], second, &x.packed[k/32*16*width], width, steps, k == 0)
	}
}

// amxManyTokens multiplies a tile with the tokens first … last-1.
//
// The loops are, from outside in: blocks of k, groups of 32 tokens, blocks of 32 rows, and k again in a
// kernel. The sums wait in memory between two blocks of k.
func amxManyTokens(p *product, t *panel, s *scratch, first, last int) {
	half := 16 // rows of a block from n on
	if t.second == 0 {
		half = 32
	}
	blocks := (t.count + half - 1) / half
	multiply, parts := amxBlocks, 1
	if t.dtype == weight.F16 {
		multiply, parts = amxBlocksSplit, 2
	}
	allSteps := upTo32(t.k) / 32
	groups := (last - first + 31) / 32
	for step := 0; step < allSteps; step += amxBlockSteps {
		steps := min(amxBlockSteps, allSteps-step)
		for i := range 2 * blocks { // 16 rows at a time
			n, left := t.n+16*i, t.count-16*i
			if t.second > 0 {
				n, left = t.n+i/2*16+i%2*t.second, t.count-i/2*16
			}
			to := s.packed[(i/2*steps*parts*2+i%2)*1024:]
			packRows(to, t, n, max(0, min(16, left)), step*32, steps*32, 2048)
		}
		nextN, nextStep := t.n, step+steps
		if nextStep == allSteps {
			nextN, nextStep = t.n+t.count, 0
		}
		for group := range groups {
			x := &p.in.packed[((first/32+group)*allSteps+step)*2048]
			nextX := uintptr(unsafe.Pointer(x)) + uintptr(allSteps)*2048
			// of the rows of the tile, those of the second half after those of the first
			row := group * 2 * blocks
			if t.second > 0 && row >= t.count {
				row += t.second - t.count
			}
			nextW := uintptr(unsafe.Pointer(&t.bytes[0])) + uintptr((nextN+row)*t.k*2+nextStep*64)
			multiply(&tileConfigs.full[0], &s.sums[group*blocks*1024], &s.packed[0], x, steps, blocks,
				step == 0, nextX, nextW, t.k*2)
		}
	}
	for group := range groups {
		for block := range blocks {
			sums := s.sums[(group*blocks+block)*1024:][:1024]
			if t.second > 0 {
				p.gate(sums[:512], sums[512:])
			}
			for i := range half / 16 {
				for j := range 2 {
					n, token := t.n+block*half+16*i, first+group*32+16*j
					rows, tokens := min(16, t.n+t.count-n), min(16, last-token)
					if rows > 0 && tokens > 0 {
						p.finishTile(n, rows, token, tokens, &sums[(2*i+j)*256])
					}
				}
			}
		}
	}
}

// packRows copies k … k+width-1 of up to 16 rows, from n on, to tiles [16, 32] that are next bytes apart, one
// a step. Weights of float16 make two, the second one where the next one was, and so each step is twice as
// far. Rows and values of k that do not exist are zeros.
func packRows(to []byte, t *panel, n, count, k, width, next int) {
	steps := width / 32
	if t.dtype == weight.F16 {
		steps *= 2
	}
	if count < 16 {
		for step := range steps {
			clear(to[step*next+64*count:][:1024-64*count])
		}
		if count == 0 {
			return
		}
	}
	whole := min(width, t.k-k) / 32
	if whole > 0 {
		packStored(to, t.dtype, &t.row(n)[2*k], 2*t.k, count, whole, next)
	}
	if whole < width/32 {
		var last [16 * 64]byte
		for i := range count {
			copy(last[i*64:(i+1)*64], t.row(n + i)[2*(k+32*whole):])
		}
		at := whole * next
		if t.dtype == weight.F16 {
			at *= 2
		}
		packStored(to[at:], t.dtype, &last[0], 64, count, 1, next)
	}
}

// packStored copies whole steps of weights, see packRows.
func packStored(to []byte, dtype weight.Format, w *byte, stride, rows, steps, next int) {
	if dtype == weight.F16 {
		packRowsF16(&to[0], w, stride, rows, steps, 2*next, next)
	} else {
		packRowsBF16(&to[0], w, stride, rows, steps, next)
	}
}

// finishTile puts sums [16, 16] of some rows and tokens to use.
func (p *product) finishTile(n, rows, token, tokens int, sums *float32) {
	to, stride := &p.out[token*p.cols+n], 4*p.cols
	switch {
	case p.epilogue == add:
		addTile(to, stride, sums, rows, tokens)
	case p.in.tokens > 64 && rows == 16 && (int(uintptr(unsafe.Pointer(to)))|stride)%64 == 0: // megabytes, which are not read soon
		streamTile(to, stride, sums, rows, tokens)
	default:
		storeTile(to, stride, sums, rows, tokens)
	}
}

// upTo32 is the lowest multiple of 32 that is not less than n.
func upTo32(n int) int { return (n + 31) / 32 * 32 }
