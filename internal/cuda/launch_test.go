//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/kernels"
)

func TestModuleErrors(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, _ cu.Stream) {
		_, err := d.loadModule(nil)
		require.EqualError(t, err, "no compiled kernels to load")
		m, _, err := d.loadCode(nil)
		require.NoError(t, err)
		_, err = d.function(m, "no_such_kernel")
		require.ErrorContains(t, err, "kernel no_such_kernel: cuModuleGetFunction: named symbol not found")
		require.NoError(t, d.free(m))
	})
	image := ".version 7.0\n.target sm_80\n.address_size 64\nnonsense\n"
	if strings.HasPrefix(d.Name, "emulator") { // it compiles nothing, so it has to be told
		t.Setenv("PHI3_EMULATOR", "jit-error=ptxas application ptx input, line 4: fatal error")
		image = "any"
	}
	on(t, d, func(t inside, _ cu.Stream) {
		_, err := d.loadModule([]byte(image))
		require.ErrorContains(t, err, "cuModuleLoadDataEx: a PTX JIT compilation failed")
		require.ErrorContains(t, err, "(CUDA_ERROR_INVALID_PTX)\nptxas application ptx input, line 4")
	})
}

// Native code comes first; where there is none, or the driver is older than it, PTX does the same work, and
// the caller can say which it was, and tell the user to wait while the driver compiles.
func TestKernelCode(t *testing.T) {
	emulate(t, "")
	ptx := kernels.Code{Image: []byte("// PTX")}
	native := kernels.Code{Image: []byte("\x50\xed\x55\xba"), Native: "sm_90a"}
	d := open(t)
	for _, c := range []struct {
		name, settings string
		codes          []kernels.Code
		want           string
		compiling      int // times that the user is told
	}{
		{"native", "jit-ms=3000", []kernels.Code{native, ptx}, "native code for sm_90a", 0},
		{"PTX, compiled before", "", []kernels.Code{ptx}, "PTX, compiled by the driver", 0},
		{"PTX, compiled now", "jit-ms=3000", []kernels.Code{ptx}, "PTX, compiled by the driver", 1},
		{
			"old driver", "refuse-native=1",
			[]kernels.Code{native, ptx},
			"PTX, compiled by the driver, which refused the native code", 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			emulate(t, c.settings)
			compiledFor = func(major, minor int) []kernels.Code {
				require.Equal(t, []int{9, 0}, []int{major, minor})
				return c.codes
			}
			t.Cleanup(func() { compiledFor = kernels.For })
			told := 0
			var code KernelCode
			require.NoError(t, d.do(func() (err error) {
				_, code, err = d.loadCode(func() { told++ })
				return err
			}))
			require.Equal(t, c.want, code.String())
			require.Equal(t, c.compiling, told)
			require.Positive(t, code.Took)
			if c.settings == "refuse-native=1" {
				require.ErrorContains(t, code.Refused, "(CUDA_ERROR_NO_BINARY_FOR_GPU)")
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		emulate(t, "refuse-native=1;jit-error=bad PTX")
		compiledFor = func(int, int) []kernels.Code { return []kernels.Code{native, ptx} }
		t.Cleanup(func() { compiledFor = kernels.For })
		require.ErrorContains(t, d.do(func() error {
			_, _, err := d.loadCode(nil)
			return err
		}), "bad PTX")
	})
}

// copyRowsArgs is CopyRowsArgs of kernels/args.h.
type copyRowsArgs struct {
	y, x, rows devicePtr
	cols       int32
}

// copyRows is the kernel copy_rows with something to copy: y[i] = x[1-i] for rows of 5.
type copyRows struct {
	function function
	args     copyRowsArgs
}

func loadCopyRows(t inside, d *device) *copyRows {
	t.Helper()
	m, _, err := d.loadCode(nil)
	require.NoError(t, err)
	f, err := d.function(m, "copy_rows")
	require.NoError(t, err)
	p, err := d.alloc(3 * 256)
	require.NoError(t, err)
	c := &copyRows{f, copyRowsArgs{y: p, x: p + 256, rows: p + 512, cols: 5}}
	s := cu.NoStream
	require.NoError(t, d.copyToDevice(c.args.x, bytesOf([]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), s))
	require.NoError(t, d.copyToDevice(c.args.rows, bytesOf([]int32{1, 0}), s))
	require.NoError(t, d.sync(s))
	return c
}

func (c *copyRows) launch() launch {
	l := launch{
		function: c.function, grid: [3]uint32{2, 1, 1}, block: 256,
		size: uint32(unsafe.Sizeof(c.args)),
	}
	*(*copyRowsArgs)(unsafe.Pointer(&l.args)) = c.args
	return l
}

func TestLaunch(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		c := loadCopyRows(t, d)
		y := make([]float32, 10)
		read := func() []float32 {
			require.NoError(t, d.copyToHost(bytesOf(y), c.args.y, s))
			require.NoError(t, d.sync(s))
			return slices.Clone(y)
		}
		clear := func() { require.NoError(t, d.fill(c.args.y, 0, 40, s)) }
		want := []float32{5, 6, 7, 8, 9, 0, 1, 2, 3, 4}

		clear()
		require.NoError(t, d.launchAll(s, []launch{c.launch()}))
		require.Equal(t, want, read())

		// Back again: the second launch reads what the first wrote.
		back := *c
		back.args.y, back.args.x = c.args.x, c.args.y
		queue := []launch{c.launch(), back.launch(), c.launch()}
		require.NoError(t, d.launchAll(s, queue))
		require.Equal(t, want, read())
		require.NoError(t, d.launchAll(s, nil))

		clear()
		g, err := d.capture(s, queue)
		require.NoError(t, err)
		require.Equal(t, make([]float32, 10), read(), "after the capture alone")
		for range 3 {
			clear()
			require.NoError(t, d.launchGraph(s, g))
			require.Equal(t, want, read())
		}
		require.NoError(t, d.free(g))
		_, err = d.capture(s, nil)
		require.EqualError(t, err, "a graph of no launches")
	})
}

func TestRefusedLaunch(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		c := loadCopyRows(t, d)
		large := c.launch()
		large.shared = 60 << 10
		queue := []launch{c.launch(), large, c.launch()}
		const want = "launch 1 of 3 (grid [2 1 1], 256 threads, 61440 bytes of shared memory): " +
			"cuLaunchKernel: invalid argument"
		require.ErrorContains(t, d.launchAll(s, queue), want)
		_, err := d.capture(s, queue)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, d.allowShared(c.function, 1<<20),
			"1048576 bytes of shared memory: cuFuncSetAttribute: invalid argument")

		require.NoError(t, d.allowShared(c.function, 60<<10))
		require.NoError(t, d.launchAll(s, queue))
		g, err := d.capture(s, queue)
		require.NoError(t, err, "the stream after the capture that failed")
		require.NoError(t, d.launchGraph(s, g))
	})
}

// noDriver answers launches and does nothing: what is left is the binding's own time.
const noDriver = `

int cuInit(unsigned f) { return 0; }
int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
int cuLaunchKernel() { return 0; }
int cuGraphLaunch() { return 0; }
`

func TestLaunchesDoNotAllocate(t *testing.T) {
	useDriver(t, compileDriver(t, noDriver))
	require.NoError(t, loadDriver())
	var d device
	queue := make([]launch, 100)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		if err := d.launchAll(cu.NoStream, queue); err != nil {
			t.Error(err)
		}
		if err := d.launchGraph(cu.NoStream, graph{}); err != nil {
			t.Error(err)
		}
	}))
}

func BenchmarkLaunch(b *testing.B) {
	useDriver(b, compileDriver(b, noDriver))
	require.NoError(b, loadDriver())
	var d device
	for _, n := range []int{1, 200} {
		b.Run(fmt.Sprintf("queue of %d", n), func(b *testing.B) {
			queue := make([]launch, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := d.launchAll(cu.NoStream, queue); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/launch")
		})
	}
}
