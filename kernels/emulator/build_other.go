//go:build !(linux && amd64)

package emulator

import "fmt"

// Build returns an error: the emulator switches stacks in x86-64 assembly and replaces a library of Linux.
func Build(Kind, ...Extra) (path string, err error) {
	return "", fmt.Errorf("%w: only for Linux on x86-64", ErrUnavailable)
}

// BuildMutant returns the same error as [Build].
func BuildMutant(string, Kind, Mutant, ...Extra) (path string, err error) {
	return Build(Checked)
}
