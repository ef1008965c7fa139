package hub

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ggufs is a repository of GGUF files, one of them split.
func ggufs() map[string][]byte {
	files := map[string][]byte{"config.json": []byte(`{"model_type": "phi3"}`), "README.md": nil}
	for i, file := range []string{
		"x-q4.gguf", "x-f16-00001-of-00002.gguf", "x-f16-00002-of-00002.gguf", "mmproj-x.gguf",
		"sub/y.gguf",
	} {
		files[file] = []byte(strings.Repeat(file, 1000*(i+1)))
	}
	return files
}

func (x *fixture) pullFile(file string) (*Snapshot, error) {
	options := x.options()
	options.File = file
	options.Check = func(fs.FS) error { return errors.New("there is nothing to check") }
	return x.hub.Pull(context.Background(), name, "main", options)
}

// Of a repository of GGUF files, only the one that is asked for is downloaded, with its parts.
func TestPullGGUF(t *testing.T) {
	x := newFixture(t)
	x.server.Add(name, ggufs())
	for _, test := range []struct{ file, err string }{
		{"", "has 2 models as GGUF files: choose one with --gguf: x-f16-00001-of-00002.gguf (125 kB), " +
			"x-q4.gguf (9.00 kB)"},
		{"z.gguf", `has no file z.gguf; it has x-f16-00001-of-00002.gguf (125 kB), x-q4.gguf (9.00 kB)`},
		{"../x-q4.gguf", `"../x-q4.gguf" is not the name of a GGUF file at the top of a repository`},
		{"config.json", `"config.json" is not the name of a GGUF file at the top of a repository`},
	} {
		_, err := x.pullFile(test.file)
		require.ErrorContains(t, err, test.err)
	}
	require.Zero(t, x.downloads())
	names := func(dir string) (names []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			require.Equal(t, string(ggufs()[e.Name()]), string(data))
			names = append(names, e.Name())
		}
		return names
	}
	s, err := x.pullFile("x-q4.gguf")
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.Equal(t, []string{"x-q4.gguf"}, names(s.Dir))

	// The cache now has one model, so that needs no name. It lacks the other.
	s, err = x.hub.Find(name, "main")
	require.NoError(t, err)
	require.True(t, s.Complete())
	s, err = x.hub.FindFile(name, "main", "x-f16-00002-of-00002.gguf")
	require.NoError(t, err)
	require.Equal(t, []string{"x-f16-00001-of-00002.gguf", "x-f16-00002-of-00002.gguf"}, s.Missing)

	// Any part names the whole model.
	before := x.downloads()
	s, err = x.pullFile("x-f16-00002-of-00002.gguf")
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.Equal(t, before+2, x.downloads())
	require.Equal(t, []string{"x-f16-00001-of-00002.gguf", "x-f16-00002-of-00002.gguf", "x-q4.gguf"},
		names(s.Dir))
	_, err = x.pullFile("x-f16-00001-of-00002.gguf")
	require.NoError(t, err)
	require.Equal(t, before+2, x.downloads())

	// A part that is gone is missed.
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "x-f16-00002-of-00002.gguf")))
	s, err = x.hub.FindFile(name, "main", "x-f16-00001-of-00002.gguf")
	require.NoError(t, err)
	require.Equal(t, "x-f16-00002-of-00002.gguf is missing", s.Lack)
	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	_, err = x.pullFile("x-f16-00001-of-00002.gguf")
	require.ErrorContains(t, err, "HF_HUB_OFFLINE is set, and the cache has only a part of")
	s, err = x.pullFile("")
	require.NoError(t, err, "the other model is complete")
	require.True(t, s.Complete())
}

// The only GGUF file of a repository without safetensors needs no name. Beside safetensors it does.
func TestPullOnlyGGUF(t *testing.T) {
	for _, plain := range []bool{false, true} {
		x := newFixture(t)
		x.server.Do(func() { x.server.Plain = plain })
		files := ggufs()
		delete(files, "x-q4.gguf")
		x.server.Add(name, files)
		s, err := x.pullFile("")
		require.NoError(t, err)
		require.True(t, s.Complete())
		delete(files, "x-f16-00002-of-00002.gguf")
		x.server.Add(name, files)
		_, err = x.pullFile("")
		require.ErrorContains(t, err,
			`the model has the part "x-f16-00002-of-00002.gguf", which the repository does not have`)
	}
	x := newFixture(t)
	files := shards()
	files["x.gguf"] = []byte("x")
	commit := x.server.Add(name, files)
	_, err := x.pull()
	require.NoError(t, err)
	x.correct(files, commit, true)
	s, err := x.pullFile("x.gguf")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(s.Dir, "x.gguf"))
}
