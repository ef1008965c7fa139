package cpu

import "unsafe"

// neonKernels need no more than what every 64-bit Arm processor has.
var neonKernels = &kernels{
	name: "neon", linear: always(lanes8), maxTokens: 256,
	vectors: neonVectors, read: neonRead, compute: neonCompute,
}

// neonVectors are those in Go but for attention's products.
var neonVectors = func() *vectors {
	v := *goVectors
	v.addProducts = neonAddProducts
	return &v
}()

// products4BF16 adds to four rows of c [4, cols] the products of as many of a [4, 2·pairs] with pairs pairs of rows of a kvMatrix, all of
// whose strides are in bytes. cols is a multiple of 16, and neither it nor pairs is 0.
//
//go:noescape
func products4BF16(c *float32, cStride int, a *float32, aStride int, b *byte, bStride, pairs, cols int)

//go:noescape
func products4F32(c *float32, cStride int, a *float32, aStride int, b *byte, bStride, pairs, cols int)

// products1BF16 does the same for one row, in the same order.
//
//go:noescape
func products1BF16(c, a *float32, b *byte, bStride, pairs, cols int)

//go:noescape
func products1F32(c, a *float32, b *byte, bStride, pairs, cols int)

// neonAddProducts is vectors.addProducts.
func neonAddProducts(c []float32, cStride int, a []float32, aStride, rows int, b kvMatrix, first, last, from, to, _ int) {
	four, one := products4BF16, products1BF16
	if b.f32 != nil {
		four, one = products4F32, products1F32
	}
	pair, bStride := b.pair(first)
	columns := (*byte)(unsafe.Add(unsafe.Pointer(pair), from*4))
	pairs, cols := (last-first)/2, to-from
	for r := 0; r < rows; {
		c, a := &c[r*cStride+from], &a[r*aStride]
		if rows-r >= 4 {
			four(c, cStride*4, a, aStride*4, columns, bStride, pairs, cols)
			r += 4
		} else {
			one(c, a, columns, bStride, pairs, cols)
			r++
		}
	}
}
