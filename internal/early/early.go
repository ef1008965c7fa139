// Package early knows what has to be seen or done before Go's runtime starts. On Linux, in a program that is
// built with cgo, a constructor in C does it; see early_linux.c.
package early

import "runtime"

// BoundGOMAXPROCS makes GOMAXPROCS at most the number of processors. It returns what the environment asked
// for if that was more, otherwise 0.
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

// StdoutClosed tells whether the process started without a stdout, as after >&- in a shell. Go's runtime
// opens /dev/null in its place, and whatever is written there is lost. Without cgo, and on other systems than
// Linux, the answer is always false.
func StdoutClosed() bool { return stdoutClosed() }
