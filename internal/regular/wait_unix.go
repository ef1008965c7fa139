//go:build unix

package regular

import "golang.org/x/sys/unix"

// NoWait is a flag for os.OpenFile. It is for a file that is replaced between the check and the open: a named
// pipe opens without blocking, and a terminal does not become the process's controlling terminal.
const NoWait = unix.O_NONBLOCK | unix.O_NOCTTY
