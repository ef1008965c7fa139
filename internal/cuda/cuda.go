package cuda

import (
	"errors"
	"time"
)

// Options choose the device and how the backend computes.
type Options struct {
	Device  int  // as listed by [Devices]
	Float32 bool // round nothing: matrix inputs and the KV cache stay float32
	// Compiling, if set, is called once while the driver compiles the kernels, if that takes long.
	Compiling func()
}

// KernelCode is the form of the kernels that a GPU loaded.
type KernelCode struct {
	// the architecture of the machine code, such as sm_90a; "": PTX, which the driver compiled
	Native  string
	Took    time.Duration // to load, and to compile what the driver had not compiled before
	Refused error         // why the driver refused machine code for this GPU; nil if it did not
	// OverlapRefused is why the driver refused a graph of launches that overlap when the kernels were loaded;
	// nil if it did not, or was not asked.
	OverlapRefused error
}

// String describes the code for people: "native code for sm_90a".
func (k KernelCode) String() string {
	text := "PTX, compiled by the driver"
	switch {
	case k.Native != "":
		text = "native code for " + k.Native
	case k.Refused != nil:
		text += ", which refused the native code"
	}
	if k.OverlapRefused != nil {
		text += ", without overlapping launches"
	}
	return text
}

// MinMajor is the major number of the oldest compute capability that the kernels run on, the first whose
// tensor cores support bfloat16.
const MinMajor = 8

// MaxTokens is the most tokens of a step. A GPU takes about a tenth of a second for that many, so that
// Ctrl-C works quickly.
const MaxTokens = 2048

// DeviceInfo describes a GPU.
type DeviceInfo struct {
	Index        int
	Name         string
	Major, Minor int   // compute capability
	Memory       int64 // bytes
}

// ErrUnavailable is wrapped by every error that means that the program cannot use any GPU on this
// machine.
var ErrUnavailable = errors.New("CUDA is not available")

// unavailable is an [ErrUnavailable] whose text is only the reason, because callers put it into longer
// sentences.
type unavailable struct{ error }

func (unavailable) Is(target error) bool { return target == ErrUnavailable }
