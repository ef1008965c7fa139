//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// device is an open GPU. A goroutine with its own thread holds the GPU's primary context and everything
// that was made in it.
//
// openDevice, do and close may be called from anywhere. All other methods must be called inside do.
type device struct {
	DeviceInfo
	multiprocessors int
	maxShared       int   // most bytes of dynamic shared memory of a block, after allowShared
	overlap         bool  // whether the loaded kernels and the driver can overlap launches
	overlapRefused  error // why the driver refused to capture overlapping launches; nil if it did not
	prefetch        int   // bytes of the next product's weights that a product prefetches

	mutex sync.Mutex        // one do at a time
	work  chan func() error // nil once closed
	done  chan error        // the result of each piece of work; at the end, that of closing
	owned []resource
}

// resource lives until it is freed or the device is closed.
type resource struct {
	handle any
	free   func() error
}

// devicePtr is an address in the GPU's memory.
type devicePtr uint64

var errClosed = errors.New("the CUDA device is closed")

// openDevice opens a GPU that [Devices] lists.
func openDevice(index int) (*device, error) {
	devices, err := Devices()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= len(devices) {
		list := make([]string, len(devices))
		for i, d := range devices {
			list[i] = fmt.Sprintf("%d (%s, %.1f GB)", d.Index, d.Name, float64(d.Memory)/1e9)
		}
		return nil, fmt.Errorf("there is no GPU %d, only %s", index, strings.Join(list, ", "))
	}
	info := devices[index]
	if info.Major < MinMajor {
		return nil, unavailable{fmt.Errorf("GPU %d (%s) is too old: its compute capability is %d.%d, phi3 "+
			"needs %d.0 or newer",
			index, info.Name, info.Major, info.Minor, MinMajor)}
	}
	d := &device{
		DeviceInfo: info,
		work:       make(chan func() error),
		done:       make(chan error),
	}
	go d.run(d.work)
	if err := <-d.done; err != nil {
		return nil, fmt.Errorf("CUDA device %d, %s: %w", index, d.Name, err)
	}
	return d, nil
}

// run owns the context. It makes it current, sends the result on done, does the work, and at the end
// releases everything and sends that result.
func (d *device) run(work <-chan func() error) {
	// It is never unlocked, so the thread ends with the goroutine, and with it what the driver keeps for
	// the thread.
	runtime.LockOSThread()
	gpu := cu.Device(d.Index)
	context, err := gpu.RetainPrimaryCtx()
	if err != nil {
		d.done <- check("cuDevicePrimaryCtxRetain", err)
		return
	}
	d.own(context, func() error { return check("cuDevicePrimaryCtxRelease", gpu.ReleasePrimaryCtx()) })
	if err := d.start(gpu, context); err != nil {
		_ = d.freeAll() // the first error is the cause
		d.done <- err
		return
	}
	d.done <- nil
	for f := range work {
		d.done <- f()
	}
	d.done <- d.freeAll()
}

func (d *device) start(gpu cu.Device, context cu.CUContext) error {
	if err := cu.SetCurrentContext(context); err != nil {
		return check("cuCtxSetCurrent", err)
	}
	var err error
	if d.multiprocessors, err = gpu.Attribute(cu.MultiprocessorCount); err != nil {
		return check("cuDeviceGetAttribute", err)
	}
	if d.maxShared, err = gpu.Attribute(maxSharedOptIn); err != nil {
		return check("cuDeviceGetAttribute", err)
	}
	cache, err := gpu.Attribute(cu.L2CacheSize)
	d.prefetch = min(maxPrefetch, cache/4)
	return check("cuDeviceGetAttribute", err)
}

// do runs f on the device's thread and returns what f returns. f must not call do.
func (d *device) do(f func() error) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.work == nil {
		return errClosed
	}
	d.work <- f
	return <-d.done
}

// close waits for work on the GPU, releases everything, and ends the goroutine.
func (d *device) close() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.work == nil {
		return nil
	}
	close(d.work)
	d.work = nil
	return <-d.done
}

func (d *device) own(handle any, free func() error) {
	d.owned = append(d.owned, resource{handle, free})
}

// free releases memory, a stream, an event, a module or a graph before the device is closed.
func (d *device) free(handle any) error {
	for i, r := range slices.Backward(d.owned) {
		if r.handle == handle {
			d.owned = slices.Delete(d.owned, i, i+1)
			return r.free()
		}
	}
	return fmt.Errorf("%T %v is not the device's, or was freed before", handle, handle)
}

// freeAll releases everything, the newest first. After a fault every call returns that fault, so freeAll
// returns only the first error.
func (d *device) freeAll() error {
	first := check("cuCtxSynchronize", cu.Synchronize())
	for _, r := range slices.Backward(d.owned) {
		if err := r.free(); first == nil {
			first = err
		}
	}
	d.owned = nil
	return first
}

// memInfo is the free and the total memory of the GPU, in bytes.
func (d *device) memInfo() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, check("cuMemGetInfo", err)
}

// alloc allocates size bytes of the GPU's memory, aligned to 256 bytes. Their contents are undefined.
func (d *device) alloc(size int) (devicePtr, error) {
	p, err := cu.MemAlloc(int64(size))
	if err != nil {
		return 0, check(fmt.Sprintf("cuMemAlloc of %d bytes", size), err)
	}
	d.own(devicePtr(p), func() error { return check("cuMemFree", cu.MemFree(p)) })
	return devicePtr(p), nil
}

// hostMemory is pinned memory of the host. The GPU copies from and to it in the background.
type hostMemory struct {
	bytes []byte
}

func (d *device) allocHost(size int) (*hostMemory, error) {
	p, err := memHostAlloc(size)
	if err != nil {
		return nil, err
	}
	m := &hostMemory{unsafe.Slice((*byte)(p), size)}
	d.own(m, func() error {
		m.bytes = nil
		return check("cuMemFreeHost", cu.MemFreeHost(p))
	})
	return m, nil
}

// copyToDevice copies src to dst in the order of the stream. From [hostMemory] it returns at once, and
// src must not change until the copy is done. From other memory it returns when src was read.
func (d *device) copyToDevice(dst devicePtr, src []byte, s cu.Stream) error {
	if len(src) == 0 {
		return nil
	}
	return check("cuMemcpyHtoDAsync", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&src[0]),
		int64(len(src)), s))
}

// copyToHost copies src to dst in the order of the stream. To [hostMemory] it returns at once, to other
// memory when dst was written.
func (d *device) copyToHost(dst []byte, src devicePtr, s cu.Stream) error {
	if len(dst) == 0 {
		return nil
	}
	return check("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(unsafe.Pointer(&dst[0]), cu.DevicePtr(src),
		int64(len(dst)), s))
}

// fill sets size bytes at dst to value in the order of the stream.
func (d *device) fill(dst devicePtr, value byte, size int, s cu.Stream) error {
	if size == 0 {
		return nil
	}
	return check("cuMemsetD8Async", cu.MemsetD8Async(cu.DevicePtr(dst), value, int64(size), s))
}

// newStream makes a stream that does not wait for the default stream.
func (d *device) newStream() (cu.Stream, error) {
	s, err := cu.MakeStream(cu.NonBlocking)
	if err != nil {
		return s, check("cuStreamCreate", err)
	}
	handle := s
	d.own(handle, func() error { return check("cuStreamDestroy", s.Destroy()) })
	return handle, nil
}

// sync waits for all work of the stream. It returns the error of a kernel, unless an earlier call did.
func (d *device) sync(s cu.Stream) error {
	return check("cuStreamSynchronize", s.Synchronize())
}

// newEvent makes an event whose time can be taken.
func (d *device) newEvent() (cu.Event, error) { return d.makeEvent(cu.DefaultEvent) }

// newOrder makes an event that only orders work, which costs the GPU less.
func (d *device) newOrder() (cu.Event, error) { return d.makeEvent(cu.DisableTiming) }

func (d *device) makeEvent(flags cu.EventFlags) (cu.Event, error) {
	e, err := cu.MakeEvent(flags)
	if err != nil {
		return e, check("cuEventCreate", err)
	}
	handle := e
	d.own(handle, func() error { return check("cuEventDestroy", cu.DestroyEvent(&e)) })
	return handle, nil
}

// record makes the event happen when the stream's work so far is done.
func (d *device) record(e cu.Event, s cu.Stream) error {
	return check("cuEventRecord", e.Record(s))
}

// follow makes the stream's later work wait until the event has happened, as last recorded.
func (d *device) follow(s cu.Stream, e cu.Event) error {
	return check("cuStreamWaitEvent", s.Wait(e, 0))
}

// wait waits until the event has happened. An event that was never recorded counts as happened.
func (d *device) wait(e cu.Event) error {
	return check("cuEventSynchronize", e.Synchronize())
}
