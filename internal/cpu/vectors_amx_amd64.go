package cpu

import "unsafe"

// The functions of vectors_amx_amd64.s. config is one of attentionTiles. Strides are in bytes. cols is a
// multiple of 32.

// tileProducts32 sets c [32, cols] to the products of rows [32, 32·steps], in two parts of bfloat16, with b.
// It fetches into the cache what lies ahead bytes from b, if that is not 0.
//
//go:noescape
func tileProducts32(config *byte, c *float32, cStride int, high, low *byte, aStride int, b *byte, bStride,
	steps, cols, ahead int)

// tileProducts16 is the same for up to 16 rows, as many as config says.
//
//go:noescape
func tileProducts16(config *byte, c *float32, cStride int, high, low *byte, aStride int, b *byte, bStride,
	steps, cols, ahead int)

// splitBF16 makes two bfloat16 of each of x [n], whose sum has 16 of its bits. n is a multiple of 32.
//
//go:noescape
func splitBF16(high, low *byte, x *float32, n int)

// amxVectors are AVX-512's, with tiles for attention.
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
			packTokens(to, &x[0], stride*4, 16, n/32, 16*m.cols*4, m.cols*4)
		},
		setRows: func(m kvMatrix, i int, x []float32, stride, n int) bool {
			to := (*byte)(unsafe.Pointer(&m.bf16[i*m.cols]))
			return packPairs(to, m.cols*4, &x[0], stride*4, 8, n)
		},
	}
	return &v
}()

// attentionTiles [m] are the tiles of m rows: T0 … T5 have so many, T6 and T7, of keys and values, have 16.
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
	a := &p.args
	p.b.setArgs(a, p.first, p.from)
	steps, cols, ahead := (p.last-p.first)/32, p.to-p.from, p.ahead
	for r := 0; r < p.rows; {
		c := &p.c[r*p.cStride+p.from]
		high, low := (*byte)(unsafe.Pointer(&p.high[r*p.aStride])), (*byte)(unsafe.Pointer(&p.low[r*p.aStride]))
		if p.rows-r >= 32 {
			tileProducts32(&attentionTiles[16][0], c, p.cStride*4, high, low, p.aStride*2, a.b, a.bStride,
				steps, cols, ahead)
			ahead = 0
			r += 32
			continue
		}
		m := min(16, p.rows-r)
		tileProducts16(&attentionTiles[m][0], c, p.cStride*4, high, low, p.aStride*2, a.b, a.bStride, steps,
			cols, ahead)
		ahead = 0
		r += m
	}
}
