//go:build !linux || !cgo

package early

func asked() int { return 0 }

func stdoutClosed() bool { return false }
