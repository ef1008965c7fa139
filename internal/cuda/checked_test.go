//go:build cuda && linux && cgo

package cuda

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChecked runs the tests of kernels again in another process, on the emulator's checked build: no kernel reads or writes out of
// bounds, reads what nothing has written, or races.
func TestChecked(t *testing.T) {
	if onGPU || checked {
		t.Skip("on the emulator, once")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^(TestLinear|TestLinearSpecials|TestRMSNorm|TestReferenceLinear|TestArgmax)$")
	cmd.Env = append(os.Environ(), "PHI3_TEST_CHECKED=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
