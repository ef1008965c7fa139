//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"io/fs"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/kernels"
)

// moduleKernels are the kernels of kernels/phi3.cu.
func moduleKernels(t testing.TB) (names []string) {
	t.Helper()
	source, err := fs.ReadFile(kernels.Sources, "phi3.cu")
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^\s+KERNEL\((\w+)\)`).FindAllStringSubmatch(string(source), -1) {
		names = append(names, match[1])
	}
	require.Greater(t, len(names), 20)
	return names
}

// The self-test passes, and no kernel of the module is forgotten.
func TestSelfTest(t *testing.T) {
	if checked {
		t.Skip("takes too long on a checked build")
	}
	start := time.Now()
	var seen []KernelResult
	r, err := SelfTest(context.Background(), Options{}, func(k KernelResult) error {
		seen = append(seen, k)
		t.Logf("%5.1f s %-8s %-24s %.3f %s %s", time.Since(start).Seconds(), k.Verdict, k.Kernel, k.Worst, k.Variants, k.Note)
		return nil
	})
	require.NoError(t, err)
	t.Log(r.Line())
	require.Equal(t, seen, r.Kernels)
	require.Empty(t, r.Error)
	require.True(t, r.Passed)
	var names []string
	for _, k := range r.Kernels {
		names = append(names, k.Kernel)
		require.NotEmpty(t, k.Variants, k.Kernel)
		require.NotEmpty(t, k.Against, k.Kernel)
		require.Empty(t, k.Note, k.Kernel)
	}
	require.ElementsMatch(t, append(moduleKernels(t), TensorCores), names)
}
