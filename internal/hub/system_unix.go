//go:build darwin || freebsd || linux

package hub

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// freeDisk returns how many bytes an ordinary user can write on the disk of a directory, and whether that is
// known.
func freeDisk(dir string) (bytes int64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // the types differ from system to system
}

// lastRead returns when a file was last read, as precisely as the file system records it.
func lastRead(info fs.FileInfo) (t time.Time, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return accessTime(s), true
}

// linkCount returns how many names a file has.
func linkCount(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Nlink)
	}
	return 1
}
