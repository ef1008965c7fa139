// Package race tells tests whether they run under the race detector, which slows Go code tenfold.
package race

import "testing"

// SkipAlone skips a test, or a case of one, under the race detector. It is for what takes seconds on one
// goroutine, where the detector finds nothing. make test runs it without the detector.
func SkipAlone(t testing.TB) {
	t.Helper()
	if Enabled {
		t.Skip("runs on one goroutine: the race detector finds nothing here")
	}
}
