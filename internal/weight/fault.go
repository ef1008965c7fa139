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
// Two changes cannot be detected. If a file is overwritten in place, the weights change. If a file loses only
// bytes of its last page, these bytes are read as zeros.

// ErrUnreadable is wrapped by the errors of [Fault].
var ErrUnreadable = errors.New("can no longer be read: the file has become shorter since it was opened, or " +
	"its disk has failed")

// Guard calls read, which reads the Data of the tensors on this goroutine. If a page cannot be read, Guard
// returns an error that names the file and the tensor. It does not recover other panics.
func Guard(tensors []*Tensor, read func() error) error {
	return guard(read, func(recovered any) error { return Fault(recovered, tensors) })
}

// GuardHeader is [Guard] for the header of a mapped file. Its error does not name the file.
func GuardHeader(read func() error) error {
	return guard(read, func(recovered any) error {
		if !IsFault(recovered) {
			return nil
		}
		return fmt.Errorf("its header %w", ErrUnreadable)
	})
}

// guard calls read. It returns the error that explain makes of a panic, and panics again if that is nil.
func guard(read func() error, explain func(recovered any) error) (err error) {
	defer func(before bool) {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			if err = explain(p); err == nil {
				panic(p)
			}
		}
	}(debug.SetPanicOnFault(true))
	return read()
}

// Fault returns an error if recovered is the panic of a failed read from the Data of one of the tensors, and
// nil otherwise.
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

// IsFault reports whether a recovered value is the panic of a failed read from memory.
func IsFault(recovered any) bool {
	_, ok := recovered.(interface{ Addr() uintptr }) // see debug.SetPanicOnFault
	return ok
}
