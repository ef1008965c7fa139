//go:build cuda && linux && cgo

package cuda

/*
#cgo CFLAGS: -DPHI3_HOST -I${SRCDIR}/../../kernels
#include "args.h"
*/
import "C"

import (
	"slices"
	"unsafe"
)

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

// addWaiting is add for a kernel that waits for its predecessor before it touches memory that other kernels
// of the queue write or read. Its launch may overlap with the launch before it.
func addWaiting[Args any](q *queue, f function, g grid, args *Args) {
	add(q, f, g, args)
	(*q)[len(*q)-1].waits = 1
}

// maxPrefetch is the most bytes of the next product's weights that a product prefetches. Between the last
// request of one product and the first of the next, an H100's memory could bring about 10 MB. More would
// be read at full speed anyway. The bytes must not drive each other out of the L2 cache, so on GPUs with a
// smaller cache it is a quarter of the cache.
const maxPrefetch = 12 << 20

// prepare tells each launch of a complete queue what it may do besides its own work.
func (d *device) prepare(q queue) {
	q.prefetch(d.prefetch)
	q.overlap(d.overlap)
}

// overlap sets which launches may start before their predecessor has ended. These are the launches of kernels
// that wait, except the first of the queue, whose predecessor is not in the queue.
func (q queue) overlap(allowed bool) {
	for i := range q {
		q[i].flags &^= launchOverlap
		if allowed && i > 0 && q[i].waits != 0 {
			q[i].flags |= launchOverlap
		}
	}
}

// prefetch makes each decode and batch product prefetch up to limit bytes of the weights of the next one, and
// the last product those of the first, with which the next token begins.
func (q queue) prefetch(limit int) {
	isProduct := func(l launch) bool { return l.weights > 0 }
	first := slices.IndexFunc(q, isProduct)
	if first < 0 {
		return
	}
	next := &q[first]
	for i := len(q) - 1; i >= first; i-- {
		l := &q[i]
		if !isProduct(*l) {
			continue
		}
		args := l.linearArgs()
		args.next, args.next_bytes = 0, 0
		if next != l && limit > 0 {
			args.next = next.linearArgs().w
			args.next_bytes = C.int32_t(min(limit, int(next.weights)) &^ 15)
		}
		next = l
	}
}

// linearArgs are the arguments of a product, in place.
func (l *launch) linearArgs() *C.LinearArgs { return (*C.LinearArgs)(unsafe.Pointer(&l.args)) }
