//go:build !(cuda && linux && cgo)

package cuda

import (
	"context"
	"errors"

	"phi3/internal/model"
)

var errBuild = error(unavailable{errors.New("this phi3 was built without CUDA (make build builds it in)")})

// Open would make a backend.
func Open(Options) (model.Backend, error) {
	return nil, errBuild
}

// Devices would list the GPUs.
func Devices() ([]DeviceInfo, error) {
	return nil, errBuild
}

// FreeMemory would look at a GPU.
func FreeMemory(int) (int64, error) {
	return 0, errBuild
}

// SelfTest would test a GPU.
func SelfTest(context.Context, Options, func(KernelResult) error) (*SelfTestReport, error) {
	return nil, errBuild
}
