//go:build cuda && linux && cgo

package cuda

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// useDriver makes the next call load another driver, and the next test the one of all tests.
func useDriver(t testing.TB, library string) {
	driverLoaded = false
	t.Setenv("PHI3_LIBCUDA", library)
	t.Cleanup(func() { driverLoaded = false })
}

// compileDriver makes a driver of a few functions.
func compileDriver(t testing.TB, source string) string {
	if onGPU {
		t.Skip("about drivers that gcc makes, not about this GPU's")
	}
	dir := t.TempDir()
	library := filepath.Join(dir, "libcuda.so")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "driver.c"), []byte(source), 0o644))
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library,
		filepath.Join(dir, "driver.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return library
}

func TestUnavailable(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.so")
	require.NoError(t, os.WriteFile(garbage, []byte("garbage"), 0o644))
	empty := compileDriver(t, "")
	for _, c := range []struct{ name, library, want string }{
		{
			"no driver", "libcuda-of-no-one.so.1",
			"no NVIDIA driver (libcuda-of-no-one.so.1: cannot open shared object file: No such file or " +
				"directory)",
		},
		{"not a library", garbage, "no NVIDIA driver (" + garbage + ": file too short)"},
		{"not a driver", empty, "no NVIDIA driver (" + empty + ": undefined symbol: cuInit)"},
		{
			"old driver", compileDriver(t, "int cuInit(unsigned f) { return 0; } "+
				"int cuDriverGetVersion(int *v) { *v = 11040; return 0; }"),
			"the NVIDIA driver is too old: it supports CUDA 11.4, phi3 needs 11.8 or newer",
		},
		{
			"driver fails", compileDriver(t, "int cuInit(unsigned f) { return 803; }"),
			"the NVIDIA driver does not start: cuInit: an error unknown to the driver (CUDA error 803)",
		},
		{
			"no device", compileDriver(t, `int cuInit(unsigned f) { return 0; }
				int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
				int cuDeviceGetCount(int *n) { *n = 0; return 0; }`),
			"the NVIDIA driver sees no GPU",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			useDriver(t, c.library)
			for range 2 { // the second time too
				_, err := openDevice(0)
				require.ErrorIs(t, err, ErrUnavailable)
				require.EqualError(t, err, c.want)
			}
		})
	}
}

// A function that the driver does not have answers with an error; nothing jumps to nowhere.
func TestDriverWithoutFunctions(t *testing.T) {
	useDriver(t, compileDriver(t, "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { "+
		"*v = 12040; return 0; }"))
	_, err := Devices()
	require.ErrorContains(t, err, "cuDeviceGetCount: an error unknown to the driver (CUDA error 801)")
}

func TestNoGPUInDriver(t *testing.T) {
	emulate(t, "devices=0")
	useDriver(t, os.Getenv("PHI3_LIBCUDA"))
	_, err := Devices()
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)")
}
