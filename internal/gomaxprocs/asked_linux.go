//go:build cgo

package gomaxprocs

// extern long phi3_gomaxprocs;
import "C"

// asked is what the environment asked for before Go's runtime started, if that was too much.
func asked() int { return int(C.phi3_gomaxprocs) }
