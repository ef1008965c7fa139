package cpu

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) { onEveryPath(t, testProbe) }

func testProbe(t *testing.T) {
	b, err := New(Options{Threads: 2})
	require.NoError(t, err)
	start := time.Now()
	l := b.Probe()
	t.Logf("%.1f GB/s, %.1f GFLOP/s in %v", l.Read/1e9, l.Compute/1e9, time.Since(start))
	require.Greater(t, l.Read, 1e7, "bytes a second, even under the race detector")
	require.Greater(t, l.Compute, 1e7, "operations a second")
	require.NoError(t, b.Close())
}
