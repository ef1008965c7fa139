//go:build cuda && linux && cgo

package cuda

import (
	"fmt"
	"unsafe"
)

// stage transfers a step's data to the device: token ids, positions, angles, block tables. One copy
// before the step's first kernel transfers everything.
//
// Steps of the same shape put the same sizes in the same order, so the addresses are the same. The
// launches of one decode step then equal those of the next, and one graph serves all of them.
type stage struct {
	host   *hostMemory
	device devicePtr // as many bytes on the device
	used   int       // bytes
	kept   int       // the first bytes, which Begin puts there for the whole step
	err    error     // of the first put that did not fit
}

// newStage must run on the device's thread.
func newStage(d *device, bytes int) (s stage, err error) {
	if s.host, err = d.allocHost(bytes); err != nil {
		return s, err
	}
	s.device, err = d.alloc(bytes)
	return s, err
}

// room makes room for count values on the stage and returns its address on the device.
func room[T any](s *stage, count int) devicePtr { return put[T](s, nil, count) }

// put copies values to the stage, in room for capacity of them, and returns their address on the device.
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
