package cpu

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Limits are the highest rates that the processor reaches with all threads of a backend.
type Limits struct {
	Read    float64 // bytes read from memory per second
	Compute float64 // floating-point operations per second
}

// probeBytes is far more memory than a last-level cache has.
const probeBytes = 256 << 20

// probeTime is how long each limit is measured.
const probeTime = 200 * time.Millisecond

// Probe measures the limits, in less than a second. Each is the best of several rounds.
func (b *Backend) Probe() Limits {
	reading := &reading{b.kernels, make([]byte, probeBytes)}
	for i := 0; i < probeBytes; i += 4096 {
		reading.memory[i] = 1 // pages that were never written share one page of memory
	}
	computing := &computing{kernels: b.kernels}
	var l Limits
	for start := time.Now(); time.Since(start) < probeTime; {
		round := time.Now()
		b.pool.run(probeBytes/readingItem, 1, reading)
		l.Read = max(l.Read, probeBytes/time.Since(round).Seconds())
	}
	for start := time.Now(); time.Since(start) < probeTime; {
		round := time.Now()
		computing.done.Store(0)
		b.pool.run(100*b.pool.threads, 1, computing)
		l.Compute = max(l.Compute, float64(computing.done.Load())/time.Since(round).Seconds())
	}
	return l
}

// reading reads memory in items of 1 MiB.
type reading struct {
	kernels *kernels
	memory  []byte
}

const readingItem = 1 << 20

// work implements [task].
func (r *reading) work(_, from, to int) { r.kernels.read(r.memory[from*readingItem : to*readingItem]) }

// computing computes, and counts the operations.
type computing struct {
	kernels *kernels
	done    atomic.Int64
}

// work implements [task].
func (c *computing) work(_, from, to int) {
	for range to - from {
		c.done.Add(int64(c.kernels.compute()))
	}
}

// probed keeps the compiler from removing the computations of the versions in Go.
var probed atomic.Uint64

// goRead is kernels.read.
func goRead(p []byte) {
	var a, b uint64
	for ; len(p) >= 16; p = p[16:] {
		a += binary.LittleEndian.Uint64(p)
		b += binary.LittleEndian.Uint64(p[8:])
	}
	probed.Store(a + b)
}

// goCompute is kernels.compute: the inner loop of the matrix product, with data in the first-level cache.
func goCompute() float64 {
	const k, n = 512, 50
	var w [goPanelRows * k]float32
	var x [k]float32
	for range n {
		probed.Store(uint64(dotPanel(w[:], x[:])[0]))
	}
	return n * goPanelRows * k * 2
}
