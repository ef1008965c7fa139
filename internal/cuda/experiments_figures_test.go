//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/internal/weight"
)

// must runs work on the device, for a figure or for the question.
func (x *experiment) must(tb testing.TB, work func() error) {
	tb.Helper()
	require.NoError(tb, x.do(work))
}

// figure is a benchmark, or a test, below its question's.
type figure struct {
	testing.TB
	loop   func() bool                      // as [testing.B.Loop]
	report func(value float64, unit string) // as [testing.B.ReportMetric]
}

// figure runs body as a benchmark or test of that name. One that fails does not stop the next, unless the
// GPU's context is lost.
func (x *experiment) figure(name string, body func(f *figure)) {
	var passed bool
	switch tb := x.TB.(type) {
	case *testing.B:
		passed = tb.Run(name, func(b *testing.B) { body(&figure{b, b.Loop, b.ReportMetric}) })
	case *testing.T:
		passed = tb.Run(name, func(t *testing.T) {
			rounds := 0
			loop := func() bool { rounds++; return rounds == 1 }
			body(&figure{t, loop, func(value float64, unit string) {
				require.False(t, math.IsNaN(value) || math.IsInf(value, 0), "%v %s", value, unit)
			}})
			require.Positive(t, rounds, "nothing was timed")
		})
	}
	if passed {
		return
	}
	stopIfLost(x.Name()+"/"+name, x.do(func() error { return check("cuCtxSynchronize", cu.Synchronize()) }))
}

// stopIfLost ends the process where the GPU answers no more, as after a fault: whatever follows would fail,
// and say nothing of the GPU.
func stopIfLost(last string, err error) {
	if err != nil {
		fmt.Printf("context lost: %s was the last that could run in this process: %v\n", last, err)
		os.Exit(1)
	}
}

// seconds is the median time on the GPU of what enqueue puts on the stream, after one round to warm up.
func (x *experiment) seconds(f *figure, enqueue func() error) float64 {
	f.Helper()
	s := x.median(f, f.loop, enqueue)
	f.report(s*1e9, "ns/op")
	return s
}

func (x *experiment) median(tb testing.TB, loop func() bool, enqueue func() error) float64 {
	tb.Helper()
	var took []float64
	x.must(tb, func() error {
		from, err := x.newEvent()
		if err != nil {
			return err
		}
		to, err := x.newEvent()
		if err != nil {
			return err
		}
		if err := enqueue(); err != nil {
			return err
		}
		for loop() {
			if err := x.record(from, x.stream); err != nil {
				return err
			}
			if err := enqueue(); err != nil {
				return err
			}
			if err := x.record(to, x.stream); err != nil {
				return err
			}
			if err := x.wait(to); err != nil {
				return err
			}
			d, err := x.elapsed(from, to)
			if err != nil {
				return err
			}
			took = append(took, d.Seconds())
		}
		return errors.Join(x.free(from), x.free(to))
	})
	slices.Sort(took)
	return max(took[len(took)/2], time.Nanosecond.Seconds()) // the emulator's clock may stand still
}

// graph captures a queue. It is freed with the figure.
func (x *experiment) graph(tb testing.TB, q queue) graph {
	tb.Helper()
	var g graph
	x.must(tb, func() (err error) {
		g, err = x.capture(x.stream, q)
		return err
	})
	tb.Cleanup(func() { _ = x.do(func() error { return x.free(g) }) })
	return g
}

// kernel finds one of the experiments' kernels and allows it so many bytes of dynamic shared memory. The
// figure is skipped where this GPU cannot run it.
func (x *experiment) kernel(tb testing.TB, name string, shared int) function {
	tb.Helper()
	if shared > x.maxShared {
		tb.Skipf("%s needs %d bytes of shared memory; a block of this GPU has at most %d", name, shared,
			x.maxShared)
	}
	f, err := x.find(name, shared)
	if err != nil && strings.Contains(err.Error(), "CUDA_ERROR_NOT_FOUND") {
		where := fmt.Sprintf("a GPU of compute capability %d.%d", x.Major, x.Minor)
		if !onGPU {
			where = "the emulator"
		}
		tb.Skipf("%s is not compiled for %s", name, where)
	}
	require.NoError(tb, err)
	return f
}

// find is kernel for those who can do without.
func (x *experiment) find(name string, shared int) (f function, err error) {
	return f, x.do(func() error {
		if f, err = x.function(x.module, name); err != nil {
			return err
		}
		return x.allowShared(f, shared)
	})
}

// allocate allocates memory until the question is answered.
func (x *experiment) allocate(tb testing.TB, bytes int) devicePtr {
	tb.Helper()
	var p devicePtr
	x.must(tb, func() (err error) {
		p, err = x.alloc(bytes)
		return err
	})
	return p
}

// affordable is wanted bytes, or half of the GPU's free memory if that is less.
func (x *experiment) affordable(tb testing.TB, wanted int) int {
	tb.Helper()
	x.must(tb, func() error {
		free, _, err := x.memInfo()
		wanted = min(wanted, int(free/2))
		return err
	})
	return wanted
}

// muchMoreThanL2 is so many bytes that after reading them once, none of the first are in the L2 cache.
func (x *experiment) muchMoreThanL2(tb testing.TB) (bytes int) {
	tb.Helper()
	x.must(tb, func() error {
		l2, err := cu.Device(x.Index).Attribute(cu.L2CacheSize)
		bytes = 4 * l2
		return check("cuDeviceGetAttribute", err)
	})
	return bytes
}

// fillArgs is FillArgs of kernels/experiments/fill.cu.
type fillArgs struct {
	data  devicePtr
	n     int64
	seed  uint32
	scale float32
	k, _  int32
}

const fillFactor = 0x9e3779b1

func (x *experiment) fillWith(tb testing.TB, kernel string, args fillArgs) {
	tb.Helper()
	f := x.kernel(tb, kernel, 0)
	x.must(tb, func() error {
		var q queue
		add(&q, f, grid{min(ceilDiv(int(args.n), 256), 16*x.multiprocessors), 1, 256, 0}, &args)
		if err := x.launchAll(x.stream, q); err != nil {
			return err
		}
		return x.sync(x.stream)
	})
}

// fillBF16 sets n bfloat16 to the values of filledBF16.
func (x *experiment) fillBF16(tb testing.TB, data devicePtr, n int, seed uint32, scale float32) {
	tb.Helper()
	x.fillWith(tb, "fill_bf16", fillArgs{data: data, n: int64(n), seed: seed, scale: scale})
}

// filledBF16 is element i of what fill_bf16 makes.
func filledBF16(i, seed uint32, scale float32) uint16 {
	h := i + seed*fillFactor
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	h ^= h >> 16
	return weight.ToBF16(float32(int32(h>>8)-1<<23) / (1 << 23) * scale)
}

// upload copies values to new memory.
func (x *experiment) upload(tb testing.TB, values any) devicePtr {
	tb.Helper()
	data := encode(values)
	p := x.allocate(tb, len(data))
	x.write(tb, p, data)
	return p
}

func (x *experiment) write(tb testing.TB, p devicePtr, data []byte) {
	tb.Helper()
	x.must(tb, func() error {
		if err := x.copyToDevice(p, data, x.stream); err != nil {
			return err
		}
		return x.sync(x.stream)
	})
}

// readBack copies n values to the host.
func readBack[T any](tb testing.TB, x *experiment, p devicePtr, n int) []T {
	tb.Helper()
	values := make([]T, n)
	data := make([]byte, binary.Size(values))
	x.must(tb, func() error {
		if err := x.copyToHost(data, p, x.stream); err != nil {
			return err
		}
		return x.sync(x.stream)
	})
	_, err := binary.Decode(data, binary.LittleEndian, values)
	require.NoError(tb, err)
	return values
}

// enqueue is the queue as work for seconds.
func (x *experiment) enqueue(q queue) func() error {
	return func() error { return x.launchAll(x.stream, q) }
}

func (x *experiment) enqueueGraph(g graph) func() error {
	return func() error { return x.launchGraph(x.stream, g) }
}

// runOnce launches the queue and waits for it.
func (x *experiment) runOnce(tb testing.TB, q queue) {
	tb.Helper()
	x.must(tb, func() error {
		if err := x.launchAll(x.stream, q); err != nil {
			return err
		}
		return x.sync(x.stream)
	})
}

// reportRead reports GB/s of bytes read in so many seconds, and its share of the ceilings that were measured.
func (x *experiment) reportRead(f *figure, bytes, seconds float64) {
	rate := bytes / seconds / 1e9
	f.report(rate, "GB/s")
	if x.reads > 0 {
		f.report(100*rate/x.reads, "%read")
	}
	if x.copies > 0 {
		f.report(100*rate/x.copies, "%copy")
	}
}
