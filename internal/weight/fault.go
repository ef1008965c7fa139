package weight

import (
	"errors"
	"fmt"
	"runtime/debug"
	"unsafe"
)

// The Data of tensors lies in mapped files. If a file becomes shorter or its disk fails, the operating system
// answers a read of the missing page with the signal SIGBUS, which by default ends the program. Go can
// turn the signal into a panic (debug.SetPanicOnFault), for each goroutine separately, also where
// assembly reads. So a goroutine that reads Data calls [Guard], or sets debug.SetPanicOnFault itself and
// passes what it recovers to [Fault].
//
// Two changes cannot be noticed: a file that is overwritten in place, which changes the weights, and a
// file that loses only bytes of its last page in memory, which then reads as zeros.

// ErrUnreadable is the reason of [Fault] errors.
var ErrUnreadable = errors.New("can no longer be read: the file has become shorter since it was opened, or " +
	"its disk has failed")

// Guard calls read, which reads the Data of the tensors on this goroutine. If a page cannot be read, it
// returns an error that names the file and the tensor. Other panics go on.
func Guard(tensors []*Tensor, read func() error) (err error) {
	defer func(before bool) {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			if err = Fault(p, tensors); err == nil {
				panic(p)
			}
		}
	}(debug.SetPanicOnFault(true))
	return read()
}

// Fault returns the error for a recovered panic if it is the fault of reading the Data of one of the
// tensors, and nil otherwise.
func Fault(recovered any, tensors []*Tensor) error {
	if !IsFault(recovered) {
		return nil
	}
	at := recovered.(interface{ Addr() uintptr }).Addr()
	for _, t := range tensors {
		start := uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))
		if at >= start && at-start < uintptr(len(t.Data)) {
			return fmt.Errorf("%s: tensor %q: byte %d of the file %w", t.File, t.Name,
				t.Offset+int64(at-start), ErrUnreadable)
		}
	}
	return nil
}

// IsFault reports whether a recovered value is the panic of reading memory that could not be read.
func IsFault(recovered any) bool {
	_, ok := recovered.(interface{ Addr() uintptr }) // see debug.SetPanicOnFault
	return ok
}
