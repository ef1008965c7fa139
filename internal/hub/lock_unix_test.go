//go:build darwin || freebsd || linux

package hub

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "x.lock")
	unlock, err := lock(t.Context(), path, nil)
	require.NoError(t, err)
	_, err = tryLock(path)
	require.ErrorIs(t, err, errLocked)

	// Whoever had opened the file before its holder removed it has the lock of nothing.
	old, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = old.Close() }()
	require.True(t, stillThere(old, path))
	require.NoError(t, os.Remove(path))
	require.False(t, stillThere(old, path))
	unlock()
	unlock, err = tryLock(path)
	require.NoError(t, err)
	require.False(t, stillThere(old, path))
	unlock()

	require.NoError(t, os.Symlink("elsewhere", path+"2"))
	_, err = tryLock(path + "2")
	require.ErrorContains(t, err, "x.lock2")
	require.NoFileExists(t, filepath.Join(filepath.Dir(path), "elsewhere"))
}
