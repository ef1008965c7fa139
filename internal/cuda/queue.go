//go:build cuda && linux && cgo

package cuda

/*
#cgo CFLAGS: -DPHI3_HOST -I${SRCDIR}/../../kernels
#include "args.h"
*/
import "C"

import "unsafe"

// queue is launches to send to the device, in their order.
type queue []launch

// grid is x by y blocks, each of so many threads and so many bytes of dynamic shared memory.
type grid struct{ x, y, threads, shared int }

// add appends a launch of f. args is the kernel's struct of args.h.
func add[Args any](q *queue, f function, g grid, args *Args) {
	size := unsafe.Sizeof(*args)
	*q = append(*q, launch{
		function: f,
		grid:     [3]uint32{uint32(g.x), uint32(g.y), 1},
		block:    uint32(g.threads),
		shared:   uint32(g.shared),
		size:     uint32(size),
	})
	copy((*q)[len(*q)-1].args[:], unsafe.Slice((*byte)(unsafe.Pointer(args)), size))
}
