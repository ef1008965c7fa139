//go:build !amd64 && !arm64

package cpu

// nativeKernels returns the paths in assembly that this processor can run: none.
func nativeKernels() []*kernels { return nil }
