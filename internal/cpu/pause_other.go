//go:build !amd64

package cpu

import "sync/atomic"

// pause lets a microsecond or less pass.
func pause() {
	var n atomic.Int32
	for n.Add(1) < 200 {
	}
}
