package picture

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.svg"), filepath.Join(dir, "link.svg")
	content := func(name string) string {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		return string(data)
	}
	require.NoError(t, WriteFile(file, []byte("one")))
	require.Equal(t, "one", content(file))
	require.NoError(t, os.Chmod(file, 0o600))
	require.NoError(t, os.Symlink("a.svg", link))
	require.NoError(t, WriteFile(link, []byte("two")), "a link leads to the file that is replaced")
	require.Equal(t, "two", content(file))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.ErrorContains(t, WriteFile(dir, nil), "is a directory, not a file")
	require.ErrorContains(t, WriteFile("/dev/null", nil), "/dev/null is not a regular file")
	require.ErrorContains(t, WriteFile(filepath.Join(dir, "nowhere", "a.svg"), nil),
		"write the picture: there is no directory "+filepath.Join(dir, "nowhere"))
	require.ErrorContains(t, WriteFile(filepath.Join(file, "a.svg"), nil),
		"write the picture: "+file+" is not a directory")
	require.ErrorContains(t, WriteFile("-", nil), "write the picture: it cannot go to stdout")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "nothing else is left")
}
