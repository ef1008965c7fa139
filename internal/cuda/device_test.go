//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

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

// elapsed is the time on the GPU between two events that have happened.
func (d *device) elapsed(from, to cu.Event) (time.Duration, error) {
	ms, err := from.Elapsed(to)
	return time.Duration(ms * float64(time.Millisecond)), check("cuEventElapsedTime", err)
}
