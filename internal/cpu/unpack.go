package cpu

import (
	"unsafe"

	"phi3/internal/weight"
)

// Quantized weights are unpacked to bfloat16 just before they are multiplied, a few rows at a time, into
// memory of the worker that stays in a cache. The products are those of weights of bfloat16: the same loops,
// the same order, the same bits.

// unpacker sets dst [n] to the bfloat16 weights of the blocks at src, as [weight.Unpack] does, and prefetches
// the bytes that are ahead bytes after those it reads. n is a whole number of blocks, at least one. It reads
// exactly the bytes of these blocks, at any address. dst begins at a multiple of 64 bytes.
type unpacker func(dst *uint16, src *byte, n, ahead int)

// unpackStretch is how many weights of an embedding are unpacked at once: a multiple of every format's block.
const unpackStretch = 1024

// unpacker returns the path's unpacker of a format.
func (k *kernels) unpacker(f weight.Format) unpacker {
	if u := k.unpackers[f]; u != nil {
		return u
	}
	return func(dst *uint16, src *byte, n, _ int) {
		weight.Unpack(unsafe.Slice(dst, n), unsafe.Slice(src, f.RowBytes(n)), f)
	}
}

// unpackRows sets dst [rows, width] to the weights k … k+width-1 of rows from n on, and prefetches what is
// ahead bytes later.
func (t *panel) unpackRows(dst []uint16, n, rows, k, ahead int) {
	width, at := len(dst)/rows, t.format.RowBytes(k)
	for i := range rows {
		t.unpack(&dst[i*width], &t.row(n + i)[at], width, ahead)
	}
}

// bytesOf returns the same memory as bytes.
func bytesOf(x []uint16) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 2*len(x))
}

// upTo32 is the lowest multiple of 32 that is not less than n.
func upTo32(n int) int { return (n + 31) / 32 * 32 }
