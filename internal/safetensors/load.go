package safetensors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
)

// load returns a file's bytes and what to call when they are no longer needed. Operating-system files are mapped, others read.
func load(fsys fs.FS, name string) (data []byte, unmap func() error, err error) {
	if _, err := stat(fsys, name); err != nil {
		return nil, nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, reason(err)
	}
	defer func() { _ = f.Close() }() // the mapping outlives it; nothing was written
	osFile, ok := f.(*os.File)
	if !ok {
		data, err = io.ReadAll(f)
		return data, func() error { return nil }, reason(err)
	}
	info, err := osFile.Stat()
	if err != nil {
		return nil, nil, reason(err)
	}
	if info.Size() > math.MaxInt {
		return nil, nil, fmt.Errorf("has %d bytes, more than this machine can address", info.Size())
	}
	if info.Size() == 0 { // cannot be mapped
		return nil, func() error { return nil }, nil
	}
	return mapFile(osFile, int(info.Size()))
}

// stat looks at a regular file before it is opened: opening a named pipe would wait for ever.
func stat(fsys fs.FS, name string) (fs.FileInfo, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	return info, nil
}

// reason strips the operation and the path from a file system's error, because our callers put the file's name in front.
func reason(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
