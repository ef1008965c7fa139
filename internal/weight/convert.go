package weight

import (
	"encoding/binary"
	"math"
	"sync"
	"unsafe"

	"github.com/x448/float16"
)

// Widen converts the little-endian numbers of src to float32, len(dst) of them. It is exact for BF16, F16 and
// F32. Quantized weights become the values that [Unpack] gives them. It panics for other formats. src may
// begin at any address.
func Widen(dst []float32, src []byte, f Format) {
	switch f {
	case BF16:
		// A bfloat16 is the upper half of a float32. Writing integers is faster than writing floats, which
		// pass through a floating-point register.
		bits := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst))
		src = src[:2*len(bits)]
		for len(bits) >= 4 {
			v := binary.LittleEndian.Uint64(src)
			bits[0] = uint32(v) << 16
			bits[1] = uint32(v) & 0xffff0000
			bits[2] = uint32(v>>32) << 16
			bits[3] = uint32(v>>32) & 0xffff0000
			bits, src = bits[4:], src[8:]
		}
		for i := range bits {
			bits[i] = uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16
		}
	case F16:
		table := f16Table()
		for i := range dst {
			dst[i] = table[binary.LittleEndian.Uint16(src[2*i:])]
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	default:
		Dequantize(dst, src, f)
		for i, v := range dst {
			dst[i] = FromBF16(ToBF16(v))
		}
	}
}

// f16Table maps every float16 to float32. It takes 256 KB, and is computed when the first F16 weight is read.
var f16Table = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = float16.Frombits(uint16(i)).Float32()
	}
	return t
})

// ToBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func ToBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// FromBF16 returns the value of a bfloat16.
func FromBF16(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }
