package cpu

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. An error is ignored: memory without huge pages works as well.
func adviseHuge(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }
