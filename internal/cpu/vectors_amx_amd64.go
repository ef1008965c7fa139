package cpu

import "unsafe"

// The functions of vectors_amx_amd64.s.

// products32AMXBF16 is for 32 rows.
//
//go:noescape
func products32AMXBF16(args *tileKVArgs)

// products16AMXBF16 is for up to 16 rows, as many as config says.
//
//go:noescape
func products16AMXBF16(args *tileKVArgs)

// splitBF16 makes two bfloat16 of each value of x [n]. Their sum has 16 bits of the value's significand. n is
// a multiple of 32, at least 32.
//
//go:noescape
func splitBF16(high, low *byte, x *float32, n int)

// amxVectors are the loops for AVX-512, with tiles for attention.
var amxVectors = func() *vectors {
	v := *avx512Vectors
	v.attentionRows = 64
	v.tiles = &tileLoops{
		split: func(high, low []uint16, x []float32) {
			splitBF16((*byte)(unsafe.Pointer(&high[0])), (*byte)(unsafe.Pointer(&low[0])), &x[0], len(x))
		},
		products: tileProducts,
		setColumns: func(m kvMatrix, j int, x []float32, stride, n int) {
			to := (*byte)(unsafe.Pointer(&m.bf16[2*j]))
			packTokens(&packArgs{
				to: to, from: unsafe.Pointer(&x[0]), stride: stride * 4,
				rows: strip, steps: n / 32, next: 16 * m.cols * 4, pair: m.cols * 4,
			})
		},
		setRows: func(m kvMatrix, i int, x []float32, stride, n int) bool {
			to := (*byte)(unsafe.Pointer(&m.bf16[i*m.cols]))
			return packPairs(to, m.cols*4, &x[0], stride*4, strip/2, n)
		},
	}
	return &v
}()

// attentionTiles[m] are the sizes of the tiles for m rows: T0 … T5 have m rows; T6 and T7, with keys or
// values, have 16.
var attentionTiles = func() (c [17][64]byte) {
	for m := range c {
		c[m][0] = 1 // palette
		for tile := range 8 {
			c[m][16+2*tile], c[m][48+tile] = 64, byte(m)
		}
		c[m][48+6], c[m][48+7] = 16, 16
	}
	return c
}()

// tileProducts is tileLoops.products.
func tileProducts(p *kvProduct) {
	a := tileKVArgs{
		cStride: p.cStride * 4, aStride: p.aStride * 2, b: p.b.at(p.first, p.from), bStride: p.b.pairStride(),
		steps: (p.last - p.first) / 32, cols: p.to - p.from, ahead: p.ahead,
	}
	for r := 0; r < p.rows; {
		a.c = &p.c[r*p.cStride+p.from]
		a.high = (*byte)(unsafe.Pointer(&p.high[r*p.aStride]))
		a.low = (*byte)(unsafe.Pointer(&p.low[r*p.aStride]))
		if p.rows-r >= 32 {
			a.config = &attentionTiles[16][0]
			products32AMXBF16(&a)
			r += 32
		} else {
			m := min(16, p.rows-r)
			a.config = &attentionTiles[m][0]
			products16AMXBF16(&a)
			r += m
		}
		a.ahead = 0
	}
}
