//go:build darwin || freebsd || linux

package machine

import "golang.org/x/sys/unix"

// FreeDisk returns how many bytes an ordinary user can write on the disk of a directory, and whether that is
// known.
func FreeDisk(dir string) (bytes int64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // the types differ from system to system
}
