//go:build cuda && linux && cgo

package cuda

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"phi3/kernels/emulator"
)

// onGPU is whether the tests run on a real GPU. Otherwise they run on the emulator, and some provoke errors
// in it.
var onGPU = os.Getenv("PHI3_TEST_GPU") == "1"

// small is whether a test takes small sizes: the emulator is slow, and -short asks for a quick pass on any
// GPU.
func small() bool { return !onGPU || testing.Short() }

// checked is whether the emulator is a checked build, which is slow: TestChecked and TestMutants run tests of
// kernels so, and these take fewer cases then.
var checked = os.Getenv("PHI3_TEST_EMULATOR") != ""

func TestMain(m *testing.M) {
	if !onGPU {
		library := os.Getenv("PHI3_TEST_EMULATOR")
		if library == "" {
			var err error
			library, err = emulator.Build(emulator.Fast, conformanceKernels)
			if errors.Is(err, emulator.ErrUnavailable) {
				fmt.Println("skipped, for want of a GPU to test on:", err)
				os.Exit(0)
			} else if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if err := os.Setenv("PHI3_LIBCUDA", library); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// emulate changes the emulator for the rest of the test.
func emulate(t *testing.T, settings string) {
	if onGPU {
		t.Skip("for the emulator")
	}
	t.Setenv("PHI3_EMULATOR", settings)
}

func open(t testing.TB) *device {
	t.Helper()
	d, err := openDevice(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close()) })
	return d
}

// inside lets require stop a test from the device's goroutine, which FailNow would end.
type inside struct{ testing.TB }

type stopped struct{}

func (inside) FailNow() { panic(stopped{}) }

// on runs f on the device with a stream.
func on(t testing.TB, d *device, f func(t inside, s cu.Stream)) {
	t.Helper()
	require.NoError(t, d.do(func() (err error) {
		defer func() {
			if r := recover(); r == any(stopped{}) {
				err = errors.New("stopped")
			} else if r != nil {
				panic(r)
			}
		}()
		t := inside{t}
		s, err := d.newStream()
		require.NoError(t, err)
		f(t, s)
		require.NoError(t, d.sync(s))
		return d.free(s)
	}))
}
