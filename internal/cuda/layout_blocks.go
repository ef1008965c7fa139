package cuda

import (
	"encoding/binary"

	"phi3/internal/weight"
)

// These read the blocks of a file: see internal/weight for what their bytes mean. q[p] becomes the columns
// 8p … 8p+7, a byte each, without a sign: types of 8 bits are stored as q + 128.

func load64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func load32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func load16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }

// copyHalf and copyWord copy 2 and 4 bytes.
func copyHalf(dst, src []byte) { binary.LittleEndian.PutUint16(dst, load16(src)) }
func copyWord(dst, src []byte) { binary.LittleEndian.PutUint32(dst, load32(src)) }

// readBlock reads a block of 32 weights, and writes scale number at of the step.
func (m *quantMatrix) readBlock(q *[4]uint64, scales, src []byte, at int) {
	switch m.format {
	case weight.Q4_1, weight.Q5_1: // the minimum is added in the file and subtracted on the device
		binary.LittleEndian.PutUint32(scales[4*at:], load32(src)^1<<31)
	default:
		copyHalf(scales[2*at:], src)
	}
	switch m.format {
	case weight.Q8_0:
		for i := range q {
			q[i] = load64(src[2+8*i:]) ^ 0x80*each
		}
	case weight.Q5_0:
		readNibbles(q, src[6:])
		addFifthBits(q, load32(src[2:]))
	case weight.Q5_1:
		readNibbles(q, src[8:])
		addFifthBits(q, load32(src[4:]))
	case weight.Q4_1:
		readNibbles(q, src[4:])
	default: // Q4_0, IQ4_NL
		readNibbles(q, src[2:])
	}
}

// readNibbles reads 16 bytes that have the weights i and i+16 in their low and high halves.
func readNibbles(q *[4]uint64, src []byte) {
	a, b := load64(src), load64(src[8:])
	*q = [4]uint64{a & (15 * each), b & (15 * each), a >> 4 & (15 * each), b >> 4 & (15 * each)}
}

// addFifthBits adds bit i of bits to weight i.
func addFifthBits(q *[4]uint64, bits uint32) {
	for i := range q {
		q[i] |= bitsToBytes[bits>>(8*i)&0xff]
	}
}

// bitsToBytes moves bit i of an index to bit 4 of byte i.
var bitsToBytes = func() (table [256]uint64) {
	for bits := range table {
		for i := range 8 {
			table[bits] |= uint64(bits>>i&1) << (8*i + 4)
		}
	}
	return table
}()

// readStep reads columns 64·step … 64·step+63 of a block of 256 weights, and writes their scales as those of
// row g.
func (m *quantMatrix) readStep(q *[8]uint64, scales, src []byte, step, g int) {
	switch m.format {
	case weight.Q2_K:
		readFields(q, src[16+32*(step/2):], 4*(step%2))
		copyWord(scales[4*g:], src[4*step:])
	case weight.Q3_K:
		readFields(q, src[32+32*(step/2):], 4*(step%2))
		for p := range q {
			q[p] |= load64(src[8*(p%4):]) >> (2*step + p/4) & each << 2
		}
		low, high := load32(src[96+4*(step%2):])>>(4*(step/2)), load32(src[104:])>>(2*step)
		codes := low&0x0f0f0f0f | high&0x03030303<<4
		binary.LittleEndian.PutUint32(scales[4*g:], codes+(128-32)*0x01010101)
	case weight.Q4_K:
		readGroups(q, src[16+32*step:])
		binary.LittleEndian.PutUint32(scales[4*g:], scalesAndMins(src[4:16], step))
	case weight.Q5_K:
		readGroups(q, src[48+32*step:])
		for p := range q {
			q[p] |= load64(src[16+8*(p%4):]) >> (2*step + p/4) & each << 4
		}
		binary.LittleEndian.PutUint32(scales[4*g:], scalesAndMins(src[4:16], step))
	case weight.Q6_K:
		low, high := src[64*(step/2):], src[128+32*(step/2):]
		readFields(q, high, 4*(step%2))
		for p := range q {
			q[p] = q[p]<<4 | load64(low[8*p:])>>(4*uint(step%2)&63)&(15*each)
		}
		binary.LittleEndian.PutUint32(scales[4*g:], load32(src[192+4*step:])^0x80808080)
	case weight.Q8_K:
		for p := range q {
			q[p] = load64(src[4+64*step+8*p:]) ^ 0x80*each
		}
	default: // IQ4_XS
		readNibbles((*[4]uint64)(q[:]), src[8+32*step:])
		readNibbles((*[4]uint64)(q[4:]), src[8+32*step+16:])
		low, high := src[4+step], byte(load16(src[2:])>>(4*step))
		scales[2*g] = (low&15 | high&3<<4) + 128 - 32
		scales[2*g+1] = (low>>4 | high>>2&3<<4) + 128 - 32
	}
}

// readFields reads two bits of each of 32 bytes, from bit shift on, and then the next two bits.
func readFields(q *[8]uint64, src []byte, shift int) {
	for p := range 4 {
		bytes := load64(src[8*p:]) >> shift
		q[p], q[p+4] = bytes&(3*each), bytes>>2&(3*each)
	}
}

// readGroups reads 32 bytes whose low halves are a group of 32 weights and whose high halves are the next.
func readGroups(q *[8]uint64, src []byte) {
	for p := range 4 {
		bytes := load64(src[8*p:])
		q[p], q[p+4] = bytes&(15*each), bytes>>4&(15*each)
	}
}

// scalesAndMins returns, a byte each, the scale and the minimum of group 2·step, and those of the next group,
// from the 12 bytes that Q4_K and Q5_K have for them.
func scalesAndMins(packed []byte, step int) uint32 {
	at := 2 * (step % 2) // groups 4 … 7 take bits of those of groups 0 … 3
	scale, minimum := uint32(load16(packed[at:])), uint32(load16(packed[at+4:]))
	if step < 2 {
		scale, minimum = scale&0x3f3f, minimum&0x3f3f
	} else {
		both := uint32(load16(packed[at+8:]))
		scale, minimum = both&0x0f0f|scale>>6&0x0303<<4, both>>4&0x0f0f|minimum>>6&0x0303<<4
	}
	return scale&0xff | minimum&0xff<<8 | scale>>8<<16 | minimum>>8<<24
}

// writeTail writes row g of a tail: the float16 d, the float16 d and dmin, or the float32 d.
func (m *quantMatrix) writeTail(tail, src []byte, g int) {
	switch m.format {
	case weight.Q2_K:
		copyWord(tail[4*g:], src[80:])
	case weight.Q3_K:
		copyHalf(tail[2*g:], src[108:])
	case weight.Q6_K:
		copyHalf(tail[2*g:], src[208:])
	case weight.IQ4_XS:
		copyHalf(tail[2*g:], src)
	default: // Q4_K, Q5_K, Q8_K
		copyWord(tail[4*g:], src)
	}
}
