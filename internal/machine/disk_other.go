//go:build !(darwin || freebsd || linux)

package machine

// FreeDisk does not know.
func FreeDisk(string) (bytes int64, ok bool) { return 0, false }
