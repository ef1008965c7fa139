//go:build unix

package regular

import "golang.org/x/sys/unix"

// NoWait is a flag for os.OpenFile. It is for the moment between the look at a file and its opening: a named
// pipe opens at once, and a terminal stays a stranger's.
const NoWait = unix.O_NONBLOCK | unix.O_NOCTTY
