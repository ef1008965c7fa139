//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"unsafe"
)

// stage carries what the host tells the kernels of a step (token ids, positions, angles, block tables) to the
// device, all of it in one copy before the step's first kernel.
//
// Steps of the same shape put the same sizes in the same order and so find everything at the same addresses:
// the launches of one decode step equal those of the next, and a graph captured from one serves them all.
type stage struct {
	host   *hostMemory
	device devicePtr // the same, there
	used   int
	kept   int   // of used, what Begin has put there for the whole step
	err    error // the first put that found no room
}

// newStage must run on the device's thread.
func newStage(d *device, bytes int) (s stage, err error) {
	if s.host, err = d.allocHost(bytes); err != nil {
		return s, err
	}
	s.device, err = d.alloc(bytes)
	return s, err
}

// put copies values to the stage, with room for capacity of them, and returns their address on the device.
func put[T any](s *stage, values []T, capacity int) devicePtr {
	const align = 16
	var t T
	size := int(unsafe.Sizeof(t))
	at := (s.used + align - 1) &^ (align - 1)
	if len(values) > capacity || at+capacity*size > len(s.host.bytes) {
		if s.err == nil {
			s.err = fmt.Errorf("a step's data (%d of %d values) do not fit their %d bytes on the device",
				len(values), capacity, len(s.host.bytes))
		}
		return 0
	}
	s.used = at + capacity*size
	copy(s.host.bytes[at:], bytesOf(values))
	return s.device + devicePtr(at)
}
