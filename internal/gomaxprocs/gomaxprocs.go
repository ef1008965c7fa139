// Package gomaxprocs keeps the environment variable GOMAXPROCS to the number of processors. On Linux, in a program that is built with cgo,
// it does so before Go's runtime reads the variable; see bound_linux.c.
package gomaxprocs

import "runtime"

// Bound makes GOMAXPROCS at most the number of processors. It returns what the environment asked for if that was more, otherwise 0.
func Bound() (refused int) {
	if n := asked(); n > 0 {
		return n
	}
	if n := runtime.GOMAXPROCS(0); n > runtime.NumCPU() {
		runtime.GOMAXPROCS(runtime.NumCPU())
		return n
	}
	return 0
}
