//go:build !unix

package regular

import (
	"io"
	"os"
)

// mapFile reads size bytes of f into memory, on systems without mmap.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data = make([]byte, size)
	_, err = io.ReadFull(f, data)
	return data, func() error { return nil }, err
}
