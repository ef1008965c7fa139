package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/hub"
)

// inCache puts the built-in model into a cache of the test's own, as acme/Tiny on the hub, and returns its
// directory.
func inCache(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HUB_OFFLINE", "1")
	const commit = "0123456789012345678901234567890123456789"
	folder := filepath.Join(home, "hub", "models--acme--Tiny")
	dir := filepath.Join(folder, "snapshots", commit)
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "refs"), 0o700))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "refs", "main"), []byte(commit), 0o600))
	files, err := fs.ReadDir(demo.FS(), ".")
	require.NoError(t, err)
	for _, file := range files {
		data, err := fs.ReadFile(demo.FS(), file.Name())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file.Name()), data, 0o600))
	}
	return dir
}

func TestOpen(t *testing.T) {
	dir := inCache(t)
	folder := filepath.Dir(filepath.Dir(dir))
	work := t.TempDir()
	t.Chdir(work)
	require.NoError(t, os.CopyFS("model", demo.FS()))
	require.NoError(t, os.CopyFS("deeper/model", demo.FS()))
	for name, want := range map[string]Checkpoint{
		"":                            {Name: "phi3-demo", Title: "phi3-demo", BuiltIn: true},
		"model":                       {Name: "model", Title: "model"},
		"./deeper/model/":             {Name: "./deeper/model/", Title: "model"},
		filepath.Join(work, "model"):  {Name: filepath.Join(work, "model"), Title: "model"},
		"acme/Tiny":                   {Name: "acme/Tiny", Title: "acme/Tiny"},
		dir:                           {Name: dir, Title: "acme/Tiny"},
		filepath.Join(folder, "refs"): {Name: filepath.Join(folder, "refs"), Title: "refs"},
	} {
		c, err := Open(Request{Name: name})
		require.NoError(t, err)
		require.Equal(t, want, Checkpoint{Name: c.Name, Title: c.Title, BuiltIn: c.BuiltIn})
		if want.Title != "refs" {
			_, err = fs.ReadFile(c.FS, "config.json")
			require.NoError(t, err)
		}
		require.NoError(t, c.Close())
		if !c.BuiltIn {
			_, err = fs.ReadFile(c.FS, "config.json")
			require.Error(t, err, "it is closed")
		}
	}
	t.Chdir("model")
	c, err := Open(Request{Name: "."})
	require.NoError(t, err)
	require.Equal(t, "model", c.Title)
	require.NoError(t, c.Close())

	// A directory comes before a model on the hub.
	t.Chdir(t.TempDir())
	require.NoError(t, os.CopyFS("acme/Tiny", demo.FS()))
	c, err = Open(Request{Name: "acme/Tiny"})
	require.NoError(t, err)
	require.Equal(t, "Tiny", c.Title)
	require.NoError(t, c.Close())
}

// What is wrong with a name is an error that says where the name is from and what may have been meant.
func TestOpenErrors(t *testing.T) {
	dir := inCache(t)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("file", nil, 0o600))
	require.NoError(t, os.WriteFile("Phi-3.5-mini-instruct-Q4.gguf", nil, 0o600))
	folder := filepath.Dir(filepath.Dir(dir))
	for _, test := range []struct {
		r    Request
		want string
	}{
		{Request{Name: "nowhere"}, "there is no directory nowhere"},
		{Request{Name: "nowhere", Variable: "PHI3_MODEL"}, "there is no directory nowhere (from PHI3_MODEL)"},
		{Request{Name: "tiny"}, "there is no directory tiny; in the cache there is acme/Tiny"},
		{
			Request{Name: "acme/Big", Variable: "PHI3_MODEL"},
			"there is no directory acme/Big (from PHI3_MODEL), " +
				"and no model of that name in the cache; phi3 pull acme/Big downloads it",
		},
		{Request{Name: "file"}, "file is a file; --model takes the directory of a checkpoint, such as ., or"},
		{Request{Name: "Phi-3.5-mini-instruct-Q4.gguf"}, `instruct-Q4.gguf: is empty: is the`},
		{Request{Name: folder}, "is the folder of a model in a cache"},
		{Request{Revision: "main"}, `--revision is for a model of the hub; --model is ""`},
		{
			Request{Name: "file", Revision: "v1", Variable: "PHI3_MODEL"},
			`--model is "file" (from PHI3_MODEL)`,
		},
	} {
		_, err := Open(test.r)
		require.ErrorContains(t, err, test.want)
		require.Equal(t, test.r.Revision != "", errors.As(err, new(*RevisionError)))
	}
}

// Download is asked for what the cache lacks, and for nothing else.
func TestOpenDownloads(t *testing.T) {
	dir := inCache(t)
	t.Chdir(t.TempDir())
	var asked []string
	download := func(_ *hub.Hub, name, revision, _ string) (*hub.Snapshot, error) {
		asked = append(asked, name+" "+revision)
		return nil, errors.New("the hub is away")
	}
	for _, name := range []string{"", dir, "acme/Tiny"} {
		c, err := Open(Request{Name: name, Download: download})
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.Empty(t, asked)
	}
	_, err := Open(Request{Name: "acme/Tiny", Revision: "v1", Download: download})
	require.EqualError(t, err, "there is no directory acme/Tiny, and as a model of the hub: the hub is away")
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	_, err = Open(Request{Name: "acme/Tiny", Download: download})
	require.Error(t, err)
	require.Equal(t, []string{"acme/Tiny v1", "acme/Tiny main"}, asked)
	c, err := Open(Request{Name: "acme/Tiny"})
	require.NoError(t, err, "without Download it makes do with what is there")
	require.NoError(t, c.Close())
}
