//go:build !(cuda && linux && cgo)

package cuda

import (
	"context"
	"errors"

	"phi3/internal/model"
)

var errBuild = error(unavailable{errors.New("this phi3 was built without CUDA (make build builds it in)")})

// Open returns [ErrUnavailable]'s reason: this program was built without CUDA.
func Open(Options) (model.Backend, error) {
	return nil, errBuild
}

// Devices returns the same error as [Open].
func Devices() ([]DeviceInfo, error) {
	return nil, errBuild
}

// FreeMemory returns the same error as [Open].
func FreeMemory(int) (int64, error) {
	return 0, errBuild
}

// SelfTest returns the same error as [Open].
func SelfTest(context.Context, Options, func(KernelResult) error) (*SelfTestReport, error) {
	return nil, errBuild
}
