// Package machine reads what the operating system reports about this machine: its memory and its processor.
package machine

import (
	"io/fs"
	"os"
	"strings"
)

// Processor returns the name of the processor's model, or "" if the system does not report it.
func Processor() string { return field(os.DirFS("/"), "proc/cpuinfo", "model name") }

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
