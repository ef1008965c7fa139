//go:build cuda && linux && cgo

package cuda

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProgramNeedsNoDriver: the program contains CUDA and starts without libcuda, whatever the linker
// found under -lcuda.
func TestProgramNeedsNoDriver(t *testing.T) {
	if onGPU {
		t.Skip("about the build, not about this GPU")
	}
	program := filepath.Join(t.TempDir(), "phi3")
	out, err := exec.Command("go", "build", "-tags", "cuda", "-o", program, "phi3/cmd/phi3").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program, "--help").CombinedOutput()
	require.NoError(t, err, "%s", out)

	f, err := elf.Open(program)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	libraries, err := f.ImportedLibraries()
	require.NoError(t, err)
	require.NotEmpty(t, libraries)
	for _, l := range libraries {
		require.NotContains(t, l, "cuda")
	}
	imported, err := f.ImportedSymbols()
	require.NoError(t, err)
	for _, s := range imported {
		require.False(t, strings.HasPrefix(s.Name, "cu") && len(s.Name) > 2 && s.Name[2] >= 'A' &&
			s.Name[2] <= 'Z', "imported: %s", s.Name)
	}
	exported, err := f.DynamicSymbols()
	require.NoError(t, err)
	for _, s := range exported {
		require.NotEqual(t, "cuLaunchKernel", s.Name,
			"exported: libcuda's own calls could come back to the forwarder")
	}
	all, err := f.Symbols()
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(all, func(s elf.Symbol) bool { return s.Name == "cuLaunchKernel" }),
		"a forwarder")
}
