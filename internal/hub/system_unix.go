//go:build darwin || freebsd || linux

package hub

import (
	"io/fs"
	"syscall"
	"time"
)

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
