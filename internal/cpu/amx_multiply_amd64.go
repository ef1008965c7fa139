package cpu

import (
	"unsafe"

	"phi3/internal/weight"
)

// amxMultiply is linearKernels.multiply.
func amxMultiply(p *product, t *panel, s *scratch) {
	if p.in.tokens <= 16 {
		amxFewTokens(p, t, s)
		return
	}
	if p.in.tokens <= 64 && t.operand == weight.BF16 {
		amxSomeTokens(p, t, s)
		return
	}
	for first := 0; first < p.in.tokens; first += amxBlockTokens {
		amxManyTokens(p, t, s, first, min(first+amxBlockTokens, p.in.tokens))
	}
}

// fewConfig returns the sizes of the tiles for up to 64 tokens, and the bytes of a row of sums.
func fewConfig(tokens int) (config *byte, width int) {
	if tokens == 1 {
		return &tileConfigs.single[0], 4
	}
	return &tileConfigs.full[0], 64
}

// amxFewTokens multiplies twice 16 rows by up to 16 tokens. Weights of bfloat16 are read where they are.
func amxFewTokens(p *product, t *panel, s *scratch) {
	tokens := p.in.tokens
	_, width := fewConfig(tokens)
	n, count := [2]int{t.n, t.n + 16}, [2]int{min(16, t.count), max(0, t.count-16)}
	if t.second > 0 {
		n[1], count[1] = t.n+t.second, count[0]
	}
	place := 16 * width / 4 // of the second rows' sums
	sums := s.sums[:2*place]
	if t.operand == weight.F16 {
		amxSumSplit(sums, t, n, count, &p.in, s)
	} else {
		for i := range 2 {
			then := t.next
			if i == 0 && count[1] > 0 {
				then = n[1]
			}
			amxSumRows(sums[i*place:], t, sixteenRows{n[i], count[i], then}, &p.in, s)
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

// sixteenRows are up to 16 rows of a weight, n … n+count-1. The rows from then on are read next.
type sixteenRows struct{ n, count, then int }

// amxSumRows sets sums [16, tokens, or 16 columns if there are several] to the products of rows with up to 16
// tokens, or sums [4, 16, 16] to the products with up to 64 tokens.
func amxSumRows(sums []float32, t *panel, rows sixteenRows, in *input, s *scratch) {
	if rows.count == 0 {
		return
	}
	a := tileRowsArgs{sums: &sums[0], group: upTo32(t.k) * 64}
	a.config, a.width = fewConfig(in.tokens)
	if t.unpack != nil {
		a.multiplyUnpacked(t, rows, in, s)
		return
	}
	done := 0
	if steps := t.k / 32; rows.count == 16 && steps > 0 {
		a.w, a.stride, a.next, a.steps = &t.row(rows.n)[0], 2*t.k, 64, steps
		a.then = uintptr(unsafe.Pointer(a.w)) + uintptr((rows.then-rows.n)*2*t.k)
		a.multiply(in, 0)
		done = steps * 32
	}
	for k := done; k < t.k; k += amxFewStretch { // what does not fill a tile
		a.steps = (min(amxFewStretch, t.k-k) + 31) / 32
		t.pack(s.packed, rows.n, rows.count, k, a.steps*32, 1024)
		a.w, a.stride, a.next = &s.packed[0], 64, 1024
		a.then = uintptr(unsafe.Pointer(a.w))
		a.multiply(in, k)
	}
}

// multiplyUnpacked multiplies quantized rows, a stretch of k after the other. If there are fewer than 16
// rows, the sums of the missing rows are not used.
func (a *tileRowsArgs) multiplyUnpacked(t *panel, rows sixteenRows, in *input, s *scratch) {
	a.w, a.next = &bytesOf(s.unpacked)[0], 64
	a.then = uintptr(unsafe.Pointer(a.w))
	for k := 0; k < t.k; k += 32 * amxStretchSteps {
		width := min(32*amxStretchSteps, t.k-k)
		t.unpackRows(s.unpacked[:rows.count*width], rows.n, rows.count, k, (rows.then-rows.n)*t.rowBytes)
		a.stride, a.steps = 2*width, width/32
		a.multiply(in, k)
	}
}

// multiply multiplies with the tokens' values from k on.
func (a *tileRowsArgs) multiply(in *input, k int) {
	a.fresh = k == 0
	switch step := k / 32; {
	case in.tokens <= 16:
		a.x = &in.packed[step*16*a.width]
		dot16x16TilesBF16(a)
	case in.tokens <= 32:
		a.x = &in.packed[step*2048]
		dot16x32TilesBF16(a)
	default:
		a.x = &in.packed[step*2048]
		dot16x64TilesBF16(a)
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
			amxSumRows(sums, t, sixteenRows{n, count, then}, &p.in, s)
		} else {
			amxSumRows(sums, t, sixteenRows{n, count, n + t.second}, &p.in, s)
			amxSumRows(sums[1024:], t, sixteenRows{n + t.second, count, then}, &p.in, s)
			p.gate(sums[:1024], sums[1024:])
		}
		for token := 0; token < p.in.tokens; token += 16 {
			p.finishTile(n, count, token, min(16, p.in.tokens-token), &sums[token*16])
		}
	}
}

// amxSumSplit sets sums [2, 16, tokens] to the products of up to 16 rows of float16 from each of two places
// on with up to 16 tokens.
func amxSumSplit(sums []float32, t *panel, n, count [2]int, in *input, s *scratch) {
	a := tileRowsArgs{sums: &sums[0], w: &s.packed[0], second: amxFewStretch / 32 * 2048}
	a.config, a.width = fewConfig(in.tokens)
	for k := 0; k < t.k; k += amxFewStretch {
		a.steps = (min(amxFewStretch, t.k-k) + 31) / 32
		t.pack(s.packed, n[0], count[0], k, a.steps*32, 1024)
		t.pack(s.packed[a.second:], n[1], count[1], k, a.steps*32, 1024)
		a.x, a.fresh = &in.packed[k/32*16*a.width], k == 0
		dot32x16TilesF16(&a)
	}
}

// amxManyTokens multiplies a panel with the tokens first … last-1.
//
// The loops are, from outside in: stretches of k, groups of 32 tokens, bands of 32 rows, and k again in a
// kernel. The sums wait in memory between two stretches.
func amxManyTokens(p *product, t *panel, s *scratch, first, last int) {
	half := 16 // rows of a band from n on
	if t.second == 0 {
		half = 32
	}
	bands := (t.count + half - 1) / half
	parts := 1
	if t.operand == weight.F16 {
		parts = 2
	}
	allSteps := upTo32(t.k) / 32
	groups := (last - first + 31) / 32
	a := tileBandsArgs{config: &tileConfigs.full[0], w: &s.packed[0], bands: bands, nextStride: t.rowBytes}
	for step := 0; step < allSteps; step += amxStretchSteps {
		a.steps, a.fresh = min(amxStretchSteps, allSteps-step), step == 0
		for i := range 2 * bands { // 16 rows at a time
			n, left := t.n+16*i, t.count-16*i
			if t.second > 0 {
				n, left = t.n+i/2*16+i%2*t.second, t.count-i/2*16
			}
			to := s.packed[(i/2*a.steps*parts*2+i%2)*1024:]
			count := max(0, min(16, left))
			if t.unpack == nil {
				t.pack(to, n, count, step*32, a.steps*32, 2048)
			} else {
				t.packUnpacked(to, n, count, step*32, a.steps*32, s)
			}
		}
		nextN, nextStep := t.n, step+a.steps
		if nextStep == allSteps {
			nextN, nextStep = t.n+t.count, 0
		}
		for group := range groups {
			a.x = &p.in.packed[((first/32+group)*allSteps+step)*2048]
			a.sums = &s.sums[group*bands*1024]
			a.nextX = uintptr(unsafe.Pointer(a.x)) + uintptr(allSteps)*2048
			// of the rows of the panel, those of the second half after those of the first half
			row := group * 2 * bands
			if t.second > 0 && row >= t.count {
				row += t.second - t.count
			}
			a.nextW = uintptr(unsafe.Pointer(&t.bytes[0])) +
				uintptr((nextN+row)*t.rowBytes+t.format.RowBytes(nextStep*32))
			if parts == 2 {
				dot32x32TilesF16(&a)
			} else {
				dot32x32TilesBF16(&a)
			}
		}
	}
	p.finishBands(t, s.sums, first, last)
}

// finishBands is the epilogue of the sums [groups, bands, 4, 16, 16] of the tokens first … last-1.
func (p *product) finishBands(t *panel, sums []float32, first, last int) {
	half := 2 // tiles of rows in a band from n on
	if t.second > 0 {
		half = 1
	}
	for token := first; token < last; token += 32 {
		for n := t.n; n < t.n+t.count; n += half * 16 {
			if t.second > 0 {
				p.gate(sums[:512], sums[512:1024])
			}
			for i := range half {
				for j := range 2 {
					n, token := n+16*i, token+16*j
					rows, tokens := min(16, t.n+t.count-n), min(16, last-token)
					if rows > 0 && tokens > 0 {
						p.finishTile(n, rows, token, tokens, &sums[(2*i+j)*256])
					}
				}
			}
			sums = sums[1024:]
		}
	}
}

// finishTile is the epilogue of sums [16, 16] of some rows and tokens.
func (p *product) finishTile(n, rows, token, tokens int, sums *float32) {
	to, stride := &p.out[token*p.cols+n], 4*p.cols
	aligned := (int(uintptr(unsafe.Pointer(to)))|stride)%64 == 0
	switch {
	case p.epilogue == add:
		addTile(to, stride, sums, rows, tokens)
	case p.in.tokens > 64 && rows == 16 && aligned: // megabytes, which are not read soon
		streamTile(to, stride, sums, rows, tokens)
	default:
		storeTile(to, stride, sums, rows, tokens)
	}
}
