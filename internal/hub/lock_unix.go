//go:build darwin || freebsd || linux

package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock of a blob, as Python's filelock does: flock on a file of its own, which stays. waiting is called once if another
// process has it. ctx ends the wait.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	for waited := false; ; {
		unlock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		if !waited {
			waited = true
			waiting()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

var errLocked = errors.New("is locked by another process")

// tryLock takes the lock if nobody has it, otherwise it fails with errLocked.
func tryLock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o664)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && !stillThere(f, path) { // some versions of filelock remove the file when they are done
		err = unix.EWOULDBLOCK
	}
	switch {
	case err == nil:
		return func() { _ = f.Close() }, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EACCES):
		err = errLocked
	default:
		err = fmt.Errorf("cannot be locked: %w; HF_HUB_CACHE can name a directory on a local disk", err)
	}
	_ = f.Close()
	return nil, fmt.Errorf("%s %w", path, err)
}

func stillThere(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}
