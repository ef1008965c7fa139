package cpu

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// cores is how many cores the process may use, or 0 where that is not known. Two hardware threads of one core
// count once: loops that keep the core's units busy gain nothing from the second one.
func cores() int {
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil {
		return 0
	}
	return coresOf(os.DirFS("/sys/devices/system/cpu"), &allowed)
}

// coresOf counts the cores of some hardware threads, of which dir tells in files
// cpuN/topology/thread_siblings_list.
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
