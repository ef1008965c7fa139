//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/x448/float16"
	"gorgonia.org/cu"

	"phi3/internal/model"
	"phi3/internal/weight"
)

// parameter is the Data of a model.Weight.
type parameter struct {
	ptr devicePtr
	typ elementType // on the device, which may differ from the checkpoint's
}

// deviceType is how a tensor is stored on the device. Norms are small and become float32. Matrices that are
// quantized or have 16 bits keep their type. float32 matrices would take twice the memory and the time, so
// they are rounded to float16, which is eight times as exact as the bfloat16 inputs, or to bfloat16 if their
// weights are too large or too small for float16. With --dtype f32 they stay float32.
func (b *Backend) deviceType(t *weight.Tensor) elementType {
	if t.Format.Quantized() {
		return elementType(slices.Index(elementFormats[:], t.Format))
	}
	switch {
	case len(t.Shape) == 1 || t.Format == weight.F32 && b.float32:
		return typeF32
	case t.Format == weight.F16 || t.Format == weight.F32 && suitsF16(t.Data, t.Shape[0], t.Shape[1]):
		return typeF16
	}
	return typeBF16
}

// Upload implements [model.Backend]. It may return before the copy to the device ends, but reads t.Data only
// until it returns.
func (b *Backend) Upload(t *weight.Tensor) (w model.Weight, err error) {
	err = weight.Guard([]*weight.Tensor{t}, func() (err error) {
		w, err = b.upload(t)
		return err
	})
	return w, err
}

// upload is Upload without the guard against files that can no longer be read.
func (b *Backend) upload(t *weight.Tensor) (model.Weight, error) {
	w := &parameter{typ: b.deviceType(t)}
	err := b.do(func() (err error) {
		if b.uploader == nil {
			if b.uploader, err = newUploader(b, uploadBytes); err != nil {
				return err
			}
		}
		w.ptr, err = b.device.alloc(weightBytes(t, b.float32))
		return err
	})
	if err == nil {
		err = b.uploader.copy(w.ptr, converter(t, w.typ))
	}
	return model.Weight{Shape: t.Shape, Format: t.Format, Data: w}, err
}

// uploader copies a checkpoint to the device through two pinned buffers. While one is being copied, the
// other is filled from the checkpoint's memory map, which reads the disk. A copy from memory that is not
// pinned would not run in the background.
type uploader struct {
	backend *Backend
	stream  cu.Stream
	buffers [2]uploadBuffer
	next    int
}

type uploadBuffer struct {
	host *hostMemory
	free cu.Event // happens when the copy from host has ended
}

// uploadBytes is the size of a buffer. It is so large that the cost of starting a copy does not matter,
// and so small that the first copy starts soon.
const uploadBytes = 16 << 20

// newUploader makes an uploader with two buffers of the given size. It runs on the device's thread.
func newUploader(b *Backend, bytes int) (*uploader, error) {
	d := b.device
	u := &uploader{backend: b}
	var err error
	if u.stream, err = d.newStream(); err != nil {
		return nil, err
	}
	for i := range u.buffers {
		buffer := &u.buffers[i]
		if buffer.host, err = d.allocHost(bytes); err != nil {
			return nil, err
		}
		if buffer.free, err = d.newEvent(); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// conversion makes a tensor's bytes on the device from those of the checkpoint, by elements. An element is a
// number, or a row group of quantized weights.
type conversion struct {
	elems, bytes int // how many there are, and the size of one on the device
	// run sets dst to the elements from number first on
	run func(dst []byte, first int)
}

// copy converts a tensor and copies it to dst.
func (u *uploader) copy(dst devicePtr, c conversion) error {
	d := u.backend.device
	most := len(u.buffers[0].host.bytes) / c.bytes
	if most == 0 {
		return fmt.Errorf("8 rows of quantized weights take %d bytes, which is too much", c.bytes)
	}
	for first := 0; first < c.elems; first += most {
		b := &u.buffers[u.next]
		u.next = (u.next + 1) % len(u.buffers)
		if err := u.backend.do(func() error { return d.wait(b.free) }); err != nil {
			return err
		}
		host := b.host.bytes[:min(most, c.elems-first)*c.bytes]
		fill(host, c, first)
		err := u.backend.do(func() error {
			if err := d.copyToDevice(dst+devicePtr(first*c.bytes), host, u.stream); err != nil {
				return err
			}
			return d.record(b.free, u.stream)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish waits for the copies and frees the buffers. It runs on the device's thread.
func (u *uploader) finish() error {
	d := u.backend.device
	if err := d.sync(u.stream); err != nil {
		return err
	}
	for _, b := range u.buffers {
		if err := d.free(b.free); err != nil {
			return err
		}
		if err := d.free(b.host); err != nil {
			return err
		}
	}
	return d.free(u.stream)
}

// fill sets dst to the elements from number first on, on several cores, because one core reads memory more
// slowly than the bus transfers it.
func fill(dst []byte, c conversion, first int) {
	const piece = 1 << 20 // bytes
	elems, each := len(dst)/c.bytes, max(1, piece/c.bytes)
	inParallel(ceilDiv(elems, each), func(i int) {
		at, end := i*each, min((i+1)*each, elems)
		c.run(dst[at*c.bytes:end*c.bytes], first+at)
	})
}

// inParallel does n pieces of work that read a checkpoint's memory. If a page cannot be read, it panics as
// [weight.Guard] expects.
func inParallel(n int, work func(piece int)) {
	var wg sync.WaitGroup
	var fault atomic.Value
	for i := range n {
		wg.Go(func() {
			defer func(before bool) {
				debug.SetPanicOnFault(before)
				if p := recover(); p != nil && !weight.IsFault(p) {
					panic(p)
				} else if p != nil {
					fault.CompareAndSwap(nil, p)
				}
			}(debug.SetPanicOnFault(true))
			work(i)
		})
	}
	wg.Wait()
	if p := fault.Load(); p != nil {
		panic(p)
	}
}

// converter is the conversion of a checkpoint's tensor to the device's type.
func converter(t *weight.Tensor, to elementType) conversion {
	from := t.Format
	if from.Quantized() {
		cols := t.Shape[len(t.Shape)-1]
		m := newQuantMatrix(from, t.Data, t.Elems()/cols, cols)
		return conversion{m.groups(), m.groupBytes(cols), m.pack}
	}
	convert := func(dst, src []byte) { copy(dst, src) }
	switch {
	case from == weight.F32 && to == typeBF16:
		convert = func(dst, src []byte) {
			for i := range len(src) / 4 {
				binary.LittleEndian.PutUint16(dst[2*i:],
					weight.ToBF16(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))))
			}
		}
	case from == weight.F32 && to == typeF16:
		convert = func(dst, src []byte) {
			for i := range len(src) / 4 {
				f := float16.Fromfloat32(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
				binary.LittleEndian.PutUint16(dst[2*i:], f.Bits())
			}
		}
	case from != weight.F32 && to == typeF32:
		convert = func(dst, src []byte) {
			values := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)/4)
			weight.Widen(values, src, from)
		}
	}
	bytes := from.Bits() / 8
	return conversion{t.Elems(), to.bytes(), func(dst []byte, first int) {
		convert(dst, t.Data[first*bytes:][:len(dst)/to.bytes()*bytes])
	}}
}

// bytesOf is a slice's memory.
func bytesOf[T any](s []T) []byte {
	var t T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(t)))
}
