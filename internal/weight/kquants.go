package weight

// The formats of 256 weights a block ("super-block"). A block has groups of 16 or 32 weights, each with a
// scale that is a small integer, and in some formats a minimum. The block has the float16 numbers by which
// these are multiplied. The comments below give the bytes of a block in order, then the value of a weight q.

// dequantizeQ2_K: 16 bytes, the scale (low half) and the minimum (high half) of each group of 16 weights; 64
// bytes of two-bit weights, where byte i of each 32 holds the weights i, i+32, i+64, i+96 of 128; two scales
// d and dmin; (d·scale)·q - dmin·minimum.
func dequantizeQ2_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[84:] {
		d, dmin := halfAt(src[80:]), halfAt(src[82:])
		for i := range 256 {
			s := src[i/16]
			q := src[16+i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
			dst[i] = float32(float32(d*float32(s&15))*float32(q)) - float32(dmin*float32(s>>4))
		}
	}
}

// dequantizeQ3_K: 32 bytes, in which bit g of byte i is the third bit of weight 32g+i, set if nothing is
// subtracted; 64 bytes of the lower two bits as in Q2_K; 12 bytes of 16 scales of 6 bits; a scale d;
// (d·(scale-32))·(q-4), where q has three bits.
func dequantizeQ3_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[110:] {
		d := halfAt(src[108:])
		scales := src[96:108]
		for i := range 256 {
			g := i / 16
			s := int(scales[g%8]>>(g/8*4)&15) | int(scales[8+g%4]>>(g/4*2)&3)<<4
			q := int(src[32+i/128*32+i%32]>>(i/32%4*2)&3) | int(src[i%32]>>(i/32)&1)<<2
			dst[i] = float32(d*float32(s-32)) * float32(q-4)
		}
	}
}

// scaleAndMin returns the scale and the minimum, 6 bits each, of group g, 0 … 7, from the 12 bytes that Q4_K
// and Q5_K have for them.
func scaleAndMin(packed []byte, g int) (scale, minimum float32) {
	if g < 4 {
		return float32(packed[g] & 63), float32(packed[g+4] & 63)
	}
	return float32(packed[g+4]&15 | packed[g-4]>>6<<4), float32(packed[g+4]>>4 | packed[g]>>6<<4)
}

// dequantizeQ4_K: two scales d and dmin; 12 bytes with the scale and the minimum of each group of 32 weights;
// 128 bytes, where the low halves of 32 bytes are a group, and the high halves the next one; (d·scale)·q -
// dmin·minimum.
func dequantizeQ4_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
		d, dmin := halfAt(src), halfAt(src[2:])
		for g := range 8 {
			scale, minimum := scaleAndMin(src[4:16], g)
			scale, minimum = d*scale, dmin*minimum
			for i, q := range src[16+g/2*32:][:32] {
				dst[32*g+i] = float32(scale*float32(q>>(g%2*4)&15)) - minimum
			}
		}
	}
}

// dequantizeQ5_K: as Q4_K, with 32 bytes after the scales, in which bit g of byte i is the fifth bit of
// weight i of group g.
func dequantizeQ5_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[176:] {
		d, dmin := halfAt(src), halfAt(src[2:])
		for g := range 8 {
			scale, minimum := scaleAndMin(src[4:16], g)
			scale, minimum = d*scale, dmin*minimum
			for i, q := range src[48+g/2*32:][:32] {
				q = q>>(g%2*4)&15 | src[16+i]>>g&1<<4
				dst[32*g+i] = float32(scale*float32(q)) - minimum
			}
		}
	}
}

// dequantizeQ6_K: 128 bytes of the lower four bits, where the low halves of 64 bytes are the weights 0 …
// 63 of 128, and the high halves the next 64; 64 bytes of the upper two bits as in Q2_K; 16 signed bytes,
// the scales of each 16 weights; a scale d; (d·scale)·(q-32).
func dequantizeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		d := halfAt(src[208:])
		for i := range 256 {
			half := i / 128
			q := int(src[half*64+i%64]>>(i/64%2*4)&15) | int(src[128+half*32+i%32]>>(i/32%4*2)&3)<<4
			dst[i] = float32(d*float32(int8(src[192+i/16]))) * float32(q-32)
		}
	}
}
