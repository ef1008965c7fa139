//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/kernels"
	"phi3/kernels/emulator"
)

// onGPU is whether the tests run on a real GPU. Otherwise they run on the emulator, and some provoke errors
// in it.
var onGPU = os.Getenv("PHI3_TEST_GPU") == "1"

// small is whether a test takes small sizes: the emulator is slow, and -short asks for a quick pass on any
// GPU.
func small() bool { return !onGPU || testing.Short() }

// checked is whether the emulator is a checked build, which is slow: TestChecked and TestMutants run tests of
// kernels so, and these take fewer cases then.
var checked = os.Getenv("PHI3_TEST_EMULATOR") != ""

func TestMain(m *testing.M) {
	if !onGPU {
		library := os.Getenv("PHI3_TEST_EMULATOR")
		if library == "" {
			var err error
			library, err = emulator.Build(emulator.Fast, conformanceKernels)
			if errors.Is(err, emulator.ErrUnavailable) {
				fmt.Println("skipped, for want of a GPU to test on:", err)
				os.Exit(0)
			} else if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if err := os.Setenv("PHI3_LIBCUDA", library); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// emulate changes the emulator for the rest of the test.
func emulate(t *testing.T, settings string) {
	if onGPU {
		t.Skip("for the emulator")
	}
	t.Setenv("PHI3_EMULATOR", settings)
}

func open(t testing.TB) *device {
	t.Helper()
	d, err := openDevice(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close()) })
	return d
}

// inside lets require stop a test from the device's goroutine, which FailNow would end.
type inside struct{ testing.TB }

type stopped struct{}

func (inside) FailNow() { panic(stopped{}) }

// on runs f on the device with a stream.
func on(t testing.TB, d *device, f func(t inside, s cu.Stream)) {
	t.Helper()
	require.NoError(t, d.do(func() (err error) {
		defer func() {
			if r := recover(); r == any(stopped{}) {
				err = errors.New("stopped")
			} else if r != nil {
				panic(r)
			}
		}()
		t := inside{t}
		s, err := d.newStream()
		require.NoError(t, err)
		f(t, s)
		require.NoError(t, d.sync(s))
		return d.free(s)
	}))
}

// useDriver makes the next call load another driver, and the next test the one of all tests.
func useDriver(t testing.TB, library string) {
	driverLoaded = false
	t.Setenv("PHI3_LIBCUDA", library)
	t.Cleanup(func() { driverLoaded = false })
}

// compileDriver makes a driver of a few functions.
func compileDriver(t testing.TB, source string) string {
	if onGPU {
		t.Skip("about drivers that gcc makes, not about this GPU's")
	}
	dir := t.TempDir()
	library := filepath.Join(dir, "libcuda.so")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "driver.c"), []byte(source), 0o644))
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library,
		filepath.Join(dir, "driver.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return library
}

func TestUnavailable(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.so")
	require.NoError(t, os.WriteFile(garbage, []byte("garbage"), 0o644))
	empty := compileDriver(t, "")
	for _, c := range []struct{ name, library, want string }{
		{
			"no driver", "libcuda-of-no-one.so.1",
			"no NVIDIA driver (libcuda-of-no-one.so.1: cannot open shared object file: No such file or " +
				"directory)",
		},
		{"not a library", garbage, "no NVIDIA driver (" + garbage + ": file too short)"},
		{"not a driver", empty, "no NVIDIA driver (" + empty + ": undefined symbol: cuInit)"},
		{
			"old driver", compileDriver(t,
				"int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 11040; return 0; }"),
			"the NVIDIA driver is too old: it supports CUDA 11.4, phi3 needs 11.8 or newer",
		},
		{
			"driver fails", compileDriver(t, "int cuInit(unsigned f) { return 803; }"),
			"the NVIDIA driver does not start: cuInit: an error unknown to the driver (CUDA error 803)",
		},
		{
			"no device", compileDriver(t, `int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
				int cuDeviceGetCount(int *n) { *n = 0; return 0; }`),
			"the NVIDIA driver sees no GPU",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			useDriver(t, c.library)
			for range 2 { // the second time too
				_, err := openDevice(0)
				require.ErrorIs(t, err, ErrUnavailable)
				require.EqualError(t, err, c.want)
			}
		})
	}
}

// A function that the driver does not have answers with an error; nothing jumps to nowhere.
func TestDriverWithoutFunctions(t *testing.T) {
	useDriver(t, compileDriver(t, "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { "+
		"*v = 12040; return 0; }"))
	_, err := Devices()
	require.ErrorContains(t, err, "cuDeviceGetCount: an error unknown to the driver (CUDA error 801)")
}

func TestNoGPUInDriver(t *testing.T) {
	emulate(t, "devices=0")
	useDriver(t, os.Getenv("PHI3_LIBCUDA"))
	_, err := Devices()
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)")
}

func TestDevices(t *testing.T) {
	devices, err := Devices()
	require.NoError(t, err)
	for i, d := range devices {
		require.Equal(t, i, d.Index)
		require.NotEmpty(t, d.Name)
		require.GreaterOrEqual(t, d.Major, 5)
		require.Greater(t, d.Memory, int64(1)<<30)
	}
	d := open(t)
	require.Equal(t, devices[0], d.DeviceInfo)
	require.Positive(t, d.multiprocessors)
	require.GreaterOrEqual(t, d.maxShared, 64<<10)
}

func TestWrongDevice(t *testing.T) {
	emulate(t, "devices=2;memory=2000000000")
	for _, index := range []int{-1, 2} {
		_, err := openDevice(index)
		require.NotErrorIs(t, err, ErrUnavailable)
		require.EqualError(t, err, fmt.Sprintf("there is no GPU %d, only 0 (emulator 0, 2.0 GB), 1 "+
			"(emulator 1, 2.0 GB)", index))
	}
	d, err := openDevice(1)
	require.NoError(t, err)
	require.NoError(t, d.close())
}

func TestOldDevice(t *testing.T) {
	emulate(t, "compute=7.5")
	_, err := openDevice(0)
	require.ErrorIs(t, err, ErrUnavailable)
	require.EqualError(t, err, "GPU 0 (emulator 0) is too old: its compute capability is 7.5, phi3 needs "+
		"8.0 or newer")
}

func TestMemory(t *testing.T) {
	d := open(t)
	src, dst := make([]byte, 1<<20), make([]byte, 1<<20)
	for i := range src {
		src[i] = byte(i * 7 >> 3)
	}
	on(t, d, func(t inside, s cu.Stream) {
		before, total, err := d.memInfo()
		require.NoError(t, err)
		require.LessOrEqual(t, before, total)
		p, err := d.alloc(len(src))
		require.NoError(t, err)
		require.Zero(t, p%256)
		after, _, err := d.memInfo()
		require.NoError(t, err)
		if !onGPU { // a driver allocates more at once than was asked for
			require.LessOrEqual(t, after, before-int64(len(src)))
		}

		require.NoError(t, d.copyToDevice(p, src, s))
		require.NoError(t, d.fill(p+1000, 0xee, 24, s))
		require.NoError(t, d.copyToHost(dst, p, s))
		require.NoError(t, d.sync(s))
		require.Equal(t, src[:1000], dst[:1000])
		require.Equal(t, slices.Repeat([]byte{0xee}, 24), dst[1000:1024])
		require.True(t, slices.Equal(src[1024:], dst[1024:]))

		require.NoError(t, d.copyToDevice(p, nil, s))
		require.NoError(t, d.copyToHost(nil, p, s))
		require.NoError(t, d.fill(p, 0, 0, s))

		require.NoError(t, d.free(p))
		require.ErrorContains(t, d.free(p), "freed before")
	})
}

func TestHostMemoryAndEvents(t *testing.T) {
	d := open(t)
	on(t, d, func(t inside, s cu.Stream) {
		in, err := d.allocHost(4096)
		require.NoError(t, err)
		out, err := d.allocHost(4096)
		require.NoError(t, err)
		p, err := d.alloc(4096)
		require.NoError(t, err)
		from, err := d.newEvent()
		require.NoError(t, err)
		to, err := d.newEvent()
		require.NoError(t, err)
		require.NoError(t, d.wait(from), "an event that was never recorded")

		for i := range in.bytes {
			in.bytes[i] = byte(i * i)
		}
		require.NoError(t, d.record(from, s))
		require.NoError(t, d.copyToDevice(p, in.bytes, s))
		require.NoError(t, d.copyToHost(out.bytes, p, s))
		require.NoError(t, d.record(to, s))
		require.NoError(t, d.wait(to))
		require.Equal(t, in.bytes, out.bytes)
		took, err := d.elapsed(from, to)
		require.NoError(t, err)
		require.GreaterOrEqual(t, took, time.Duration(0))
		require.Less(t, took, time.Minute)
		require.NoError(t, errors.Join(d.free(in), d.free(out), d.free(p), d.free(from), d.free(to)))
	})
}

func TestOutOfMemory(t *testing.T) {
	d := open(t)
	err := d.do(func() error {
		_, err := d.alloc(1 << 50)
		return err
	})
	require.ErrorContains(t, err, "cuMemAlloc of 1125899906842624 bytes: out of memory")
	require.ErrorContains(t, err, "(CUDA_ERROR_OUT_OF_MEMORY)")
}

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
		{"native", "jit-ms=600", []kernels.Code{native, ptx}, "native code for sm_90a", 0},
		{"PTX, compiled before", "", []kernels.Code{ptx}, "PTX, compiled by the driver", 0},
		{"PTX, compiled now", "jit-ms=600", []kernels.Code{ptx}, "PTX, compiled by the driver", 1},
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

// A fault in a kernel leaves a process nothing to do on the GPU, so another process commits it.
func TestKernelFault(t *testing.T) {
	if os.Getenv("PHI3_TEST_FAULT") == "" {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestKernelFault$", "-test.v")
		cmd.Env = append(os.Environ(), "PHI3_TEST_FAULT=1", "PHI3_EMULATOR=fault=copy_rows")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "met: cuStreamSynchronize: an illegal memory access was encountered")
		require.Contains(t, string(out),
			"again: cuStreamSynchronize: an illegal memory access was encountered")
		require.Contains(t, string(out),
			"closing: cuCtxSynchronize: an illegal memory access was encountered")
		return
	}
	d, err := openDevice(0)
	require.NoError(t, err)
	err = d.do(func() error {
		s, err := d.newStream()
		if err != nil {
			return err
		}
		c := loadCopyRows(inside{t}, d)
		c.args.x = 0
		if err := d.launchAll(s, []launch{c.launch()}); err != nil {
			return err
		}
		fmt.Println("met:", d.sync(s))
		fmt.Println("again:", d.sync(s))
		return nil
	})
	require.NoError(t, err)
	fmt.Println("closing:", d.close())
}

func TestCloseReleasesEverything(t *testing.T) {
	d, err := openDevice(0)
	require.NoError(t, err)
	require.NoError(t, d.close())
	before := runtime.NumGoroutine()
	var free []int64
	rounds := 50
	if onGPU {
		rounds = 5 // a driver takes about half a second to make a context, and may compile PTX in each
	}
	for range rounds {
		d, err := openDevice(0)
		require.NoError(t, err)
		on(t, d, func(t inside, _ cu.Stream) {
			f, _, err := d.memInfo()
			require.NoError(t, err)
			free = append(free, f)
			for range 3 { // never freed by us
				_, err1 := d.alloc(1 << 20)
				_, err2 := d.allocHost(4096)
				_, err3 := d.newStream()
				_, err4 := d.newEvent()
				_, _, err5 := d.loadCode(nil)
				require.NoError(t, errors.Join(err1, err2, err3, err4, err5))
			}
		})
		require.NoError(t, d.close())
		require.NoError(t, d.close(), "again")
		require.ErrorIs(t, d.do(func() error { return nil }), errClosed)
	}
	if !onGPU { // where others may use the GPU too
		require.Len(t, slices.Compact(free), 1, "free bytes after each opening")
	}
	for range 1000 { // a goroutine ends a little after its last answer
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
}

func TestDoFromManyGoroutines(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	answers := make([]error, 20)
	for i := range answers {
		wg.Go(func() {
			answers[i] = d.do(func() error { return fmt.Errorf("answer %d", i) })
		})
	}
	wg.Wait()
	for i, err := range answers {
		require.EqualError(t, err, fmt.Sprintf("answer %d", i))
	}
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
