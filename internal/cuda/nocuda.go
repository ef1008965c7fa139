//go:build !(cuda && linux && cgo)

package cuda

import (
	"fmt"

	"phi3/internal/model"
)

var errBuild = fmt.Errorf("%w: built without CUDA; run make build", ErrUnavailable)

// Open would make a backend.
func Open(Options) (model.Backend, error) {
	return nil, errBuild
}

// Devices would list the GPUs.
func Devices() ([]DeviceInfo, error) {
	return nil, errBuild
}
