package cpu

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// cores returns how many cores the process may use, or 0 if that is not known. Two hardware threads of one
// core count once: loops that keep the core's units busy gain nothing from the second thread.
func cores() int {
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil {
		return 0
	}
	return coresOf(os.DirFS("/sys/devices/system/cpu"), &allowed)
}

// coresOf counts the cores of the hardware threads, which the files cpuN/topology/thread_siblings_list in dir
// assign to cores.
func coresOf(dir fs.FS, threads *unix.CPUSet) int {
	found := map[string]bool{}
	for n := range len(threads) * 64 {
		if !threads.IsSet(n) {
			continue
		}
		siblings, err := fs.ReadFile(dir, fmt.Sprintf("cpu%d/topology/thread_siblings_list", n))
		if err != nil {
			return 0
		}
		found[string(siblings)] = true
	}
	return len(found)
}
