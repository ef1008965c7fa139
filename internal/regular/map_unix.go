//go:build unix

package regular

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps size > 0 bytes of f, read-only and shared: the weights are in the page cache once, however
// many processes use them. f may be closed afterwards.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot map %d bytes: %w", size, err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}
