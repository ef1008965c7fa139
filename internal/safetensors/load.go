package safetensors

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"phi3/internal/regular"
)

// load returns a file's bytes, and a function to call when they are no longer needed. It maps files of
// the operating system and reads others.
func load(f fs.File) (data []byte, unmap func() error, err error) {
	osFile, ok := f.(*os.File)
	if !ok {
		data, err = io.ReadAll(f)
		return data, func() error { return nil }, regular.Reason(err)
	}
	info, err := osFile.Stat()
	if err != nil {
		return nil, nil, regular.Reason(err)
	}
	if info.Size() > math.MaxInt {
		return nil, nil, fmt.Errorf("has %d bytes, more than this machine can address", info.Size())
	}
	if info.Size() == 0 { // an empty file cannot be mapped
		return nil, func() error { return nil }, nil
	}
	return mapFile(osFile, int(info.Size()))
}
