package cli

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// machineMemory is in bytes; 0 where the system does not tell.
type machineMemory struct {
	total int64
	// to this process, without swapping: what is free, and what holds files that can be read again
	available int64
	limit     int64 // of the container that this process runs in
}

// readMemory is a variable so that tests can put another machine in place of this one.
var readMemory = func() machineMemory { return memoryIn(os.DirFS("/")) }

// memoryIn reads what Linux tells in files below the root.
func memoryIn(root fs.FS) machineMemory {
	kB := func(key string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(field(root, "proc/meminfo", key), " kB"), 10, 64)
		return n << 10
	}
	m := machineMemory{total: kB("MemTotal"), available: kB("MemAvailable")}
	if m.available == 0 {
		return m
	}
	// Limits are those of the process's control group (version 2) and of the groups around it. A container
	// sees its own as the root.
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

// limitTo applies the limit of a control group, if it has one. Pages of files count as its memory, but they
// can be read again.
func (m *machineMemory) limitTo(root fs.FS, dir string) {
	limit, limited := number64(root, path.Join(dir, "memory.max")) // "max": no limit
	current, known := number64(root, path.Join(dir, "memory.current"))
	if !limited {
		return
	}
	if m.limit == 0 || limit < m.limit {
		m.limit = limit
	}
	if !known {
		current = 0
	}
	for _, key := range []string{"inactive_file", "active_file"} {
		files, _ := strconv.ParseInt(field(root, path.Join(dir, "memory.stat"), key), 10, 64)
		current -= files
	}
	m.available = max(1, min(m.available, limit-max(0, current)))
}

// number64 is the number that a file consists of.
func number64(root fs.FS, file string) (n int64, ok bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// field is the value of the first line "key : value" or "key value" of a file, "" if there is none.
func field(root fs.FS, file, key string) string {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok &&
			strings.IndexAny(value, " \t:") == 0 {
			return strings.TrimSpace(strings.TrimLeft(value, " \t:"))
		}
	}
	return ""
}
