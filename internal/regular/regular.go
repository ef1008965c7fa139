// Package regular opens files that are not trusted. It opens only regular files and never blocks: to open a
// named pipe without a writer would block, and a device may have no end. The program opens all files of
// checkpoints and of the cache of models here, and the file of the hub's token.
package regular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Open opens the file at path for reading. It follows links. Errors keep their identity ([fs.ErrNotExist])
// and have no path: the caller adds the name.
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	return open(info, err, func(flag int) (*os.File, error) { return os.OpenFile(path, flag, 0) })
}

// OpenIn opens a file below root for reading. It opens no file outside root.
func OpenIn(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	return open(info, err, func(flag int) (*os.File, error) { return root.OpenFile(name, flag, 0) })
}

// open looks before it opens, because opening a device can have effects, and again afterwards, because
// another file may have taken the place.
func open(info fs.FileInfo, err error, openFile func(flag int) (*os.File, error)) (*os.File, error) {
	if err == nil {
		err = Check(info.Mode())
	}
	if err != nil {
		return nil, Reason(err)
	}
	f, err := openFile(os.O_RDONLY | NoWait)
	if err != nil {
		return nil, Reason(err)
	}
	if info, err = f.Stat(); err == nil {
		err = Check(info.Mode())
	}
	if err != nil {
		return nil, errors.Join(Reason(err), f.Close())
	}
	return f, nil
}

// OpenFS opens a file of fsys and returns its size in bytes. It does not wait unless fsys does.
func OpenFS(fsys fs.FS, name string) (f fs.File, size int64, err error) {
	info, err := fs.Stat(fsys, name)
	if err == nil {
		err = Check(info.Mode())
	}
	if err != nil {
		return nil, 0, Reason(err)
	}
	if f, err = fsys.Open(name); err != nil {
		return nil, 0, Reason(err)
	}
	if info, err = f.Stat(); err == nil {
		err = Check(info.Mode())
	}
	if err != nil {
		return nil, 0, errors.Join(Reason(err), f.Close())
	}
	return f, info.Size(), nil
}

// ErrNotRegular is the reason in the errors of [Check].
var ErrNotRegular = errors.New("is not a regular file")

// Check returns an error for everything but a regular file. The error says what the file is.
func Check(mode fs.FileMode) error {
	var is string
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		is = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		is = "a named pipe"
	case mode&fs.ModeSocket != 0:
		is = "a socket"
	case mode&fs.ModeDevice != 0:
		is = "a device"
	case mode&fs.ModeSymlink != 0:
		is = "a link"
	default:
		return ErrNotRegular
	}
	return fmt.Errorf("%w but %s", ErrNotRegular, is)
}

// Read reads the whole file at path, of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return readAll(f, limit)
}

// ReadIn reads a whole file below root, of at most limit bytes.
func ReadIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := OpenIn(root, name)
	if err != nil {
		return nil, err
	}
	return readAll(f, limit)
}

// ReadFS reads a whole file of fsys, of at most limit bytes.
func ReadFS(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, _, err := OpenFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return readAll(f, limit)
}

// readAll reads and closes a file. It refuses a file over the limit before it reads.
func readAll(f fs.File, limit int64) (text []byte, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, Reason(err)
	case info.Size() > limit:
		return nil, tooLarge(info.Size(), limit)
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	if _, err = b.ReadFrom(io.LimitReader(f, limit+1)); err != nil { // it may have grown
		return nil, Reason(err)
	}
	if n := int64(b.Len()); n > limit {
		return nil, tooLarge(n, limit)
	}
	return b.Bytes(), nil
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("has %d bytes, over the limit of %d", size, limit)
}

// ErrLeadsOut is the reason in errors about a name that leads out of its [os.Root].
var ErrLeadsOut = errors.New("leads out of its directory through a link")

// Reason removes the operation and the path from a file system's error, and replaces the unnamed error of
// os.Root by [ErrLeadsOut].
func Reason(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	for {
		switch {
		case errors.As(err, &pathErr):
			err = pathErr.Err
		case errors.As(err, &linkErr):
			err = linkErr.Err
		case err != nil && err.Error() == "path escapes from parent":
			return ErrLeadsOut
		default:
			return err
		}
	}
}

// IsAbsent reports whether an error says that there is nothing at a path. This includes a path below a file.
func IsAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
