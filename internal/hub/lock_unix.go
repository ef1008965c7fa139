//go:build darwin || freebsd || linux

package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"phi3/internal/regular"
)

// lock takes the lock of a blob as Python's filelock does: flock on a file below root that stays there.
// waiting is called once if another process holds the lock. ctx ends the wait.
func lock(ctx context.Context, root *os.Root, name string, waiting func()) (unlock func(), err error) {
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(root.Name(), path.Dir(name)), regular.Reason(err))
	}
	for waited := false; ; {
		unlock, err := tryLock(root, name)
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

// tryLock takes the lock, or fails with errLocked if another process holds it. A lock is a file and not a
// link.
func tryLock(root *os.Root, name string) (unlock func(), err error) {
	failed := func(err error) error {
		return fmt.Errorf("%s: %w", filepath.Join(root.Name(), name), regular.Reason(err))
	}
	if info, err := root.Lstat(name); err == nil {
		if err := regular.Check(info.Mode()); err != nil {
			return nil, failed(err)
		}
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|regular.NoWait, 0o664)
	if err != nil {
		return nil, failed(err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	// some versions of filelock remove the file when they unlock it
	if err == nil && !stillThere(f, root, name) {
		err = unix.EWOULDBLOCK
	}
	switch {
	case err == nil:
		return func() { _ = f.Close() }, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EACCES):
		err = errLocked
	default:
		err = fmt.Errorf("cannot be locked: %w; set HF_HUB_CACHE to a directory on a local disk", err)
	}
	return nil, errors.Join(failed(err), f.Close())
}

func stillThere(f *os.File, root *os.Root, name string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := root.Lstat(name)
	return err == nil && os.SameFile(ours, there)
}
