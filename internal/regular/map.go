package regular

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
)

// Map returns a file's bytes, and a function to call when they are no longer needed. It maps files of
// the operating system and reads others. A mapped file may shrink: a read of a missing page is a fault (see
// [runtime/debug.SetPanicOnFault]). The caller may close f.
func Map(f fs.File) (data []byte, unmap func() error, err error) {
	osFile, ok := f.(*os.File)
	if !ok {
		data, err = io.ReadAll(f)
		return data, func() error { return nil }, Reason(err)
	}
	info, err := osFile.Stat()
	if err != nil {
		return nil, nil, Reason(err)
	}
	if info.Size() > math.MaxInt {
		return nil, nil, fmt.Errorf("has %d bytes, more than this machine can address", info.Size())
	}
	if info.Size() == 0 { // an empty file cannot be mapped
		return nil, func() error { return nil }, nil
	}
	return mapFile(osFile, int(info.Size()))
}
