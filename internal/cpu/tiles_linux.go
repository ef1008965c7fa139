//go:build amd64

package cpu

import (
	"sync"

	"golang.org/x/sys/unix"
)

// tilesAllowed asks Linux, once, for permission to use AMX's tile registers, and returns whether it was
// given. A kernel before 5.16 does not know the request, and a sandbox may refuse it.
var tilesAllowed = sync.OnceValue(func() bool {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	_, _, errno := unix.Syscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
})
