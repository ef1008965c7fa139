//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

// readArgs is ReadArgs of kernels/experiments/read.cu.
type readArgs struct {
	sum, data devicePtr
	rows      int64
}

// readKB are the KB in flight on a multiprocessor.
var readKB = []int{16, 32, 64, 96, 192}

// reader is a way to read.
type reader struct {
	name, kernel string
	threads      int
	ring         int // bytes of shared memory for each KB in flight
}

var readers = []reader{
	{"LDG", "read_ldg_", 512, 0},
	{"cp.async", "read_cp_async_", 512, 1024},
	{"bulk", "read_bulk_", 288, 1024},
}

// shared is the dynamic shared memory of a block: the ring, and the barriers after it.
func (r reader) shared(kb int) int {
	if r.name == "bulk" {
		return r.ring*kb + 16*8
	}
	return r.ring * kb
}

// reading is a launch of a reader over memory that holds the words of fill_words.
func (x *experiment) reading(r reader, f function, kb int, args readArgs) queue {
	var q queue
	add(&q, f, grid{x.multiprocessors, 1, r.threads, r.shared(kb)}, &args)
	return q
}

// readable is how much of so many bytes the readers take: rows of 8 KB, 24 or a multiple of them a block.
func (x *experiment) readable(bytes int) (rows int) {
	granule := 24 * x.multiprocessors
	return max(1, bytes/(granule*8<<10)) * granule
}

// measureCeilings measures x.reads and x.copies in some milliseconds, for questions that compare with
// them.
func (x *experiment) measureCeilings(tb testing.TB) {
	tb.Helper()
	rows := x.readable(x.affordable(tb, sized(1<<30, 0)))
	args := readArgs{sum: x.allocate(tb, 4), data: x.allocate(tb, rows*8<<10), rows: int64(rows)}
	bytes := float64(rows * 8 << 10)
	x.fillWith(tb, "fill_words", fillArgs{data: args.data, n: int64(rows) * 2048})
	x.must(tb, func() error { return x.fill(args.sum, 0, 4, x.stream) })
	rounds := func() func() bool {
		n := 0
		return func() bool { n++; return n <= sized(5, 1) }
	}
	half := rows * 4 << 10
	x.copies = bytes / x.median(tb, rounds(), x.copying(args.data, half)) / 1e9
	for _, r := range readers {
		for _, kb := range []int{64, 96} {
			f, err := x.find(fmt.Sprint(r.kernel, kb), r.shared(kb))
			if err != nil {
				continue // not for this GPU
			}
			x.reads = max(x.reads, bytes/x.median(tb, rounds(), x.enqueue(x.reading(r, f, kb, args)))/1e9)
		}
	}
	x.must(tb, func() error { return x.free(args.data) })
}

// copying copies half of the bytes at p over the other half.
func (x *experiment) copying(p devicePtr, half int) func() error {
	return func() error {
		err := cu.MemcpyDtoDAsync(cu.DevicePtr(p+devicePtr(half)), cu.DevicePtr(p), int64(half), x.stream)
		return check("cuMemcpyDtoDAsync", err)
	}
}

// askRead: see kernels/experiments/read.cu. copy counts the bytes read and the bytes written; best
// repeats the fastest read.
func askRead(x *experiment) {
	rows := x.readable(x.affordable(x, sized(2<<30, 0)))
	args := readArgs{sum: x.allocate(x, 4), data: x.allocate(x, rows*8<<10), rows: int64(rows)}
	bytes := float64(rows * 8 << 10)

	const seed = 12345
	words := uint64(rows) * 2048
	fill := func() { x.fillWith(x, "fill_words", fillArgs{data: args.data, n: int64(words), seed: seed}) }
	fill()
	x.figure("copy", func(f *figure) {
		x.copies = bytes / x.seconds(f, x.copying(args.data, rows*4<<10)) / 1e9
		f.report(x.copies, "GB/s")
	})
	fill() // again: half of it was copied over
	want := uint32(words*(words-1)/2)*fillFactor + uint32(words)*seed

	var best queue
	var fastest float64
	for _, r := range readers {
		for _, kb := range readKB {
			x.figure(fmt.Sprintf("%s/%dKB", r.name, kb), func(f *figure) {
				q := x.reading(r, x.kernel(f, fmt.Sprint(r.kernel, kb), r.shared(kb)), kb, args)
				x.must(f, func() error { return x.fill(args.sum, 0, 4, x.stream) })
				x.runOnce(f, q)
				require.Equal(f, []uint32{want}, readBack[uint32](f, x, args.sum, 1), "the sum of all words")
				s := x.seconds(f, x.enqueue(q))
				x.reportRead(f, bytes, s)
				if rate := bytes / s; rate > fastest {
					best, fastest = q, rate
				}
			})
		}
	}
	x.figure("best", func(f *figure) {
		if best == nil {
			f.Skip("no read was timed")
		}
		x.reportRead(f, bytes, x.seconds(f, x.enqueue(best)))
	})
}
