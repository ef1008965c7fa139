package cpu

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. Linux need not have any, so what it answers is nobody's concern.
func adviseHuge(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }
