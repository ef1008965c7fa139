//go:build darwin || freebsd || linux

package batch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the lock of a file, which the process holds until it closes the file or ends. It fails with
// errLocked if another process holds the lock.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	return err
}

// syncDirectory forces the names in a directory to the disk. Not every file system can, and the lines do not
// depend on it.
func syncDirectory(name string) {
	if d, err := os.Open(name); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
