package cpu

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// needAVX2 leaves a test out where its instructions do not exist.
func needAVX2(t *testing.T) {
	t.Helper()
	if !slices.Contains(nativeKernels(), avx2Kernels) {
		t.Skip("this processor or operating system has no AVX2")
	}
}
