//go:build cgo

package early

// extern long phi3_gomaxprocs;
// extern int phi3_stdout_closed;
import "C"

// asked returns the GOMAXPROCS of the environment if it was larger than the number of processors, otherwise
// 0.
func asked() int { return int(C.phi3_gomaxprocs) }

func stdoutClosed() bool { return C.phi3_stdout_closed != 0 }
