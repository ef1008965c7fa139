package safetensors

import (
	"errors"
	"fmt"
	"runtime/debug"
	"unsafe"

	"phi3/internal/show"
)

// Tensors lie in mapped files, and the operating system answers whoever reads a page that is gone, because
// the file has become shorter or its disk has failed, with a signal: SIGBUS, which by default ends the
// program. Go can be asked for a panic instead, on each goroutine by itself (debug.SetPanicOnFault), and also
// where the reader is a function in assembly. So:
//
//   - who calls functions that read tensors defers [Checkpoint.CatchFault], which makes an error of the
//     panic;
//   - a goroutine of its own that reads tensors calls debug.SetPanicOnFault(true), and hands what it recovers
//     and [IsFault] says is such a panic to the goroutine that waits for it, to be panicked there.
//
// What cannot be noticed: a file that is overwritten in place, whose weights change, and one that loses no
// more than what it has in its last page of memory, which then reads as zeros.

// IsFault tells whether a recovered value is the panic of reading memory that could not be read.
func IsFault(recovered any) bool {
	_, ok := recovered.(interface{ Addr() uintptr }) // see debug.SetPanicOnFault
	return ok
}

// CatchFault is deferred, as
//
//	defer c.CatchFault(debug.SetPanicOnFault(true), &err)
//
// It sets *err, naming file and tensor, if the function panics because a page of the checkpoint cannot be
// read; other panics go on. before is what it sets debug.SetPanicOnFault back to.
func (c *Checkpoint) CatchFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if p := recover(); p != nil {
		fault := c.explain(p)
		if fault == nil {
			panic(p)
		}
		*err = fault
	}
}

// explain makes an error of the panic of reading one of the checkpoint's files; of other panics nil.
func (c *Checkpoint) explain(p any) error {
	if !IsFault(p) {
		return nil
	}
	addr := p.(interface{ Addr() uintptr }).Addr()
	for _, f := range c.files {
		if at, ok := offset(f.mapped, addr); ok {
			return fmt.Errorf("%s: %w", f.Name, f.explain(at, addr))
		}
	}
	return nil
}

func (f *File) explain(at int, addr uintptr) error {
	var tensor string
	for i := range f.Tensors {
		if _, ok := offset(f.Tensors[i].Data, addr); ok {
			tensor = fmt.Sprintf("tensor %q: ", show.Brief(f.Tensors[i].Name))
		}
	}
	return fmt.Errorf("%sbyte %d of the file %w", tensor, at, errGone)
}

var errGone = errors.New("can no longer be read: the file has become shorter since it was opened, or its " +
	"disk has failed")

// offset is where in data an address lies.
func offset(data []byte, addr uintptr) (int, bool) {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	if len(data) == 0 || addr < start || addr >= start+uintptr(len(data)) {
		return 0, false
	}
	return int(addr - start), true
}
