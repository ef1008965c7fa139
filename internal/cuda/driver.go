//go:build cuda && linux && cgo

package cuda

//go:generate go run generate_forward.go

/*
#cgo CFLAGS: -I${SRCDIR}/include
#cgo LDFLAGS: -Wl,--as-needed -L${SRCDIR}/stub -ldl

#include <cuda.h>
#include <stdlib.h>
#include "forward.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// minDriver is the CUDA version that a driver must support, in the driver's format: 11.8, the version of
// include/cuda.h.
const minDriver = 11080

var (
	driverMutex  sync.Mutex
	driverLoaded bool
)

// loadDriver loads and initializes the driver on first use. It tries again after a failure.
func loadDriver() error {
	driverMutex.Lock()
	defer driverMutex.Unlock()
	if driverLoaded {
		return nil
	}
	library := os.Getenv("PHI3_LIBCUDA")
	if library == "" {
		library = "libcuda.so.1"
	}
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	runtime.LockOSThread() // dlopen's error message is per thread
	defer runtime.UnlockOSThread()
	if message := C.forward_load(path); message != nil {
		return unavailable{fmt.Errorf("no NVIDIA driver (%s)", C.GoString(message))}
	}
	if err := checkResult("cuInit", C.CUresult(C.forward_init())); err != nil {
		return unavailable{fmt.Errorf("the NVIDIA driver does not start: %w", err)}
	}
	if v := cu.Version(); v < minDriver {
		return unavailable{fmt.Errorf("the NVIDIA driver is too old: it supports CUDA %d.%d, phi3 needs "+
			"%d.%d or newer",
			v/1000, v%1000/10, minDriver/1000, minDriver%1000/10)}
	}
	driverLoaded = true
	return nil
}

// Devices lists the GPUs.
func Devices() ([]DeviceInfo, error) {
	if err := loadDriver(); err != nil {
		return nil, err
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, check("cuDeviceGetCount", err)
	}
	if n == 0 {
		return nil, unavailable{errors.New("the NVIDIA driver sees no GPU")}
	}
	devices := make([]DeviceInfo, n)
	for i := range devices {
		d := DeviceInfo{Index: i}
		gpu, err1 := cu.GetDevice(i)
		name, err2 := gpu.Name()
		major, err3 := gpu.Attribute(cu.ComputeCapabilityMajor)
		minor, err4 := gpu.Attribute(cu.ComputeCapabilityMinor)
		memory, err5 := gpu.TotalMem()
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if err != nil {
				return nil, check(fmt.Sprintf("properties of CUDA device %d", i), err)
			}
		}
		d.Name, d.Major, d.Minor, d.Memory = name, major, minor, memory
		devices[i] = d
	}
	return devices, nil
}

// check adds the driver's message to an error of gorgonia.org/cu, which is only a number.
func check(op string, err error) error {
	if err == nil {
		return nil
	}
	code := reflect.ValueOf(err)
	if !code.CanInt() {
		return fmt.Errorf("%s: %w", op, err)
	}
	return checkResult(op, C.CUresult(code.Int()))
}

// checkResult does the same for our own calls. op is the driver's function.
func checkResult(op string, r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	name, text := fmt.Sprintf("CUDA error %d", int(r)), "an error unknown to the driver"
	var s *C.char
	if C.cuGetErrorName(r, &s) == C.CUDA_SUCCESS {
		name = C.GoString(s)
	}
	if C.cuGetErrorString(r, &s) == C.CUDA_SUCCESS {
		text = C.GoString(s)
	}
	return fmt.Errorf("%s: %s (%s)", op, text, name)
}
