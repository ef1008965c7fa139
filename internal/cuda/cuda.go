package cuda

import (
	"errors"
	"time"
)

// Options choose the device and how the backend computes.
type Options struct {
	Device  int  // as listed by [Devices]
	Float32 bool // round nothing: matrix inputs and the KV cache stay float32
	// Compiling, if set, is called once if the driver takes long to compile the kernels, while it does so.
	Compiling func()
}

// KernelCode says in which form a GPU got its kernels.
type KernelCode struct {
	// the architecture of the machine code, such as sm_90a; "": PTX, which the driver compiled
	Native  string
	Took    time.Duration // to load, and to compile what the driver had not compiled before
	Refused error         // why the driver did not take machine code for this GPU, if there was any
}

// String describes the code for people: "native code for sm_90a".
func (k KernelCode) String() string {
	switch {
	case k.Native != "":
		return "native code for " + k.Native
	case k.Refused != nil:
		return "PTX, compiled by the driver, which refused the native code"
	default:
		return "PTX, compiled by the driver"
	}
}

// MinMajor is of the oldest compute capability that the kernels run on: the first whose tensor cores know
// bfloat16.
const MinMajor = 8

// MaxTokens is how many tokens a step takes at most. A GPU takes about a tenth of a second for so many, so
// that Ctrl-C does not wait.
const MaxTokens = 2048

// DeviceInfo describes a GPU.
type DeviceInfo struct {
	Index        int
	Name         string
	Major, Minor int   // compute capability
	Memory       int64 // bytes
}

// ErrUnavailable is the reason behind every error that says this program cannot use a GPU on this machine at
// all.
var ErrUnavailable = errors.New("CUDA is not available")

// unavailable is an [ErrUnavailable] that says why in its own words alone: they go into longer sentences.
type unavailable struct{ error }

func (unavailable) Is(target error) bool { return target == ErrUnavailable }
