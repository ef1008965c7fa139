package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPaths(t *testing.T) {
	for _, k := range append(nativeKernels(), goKernels) {
		t.Setenv(pathVariable, k.name)
		b, err := New(Options{Threads: 3})
		require.NoError(t, err)
		require.Equal(t, "CPU ("+k.name+", 3 threads)", b.Name())
		require.NoError(t, b.Close())
	}
	t.Setenv(pathVariable, "")
	best, err := choosePath()
	require.NoError(t, err)
	require.Same(t, append(nativeKernels(), goKernels)[0], best)
	names, chosen, err := Paths()
	require.NoError(t, err)
	require.Equal(t, names[0], chosen)
	require.Equal(t, "go", names[len(names)-1])
	t.Setenv(pathVariable, "avx1024")
	_, err = New(Options{})
	require.ErrorContains(t, err, `$PHI3_CPU is "avx1024"; this processor can run: `)
	require.ErrorContains(t, err, "go")
	_, _, err = Paths()
	require.ErrorContains(t, err, "avx1024")
}
