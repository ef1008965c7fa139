package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ReadFile reads a whole file of a checkpoint, of at most limit bytes. Anything but a regular file is refused before it is opened:
// opening a named pipe would wait for ever. Errors of the file system keep their identity ([fs.ErrNotExist]) but not their path: callers
// put the name in front.
func ReadFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	size, err := checkRegular(fsys, name, limit)
	if err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	var text bytes.Buffer
	text.Grow(int(size) + bytes.MinRead)
	_, err = text.ReadFrom(io.LimitReader(f, limit+1)) // it may have grown
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if n := int64(text.Len()); err == nil && n > limit {
		err = tooLarge(n, limit)
	}
	return text.Bytes(), reason(err)
}

func checkRegular(fsys fs.FS, name string, limit int64) (size int64, err error) {
	info, err := fs.Stat(fsys, name)
	switch {
	case err != nil:
		return 0, reason(err)
	case !info.Mode().IsRegular():
		return 0, errors.New("is not a regular file")
	case info.Size() > limit:
		return 0, tooLarge(info.Size(), limit)
	}
	return info.Size(), nil
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("has %d bytes, over the limit of %d", size, limit)
}

// reason strips the operation and the path from a file system's error.
func reason(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
