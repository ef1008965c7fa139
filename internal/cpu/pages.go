package cpu

import "unsafe"

// hugePage is the size of a huge page on most systems that have them.
const hugePage = 2 << 20

// makeLarge is make([]T, n), on huge pages if n is large enough and the system provides some: then more of
// the data fits in the second-level cache at once, and address translation is faster. The slice begins at a
// multiple of 64 bytes.
func makeLarge[T byte | uint16 | float32](n int) []T {
	size := n * int(unsafe.Sizeof(T(0)))
	memory := make([]byte, size+64)
	start := uintptr(unsafe.Pointer(&memory[0]))
	if at := int(-start & (hugePage - 1)); at+hugePage <= size {
		adviseHuge(memory[at : at+(size-at)&^(hugePage-1)])
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&memory[-start&63])), n)
}
