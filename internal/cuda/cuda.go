package cuda

import "errors"

// Options choose the device and how the backend computes.
type Options struct {
	Device  int  // as listed by [Devices]
	Float32 bool // round nothing: matrix inputs and the KV cache stay float32
}

// MinMajor is of the oldest compute capability that the kernels run on: the first whose tensor cores know bfloat16.
const MinMajor = 8

// DeviceInfo describes a GPU.
type DeviceInfo struct {
	Index        int
	Name         string
	Major, Minor int   // compute capability
	Memory       int64 // bytes
}

// ErrUnavailable is the reason behind every error that says this program cannot use a GPU on this machine at all.
var ErrUnavailable = errors.New("CUDA is not available")

// unavailable is an [ErrUnavailable] that says why in its own words alone: they go into longer sentences.
type unavailable struct{ error }

func (unavailable) Is(target error) bool { return target == ErrUnavailable }
