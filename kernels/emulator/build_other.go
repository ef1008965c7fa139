//go:build !(linux && amd64)

package emulator

import "fmt"

// Build says that the emulator does not run here: it switches stacks by hand, for x86-64, and stands in for a
// library of Linux.
func Build(Kind, ...Extra) (path string, err error) {
	return "", fmt.Errorf("%w: only for Linux on x86-64", ErrUnavailable)
}

// BuildMutant says what [Build] says.
func BuildMutant(string, Kind, Mutant, ...Extra) (path string, err error) {
	return Build(Checked)
}
