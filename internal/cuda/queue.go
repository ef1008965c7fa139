//go:build cuda && linux && cgo

package cuda

/*
#cgo CFLAGS: -DPHI3_HOST -I${SRCDIR}/../../kernels
#include "args.h"
*/
import "C"

import "unsafe"

// A queue is launches to come, in their order.
type queue []launch

// add appends a launch of f on a grid of x by y blocks, of so many threads and bytes of dynamic shared
// memory. args is the kernel's struct of args.h.
func add[Args any](q *queue, f function, x, y, block, shared int, args *Args) {
	size := unsafe.Sizeof(*args)
	*q = append(*q, launch{
		function: f,
		grid:     [3]uint32{uint32(x), uint32(y), 1},
		block:    uint32(block),
		shared:   uint32(shared),
		size:     uint32(size),
	})
	copy((*q)[len(*q)-1].args[:], unsafe.Slice((*byte)(unsafe.Pointer(args)), size))
}
