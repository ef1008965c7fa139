// Package early contains code that must run before Go's runtime starts. On Linux, in a program built with
// cgo, a C constructor does it: see early_linux.c.
package early

import "runtime"

// BoundGOMAXPROCS limits GOMAXPROCS to the number of processors. It returns the environment's value if that
// was larger, otherwise 0.
func BoundGOMAXPROCS() (refused int) {
	if n := asked(); n > 0 {
		return n
	}
	if n := runtime.GOMAXPROCS(0); n > runtime.NumCPU() {
		runtime.GOMAXPROCS(runtime.NumCPU())
		return n
	}
	return 0
}

// StdoutClosed reports whether the process started without a stdout, as after >&- in a shell. Go's runtime
// then opens /dev/null as stdout, and the output is lost. Without cgo, and on systems other than Linux,
// StdoutClosed is always false.
func StdoutClosed() bool { return stdoutClosed() }
