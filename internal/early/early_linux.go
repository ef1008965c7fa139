//go:build cgo

package early

// extern long phi3_gomaxprocs;
// extern int phi3_stdout_closed;
import "C"

// asked is what the environment asked for before Go's runtime started, if that was too much.
func asked() int { return int(C.phi3_gomaxprocs) }

func stdoutClosed() bool { return C.phi3_stdout_closed != 0 }
