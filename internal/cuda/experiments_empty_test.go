//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

// emptyArgs is EmptyArgs of kernels/experiments/empty.cu.
type emptyArgs struct {
	counter   devicePtr
	number, _ int32
}

// askEmpty: see kernels/experiments/empty.cu. Microseconds a kernel.
func askEmpty(x *experiment) {
	const launches = 160 // of a token of Phi-3-mini: 5 a layer
	counter := x.allocate(x, 8)
	for _, size := range []struct {
		name   string
		blocks int
	}{{"1block", 1}, {"2blocks-SM", 2 * x.multiprocessors}} {
		for _, way := range []struct {
			name, suffix string
			graph        bool
			flags        uint32
		}{
			{"stream", "", false, 0},
			{"graph", "", true, 0},
			{"stream-pdl", "_pdl", false, launchOverlap},
			{"graph-pdl", "_pdl", true, launchOverlap},
		} {
			x.figure(size.name+"/"+way.name, func(f *figure) {
				chain := func(kernel string) func() error {
					k := x.kernel(f, kernel+way.suffix, 0)
					var q queue
					for i := range launches {
						args := &emptyArgs{counter: counter, number: int32(i)}
						add(&q, k, grid{size.blocks, 1, 256, 0}, args)
						if i > 0 {
							q[i].flags = way.flags
						}
					}
					if way.graph {
						return x.enqueueGraph(x.graph(f, q))
					}
					return x.enqueue(q)
				}

				inOrder := chain("in_order")
				x.must(f, func() error {
					if err := x.fill(counter, 0, 8, x.stream); err != nil {
						return err
					}
					return inOrder()
				})
				require.Equal(f, []int32{launches, 0}, readBack[int32](f, x, counter, 2),
					"the counter after the chain, and how many launches found it wrong")

				f.report(x.seconds(f, chain("empty"))*1e6/launches, "µs/kernel")
			})
		}
	}
}

// barrierArgs is BarrierArgs of kernels/experiments/barrier.cu.
type barrierArgs struct {
	counter, stamps, wrong devicePtr
	rounds, _              int32
}

// askBarrier: see kernels/experiments/barrier.cu. Microseconds a barrier.
func askBarrier(x *experiment) {
	blocks := x.multiprocessors
	args := barrierArgs{counter: x.allocate(x, 4), stamps: x.allocate(x, 4*blocks), wrong: x.allocate(x, 4)}
	x.figure(fmt.Sprintf("%dblocks", blocks), func(f *figure) {
		barriers := func(kernel string, rounds int) func() error {
			k := x.kernel(f, kernel, 0)
			args.rounds = int32(rounds)
			var q queue
			add(&q, k, grid{blocks, 1, 256, 0}, &args)
			q[0].flags = launchCooperative
			return func() error {
				if err := x.fill(args.counter, 0, 4, x.stream); err != nil {
					return err
				}
				return x.launchAll(x.stream, q)
			}
		}
		checked := barriers("grid_barriers_checked", 200)
		x.must(f, func() error {
			if err := x.fill(args.stamps, 0, 4*blocks, x.stream); err != nil {
				return err
			}
			if err := x.fill(args.wrong, 0, 4, x.stream); err != nil {
				return err
			}
			return checked()
		})
		wrong := readBack[uint32](f, x, args.wrong, 1)
		require.Equal(f, []uint32{0}, wrong, "blocks that were found in another round")

		const rounds = 1000
		f.report(x.seconds(f, barriers("grid_barriers", rounds))*1e6/rounds, "µs/barrier")
	})
}

// TestLaunchFlags: launches with the flag launchOverlap, of a kernel that waits for the launch before, are
// right on a stream and in a graph, when as many blocks as possible begin before that has ended.
func TestLaunchFlags(t *testing.T) {
	emulate(t, "early=most") // on a GPU BenchmarkExperiment/empty checks the order
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		c := loadCopyRows(t, d)
		back := *c
		back.args.y, back.args.x = c.args.x, c.args.y
		queue := []launch{c.launch(), back.launch(), c.launch()}
		plain := queue[1]
		queue[1].flags, queue[2].flags = launchOverlap, launchOverlap
		require.NotEqual(t, plain, queue[1], "the graphs' comparison sees the flag")
		y := make([]float32, 10)
		for _, run := range []func() error{
			func() error { return d.launchAll(s, queue) },
			func() error {
				g, err := d.capture(s, queue)
				if err != nil {
					return err
				}
				return d.launchGraph(s, g)
			},
		} {
			require.NoError(t, d.copyToDevice(c.args.x, bytesOf([]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), s))
			require.NoError(t, d.fill(c.args.y, 0, 40, s))
			require.NoError(t, run())
			require.NoError(t, d.copyToHost(bytesOf(y), c.args.y, s))
			require.NoError(t, d.sync(s))
			require.Equal(t, []float32{5, 6, 7, 8, 9, 0, 1, 2, 3, 4}, y)
		}

		queue[1].flags = launchCooperative
		const want = "launch 1 of 3 (grid [2 1 1], 256 threads, 0 bytes of shared memory): " +
			"cuLaunchKernelEx: invalid argument"
		require.ErrorContains(t, d.launchAll(s, queue), want)
		_, err := d.capture(s, queue)
		require.ErrorContains(t, err, want)
	})
}
