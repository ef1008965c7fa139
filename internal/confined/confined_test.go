package confined

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need privileges there")
	}
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	link := func(to, name string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	write("secret", "secret")
	write("plain/config.json", "{}")
	link("config.json", "plain/inside")
	link("sub/config.json", "plain/deeper")
	write("plain/sub/config.json", "{}")
	link("../secret", "plain/up")
	link(filepath.Join(dir, "secret"), "plain/absolute")
	link(filepath.Join(dir, "plain/config.json"), "plain/absolute-inside")
	link("../plain/up", "plain/twice")
	link("..", "plain/parent")
	link("nowhere", "plain/dangling")
	link("circle", "plain/circle")
	link("plain", "linked")

	for _, name := range []string{"plain", "linked"} {
		fsys, err := Open(filepath.Join(dir, name))
		require.NoError(t, err)
		defer func() { require.NoError(t, fsys.Close()) }()
		for _, inside := range []string{"config.json", "inside", "deeper", "sub/config.json"} {
			text, err := fs.ReadFile(fsys, inside)
			require.NoError(t, err, inside)
			require.Equal(t, "{}", string(text))
			info, err := fs.Stat(fsys, inside)
			require.NoError(t, err)
			require.EqualValues(t, 2, info.Size())
		}
		for _, outside := range []string{"up", "absolute", "absolute-inside", "twice", "parent/secret"} {
			_, err = fs.ReadFile(fsys, outside)
			require.ErrorIs(t, err, ErrLeadsOut, outside)
			require.ErrorContains(t, err, outside)
			_, err = fs.Stat(fsys, outside)
			require.ErrorIs(t, err, ErrLeadsOut, outside)
		}
		for _, invalid := range []string{"../secret", "/etc/passwd", "a/../../secret", ""} {
			_, err = fs.ReadFile(fsys, invalid)
			require.ErrorIs(t, err, fs.ErrInvalid, invalid)
			_, err = fs.Stat(fsys, invalid)
			require.ErrorIs(t, err, fs.ErrInvalid, invalid)
		}
		for _, broken := range []string{"dangling", "absent"} {
			_, err = fs.ReadFile(fsys, broken)
			require.ErrorIs(t, err, fs.ErrNotExist, broken)
		}
		_, err = fs.ReadFile(fsys, "circle")
		require.ErrorContains(t, err, "circle")
		entries, err := fs.ReadDir(fsys, ".")
		require.NoError(t, err)
		require.Len(t, entries, 11)
	}
	fsys, err := Open(filepath.Join(dir, "plain/sub"))
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(fsys, "config.json"))

	// Hugging Face's cache.
	write("models--a--b/blobs/123", "{}")
	link("../../blobs/123", "models--a--b/snapshots/main/config.json")
	link("../../../secret", "models--a--b/snapshots/main/up")
	link("../../../plain/config.json", "models--a--b/snapshots/main/other")
	fsys, err = Open(filepath.Join(dir, "models--a--b/snapshots/main"))
	require.NoError(t, err)
	text, err := fs.ReadFile(fsys, "config.json")
	require.NoError(t, err)
	require.Equal(t, "{}", string(text))
	for _, outside := range []string{"up", "other"} {
		_, err = fs.ReadFile(fsys, outside)
		require.ErrorIs(t, err, ErrLeadsOut, outside)
	}
	// The same with blobs that models share.
	write("cache/blobs/.huggingface-shared-blobs", "1\n")
	shared := "ab/" + strings.Repeat("ab", 32)
	write("cache/blobs/"+shared, "[]")
	write("cache/blobs/other", "secret")
	write("cache/models--a--b/blobs/123", "{}")
	write("cache/models--c--d/config.json", "secret")
	link("../../blobs/"+shared, "cache/models--a--b/blobs/456")
	link("../../blobs/"+shared, "cache/models--a--b/blobs/789")
	link("../../blobs/other", "cache/models--a--b/blobs/other")
	link("../../blobs/other", "cache/models--a--b/snapshots/main/unshared")
	link("../../blobs/123", "cache/models--a--b/snapshots/main/config.json")
	link("../../blobs/456", "cache/models--a--b/snapshots/main/shared")
	link("../../../models--c--d/config.json", "cache/models--a--b/snapshots/main/other")
	link("../../../../secret", "cache/models--a--b/snapshots/main/up")
	fsys, err = Open(filepath.Join(dir, "cache/models--a--b/snapshots/main"))
	require.NoError(t, err)
	for name, want := range map[string]string{"config.json": "{}", "shared": "[]"} {
		text, err := fs.ReadFile(fsys, name)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		info, err := fs.Stat(fsys, name)
		require.NoError(t, err)
		require.EqualValues(t, 2, info.Size())
	}
	for _, outside := range []string{"up", "other", "unshared"} {
		_, err = fs.ReadFile(fsys, outside)
		require.ErrorIs(t, err, ErrLeadsOut, outside)
		_, err = fs.Stat(fsys, outside)
		require.ErrorIs(t, err, ErrLeadsOut, outside)
	}
	// The folder of shared blobs is a folder, not a link.
	require.NoError(t, os.Rename(filepath.Join(dir, "cache/blobs"), filepath.Join(dir, "elsewhere")))
	link("../elsewhere", "cache/blobs")
	fsys, err = Open(filepath.Join(dir, "cache/models--a--b/snapshots/main"))
	require.NoError(t, err)
	_, err = fs.ReadFile(fsys, "shared")
	require.ErrorIs(t, err, ErrLeadsOut)

	// Folders that are only called so: what lies beside them is not the checkpoint's.
	write("snapshots/main/x", "")
	write("blobs/123", "")
	link("../../secret", "snapshots/main/config.json")
	fsys, err = Open(filepath.Join(dir, "snapshots/main"))
	require.NoError(t, err)
	_, err = fs.ReadFile(fsys, "config.json")
	require.ErrorIs(t, err, ErrLeadsOut)

	_, err = Open(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
