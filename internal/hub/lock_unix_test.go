//go:build darwin || freebsd || linux

package hub

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLock(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	const name = "deep/x.lock"
	unlock, err := lock(t.Context(), root, name, nil)
	require.NoError(t, err)
	_, err = tryLock(root, name)
	require.ErrorIs(t, err, errLocked)

	// Whoever had opened the file before its holder removed it has the lock of nothing.
	old, err := root.Open(name)
	require.NoError(t, err)
	defer func() { _ = old.Close() }()
	require.True(t, stillThere(old, root, name))
	require.NoError(t, root.Remove(name))
	require.False(t, stillThere(old, root, name))
	unlock()
	unlock, err = tryLock(root, name)
	require.NoError(t, err)
	require.False(t, stillThere(old, root, name))
	unlock()

	// A lock is a file, and not what is at the end of a link.
	require.NoError(t, root.Symlink("elsewhere", name+"2"))
	_, err = tryLock(root, name+"2")
	require.ErrorContains(t, err, "x.lock2: is not a regular file but a link")
	require.NoFileExists(t, filepath.Join(root.Name(), "deep", "elsewhere"))
	require.NoError(t, root.Symlink(t.TempDir(), "outside"))
	_, err = lock(t.Context(), root, "outside/y.lock", nil)
	require.ErrorContains(t, err, "outside: leads out of its directory through a link")
	require.NoError(t, exec.Command("mkfifo", filepath.Join(root.Name(), "pipe.lock")).Run())
	_, err = tryLock(root, "pipe.lock")
	require.ErrorContains(t, err, "is not a regular file but a named pipe")
}
