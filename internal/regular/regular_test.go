package regular

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Each function that opens a file refuses at once what is not a regular file. The error has its name.
func TestOnlyRegularFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such files there")
	}
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("file", "text")
	write("empty", "")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "zero")))
	require.NoError(t, os.Symlink("absent", filepath.Join(dir, "dangling")))
	require.NoError(t, exec.Command("mkfifo", filepath.Join(dir, "pipe")).Run())
	require.NoError(t, os.Symlink("pipe", filepath.Join(dir, "linked-pipe")))
	socket, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer func() { _ = socket.Close() }()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer func() { _ = root.Close() }()

	ways := map[string]func(name string, limit int64) ([]byte, error){
		"path": func(name string, limit int64) ([]byte,
			error,
		) {
			return Read(filepath.Join(dir, name), limit)
		},
		"root": func(name string, limit int64) ([]byte, error) { return ReadIn(root, name, limit) },
		"fs":   func(name string, limit int64) ([]byte, error) { return ReadFS(os.DirFS(dir), name, limit) },
	}
	for way, read := range ways {
		for name, want := range map[string]string{"file": "text", "link": "text", "empty": ""} {
			text, err := read(name, 4)
			require.NoError(t, err, way)
			require.Equal(t, want, string(text), way)
		}
		for name, want := range map[string]string{
			"pipe": "but a named pipe", "linked-pipe": "but a named pipe", "s": "but a socket",
			"folder": "but a directory", "zero": "but a device",
		} {
			if name == "zero" && way == "root" {
				want = ErrLeadsOut.Error()
			}
			_, err := read(name, 4)
			require.ErrorContains(t, err, want, "%s %s", way, name)
		}
		for _, name := range []string{"absent", "dangling"} {
			_, err := read(name, 4)
			require.ErrorIs(t, err, fs.ErrNotExist, "%s %s", way, name)
			require.NotContains(t, err.Error(), dir, "the caller puts the name in front")
		}
		_, err = read("file", 3)
		require.EqualError(t, err, "has 4 bytes, over the limit of 3", way)
	}
	_, err = ReadIn(root, "../x", 1)
	require.ErrorIs(t, err, ErrLeadsOut)

	// The look before the opening is not all: in between, a pipe can come in the file's place.
	info, err := os.Stat(filepath.Join(dir, "file"))
	require.NoError(t, err)
	_, err = open(info, nil, func(flag int) (*os.File,
		error,
	) {
		return os.OpenFile(filepath.Join(dir, "pipe"), flag, 0)
	})
	require.ErrorContains(t, err, "but a named pipe")
}

func TestPlaceholder(t *testing.T) {
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 2755488\n"
	require.EqualError(t, Placeholder([]byte(pointer)),
		"is a Git LFS pointer, not the file itself: run git lfs pull, or phi3 pull ORG/NAME")
	for _, page := range []string{"<!DOCTYPE html>\n<html>", " \r\n<HTML lang=en>", "<!doctype HTML PUBLIC"} {
		require.EqualError(t, Placeholder([]byte(page)),
			"is a web page (HTML), not the file itself: save the file, or run phi3 pull ORG/NAME")
	}
	for _, other := range []string{"", "{}", "version 1", "<|user|>", "<html", "{{ '<html>' }}"} {
		if other != "<html" {
			require.NoError(t, Placeholder([]byte(other)), other)
		}
	}
	_, err := ReadFS(fstest.MapFS{"a": {Data: []byte("x")}}, "a", 1)
	require.NoError(t, err)
}
