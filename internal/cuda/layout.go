package cuda

import (
	"encoding/binary"

	"phi3/internal/weight"
)

// Quantized weights lie in the device's memory as kernels/quants_layout.h says: in groups of 8 rows, and
// there in steps of 64 columns.

const (
	groupRows = 8
	stepCols  = 64
)

// quantLayout says where the parts of a quantized format lie.
type quantLayout struct {
	low, high int // bits of a weight in the two planes of a step
	scales    int // bytes of a step's
	tail      int // bytes of a tail, one for each 256 columns
}

var quantLayouts = [...]quantLayout{
	weight.Q4_0:   {low: 4, scales: 32},
	weight.Q4_1:   {low: 4, scales: 64},
	weight.Q5_0:   {low: 4, high: 1, scales: 32},
	weight.Q5_1:   {low: 4, high: 1, scales: 64},
	weight.Q8_0:   {low: 8, scales: 32},
	weight.Q2_K:   {low: 2, scales: 32, tail: 32},
	weight.Q3_K:   {low: 2, high: 1, scales: 32, tail: 16},
	weight.Q4_K:   {low: 4, scales: 32, tail: 32},
	weight.Q5_K:   {low: 4, high: 1, scales: 32, tail: 32},
	weight.Q6_K:   {low: 4, high: 2, scales: 32, tail: 16},
	weight.Q8_K:   {low: 8, tail: 32},
	weight.IQ4_NL: {low: 4, scales: 32},
	weight.IQ4_XS: {low: 4, scales: 16, tail: 16},
}

// Where the high plane and the scales begin in a step, and the size of a step, in bytes.
func (l quantLayout) highAt() int    { return l.low * groupRows * stepCols / 8 }
func (l quantLayout) scalesAt() int  { return (l.low + l.high) * groupRows * stepCols / 8 }
func (l quantLayout) stepBytes() int { return l.scalesAt() + l.scales }

// stepsOf is the number of steps of a row group of k columns. It is even, because a decode product brings two
// at once.
func stepsOf(k int) int { return 2 * ceilDiv(k, 2*stepCols) }

// groupBytes is the size of a row group of k columns.
func (l quantLayout) groupBytes(k int) int {
	return stepsOf(k)*l.stepBytes() + k/256*l.tail
}

// quantBytes is the size of a matrix [rows, k] of a quantized format on the device.
func quantBytes(f weight.Format, rows, k int) int {
	return ceilDiv(rows, groupRows) * quantLayouts[f].groupBytes(k)
}

// quantMatrix is a matrix as a file has it.
type quantMatrix struct {
	quantLayout
	format         weight.Format
	weights, block int // of a weight block: how many, and its bytes
	data           []byte
	rows, k        int
}

func newQuantMatrix(f weight.Format, data []byte, rows, k int) *quantMatrix {
	weights, block := f.Block()
	return &quantMatrix{quantLayouts[f], f, weights, block, data, rows, k}
}

// groups is the number of row groups.
func (m *quantMatrix) groups() int { return ceilDiv(m.rows, groupRows) }

// pack sets dst, whole row groups, to those of the matrix from number first on.
func (m *quantMatrix) pack(dst []byte, first int) {
	rowBytes, bytes := m.k/m.weights*m.block, m.groupBytes(m.k)
	for ; len(dst) > 0; dst, first = dst[bytes:], first+1 {
		group, row := dst[:bytes], first*groupRows
		rows := min(groupRows, m.rows-row)
		if rows < groupRows || m.k%(2*stepCols) > 0 {
			clear(group) // rows or columns do not exist
		}
		for g := range rows {
			m.packRow(group, m.data[(row+g)*rowBytes:][:rowBytes], g)
		}
	}
}

// packRow writes row g of a row group.
func (m *quantMatrix) packRow(group, src []byte, g int) {
	steps, stepBytes := stepsOf(m.k), m.stepBytes()
	tails := group[steps*stepBytes:]
	for step := range steps {
		dst := group[step*stepBytes:][:stepBytes]
		scales := dst[m.scalesAt():]
		var q [8]uint64 // the columns 8p … 8p+7 of the step, a byte each
		if m.weights == 32 {
			for w := range min(2, len(src)/m.block) { // the last steps may have one block, or none
				m.readBlock((*[4]uint64)(q[4*w:]), scales, src[:m.block], 2*g+w)
				src = src[m.block:]
			}
		} else {
			m.readStep(&q, scales, src[:m.block], step%4, g)
			if step%4 == 3 {
				m.writeTail(tails[step/4*m.tail:], src[:m.block], g)
				src = src[m.block:]
			}
		}
		m.writeLow(dst, &q, g)
		switch m.high {
		case 1:
			writeHigh1(dst[m.highAt()+8*g:], &q, m.low)
		case 2:
			writeFields2(dst[m.highAt()+16*g:], &q, m.low)
		}
	}
}

// In a lane's words, byte B = i/2 + 2e of set s = 2w + i%2 is the weight of column 8(4w+i) + 2t + e. So with
// x the columns of i = 0 or 1, and y those of i + 2, a set of lane t is x[2t], y[2t], x[2t+1], y[2t+1].

// interleave returns the words of lanes 0 and 1, and of lanes 2 and 3.
func interleave(x, y uint64) (lanes01, lanes23 uint64) {
	return spread(uint32(x)) | spread(uint32(y))<<8, spread(uint32(x>>32)) | spread(uint32(y>>32))<<8
}

// spread moves byte i to byte 2i.
func spread(bytes uint32) uint64 {
	x := uint64(bytes)
	x = (x | x<<16) & 0x0000ffff0000ffff
	return (x | x<<8) & 0x00ff00ff00ff00ff
}

// each is a byte, 8 times.
const each = 0x0101010101010101

// writeLow writes the low plane of a step's row.
func (m *quantMatrix) writeLow(dst []byte, q *[8]uint64, g int) {
	switch m.low {
	case 8:
		lanes := dst[64*g:][:64]
		writeWords(lanes, 16, interleaved{q[0], q[2]}, interleaved{q[1], q[3]})
		writeWords(lanes[8:], 16, interleaved{q[4], q[6]}, interleaved{q[5], q[7]})
	case 4:
		// A set's odd bytes are shifted by 4 bits.
		pair := func(i int) uint64 { return q[i]&(15*each) | q[i+1]&(15*each)<<4 }
		writeWords(dst[32*g:][:32], 8, interleaved{pair(0), pair(2)}, interleaved{pair(4), pair(6)})
	case 2:
		writeFields2(dst[16*g:], q, 0)
	}
}

// interleaved are the two operands of interleave.
type interleaved struct{ x, y uint64 }

// writeWords writes two words of each of 4 lanes, which are stride bytes apart.
func writeWords(dst []byte, stride int, first, second interleaved) {
	a01, a23 := interleave(first.x, first.y)
	b01, b23 := interleave(second.x, second.y)
	binary.LittleEndian.PutUint64(dst, a01&0xffffffff|b01<<32)
	binary.LittleEndian.PutUint64(dst[stride:], a01>>32|b01&^0xffffffff)
	binary.LittleEndian.PutUint64(dst[2*stride:], a23&0xffffffff|b23<<32)
	binary.LittleEndian.PutUint64(dst[3*stride:], a23>>32|b23&^0xffffffff)
}

// writeFields2 writes a plane of two bits: those of q from bit shift on.
func writeFields2(dst []byte, q *[8]uint64, shift int) {
	field := func(i int) uint64 { return q[i] >> shift & (3 * each) }
	fields := func(i int) uint64 {
		return field(i) | field(i+1)<<2 | field(i+4)<<4 | field(i+5)<<6
	}
	lanes01, lanes23 := interleave(fields(0), fields(2))
	binary.LittleEndian.PutUint64(dst, lanes01)
	binary.LittleEndian.PutUint64(dst[8:], lanes23)
}

// writeHigh1 writes a plane of one bit: bit shift of q. Two lanes share a word.
func writeHigh1(dst []byte, q *[8]uint64, shift int) {
	bit := func(i int) uint64 { return q[i] >> shift & each }
	bits := func(i int) uint64 { return bit(i) | bit(i+1)<<1 | bit(i+4)<<2 | bit(i+5)<<3 }
	lanes01, lanes23 := interleave(bits(0), bits(2))
	binary.LittleEndian.PutUint32(dst, uint32(lanes01)|uint32(lanes01>>32)<<4)
	binary.LittleEndian.PutUint32(dst[4:], uint32(lanes23)|uint32(lanes23>>32)<<4)
}
