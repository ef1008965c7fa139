//go:build !race

package jinja

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// limitMemory makes the process die when its data (heap and private memory) grows beyond the given number of
// bytes.
func limitMemory(t *testing.T, bytes uint64) {
	t.Helper()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}))
}
