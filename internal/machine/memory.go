package machine

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Memory is the machine's memory in bytes. A value that the system does not report is 0.
type Memory struct {
	Total     int64
	Available int64 // to this process without swapping: free memory, and cached files
	Limit     int64 // of the container that this process runs in
}

// ReadMemory asks the operating system. It supports Linux; on other systems all values are 0.
func ReadMemory() Memory { return memoryIn(os.DirFS("/")) }

// memoryIn reads what Linux tells in files below the root.
func memoryIn(root fs.FS) Memory {
	kB := func(key string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(field(root, "proc/meminfo", key), " kB"), 10, 64)
		return n << 10
	}
	m := Memory{Total: kB("MemTotal"), Available: kB("MemAvailable")}
	if m.Available == 0 {
		return m
	}
	// Limits are those of the process's control group (version 2) and of the groups around it. A container
	// sees its own group as the root.
	group := "/"
	if text, err := fs.ReadFile(root, "proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				group = path.Clean("/" + name)
			}
		}
	}
	for {
		m.limitTo(root, path.Join("sys/fs/cgroup", group))
		if group == "/" {
			return m
		}
		group = path.Dir(group)
	}
}

// limitTo applies the limit of a control group, if it has one. The group's memory includes cached files,
// which the system can drop.
func (m *Memory) limitTo(root fs.FS, dir string) {
	limit, limited := number(root, path.Join(dir, "memory.max")) // "max": no limit
	current, known := number(root, path.Join(dir, "memory.current"))
	if !limited {
		return
	}
	if m.Limit == 0 || limit < m.Limit {
		m.Limit = limit
	}
	if !known {
		current = 0
	}
	for _, key := range []string{"inactive_file", "active_file"} {
		files, _ := strconv.ParseInt(field(root, path.Join(dir, "memory.stat"), key), 10, 64)
		current -= files
	}
	m.Available = max(1, min(m.Available, limit-max(0, current)))
}

// number reads a file that consists of one number.
func number(root fs.FS, file string) (n int64, ok bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
