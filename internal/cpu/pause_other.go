//go:build !amd64

package cpu

import "sync/atomic"

// pause waits for up to a microsecond.
func pause() {
	var n atomic.Int32
	for n.Add(1) < 200 {
	}
}
