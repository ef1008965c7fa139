package checkpoint

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/gguf"
	"phi3/internal/hub"
	"phi3/internal/model"
	"phi3/internal/weight"
)

// writeGGUF writes a GGUF file with a configuration of that many layers and without the layers.
func writeGGUF(t *testing.T, path string, layers uint32) {
	t.Helper()
	metadata := []gguf.KV{
		{Key: "general.architecture", Value: "phi3"},
		{Key: "phi3.context_length", Value: uint32(64)},
		{Key: "phi3.embedding_length", Value: uint32(32)},
		{Key: "phi3.feed_forward_length", Value: uint32(64)},
		{Key: "phi3.block_count", Value: layers},
		{Key: "phi3.attention.head_count", Value: uint32(4)},
		{Key: "phi3.attention.layer_norm_rms_epsilon", Value: float32(1e-5)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
		{Key: "general.file_type", Value: uint32(15)},
	}
	require.NoError(t, gguf.WriteFile(path, metadata, []gguf.Entry{{
		Name: "token_embd.weight", Format: weight.F32, Shape: []int{6, 32},
		WriteTo: func(w io.Writer) error {
			_, err := w.Write(make([]byte, 6*32*4))
			return err
		},
	}}))
}

func TestOpenGGUF(t *testing.T) {
	work := t.TempDir()
	t.Chdir(work)
	for _, dir := range []string{"one", "two", "elsewhere", "links"} {
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	writeGGUF(t, "one/a.gguf", 1)
	writeGGUF(t, "two/a.gguf", 1)
	writeGGUF(t, "two/b.gguf", 2)
	writeGGUF(t, "elsewhere/b.gguf", 2)
	require.NoError(t, os.Symlink("../elsewhere/b.gguf", "links/c.gguf"))
	layers := func(c *Checkpoint) int {
		config, err := model.ReadConfig(c.FS)
		require.NoError(t, err)
		return config.Layers
	}
	for _, test := range []struct {
		r      Request
		title  string
		layers int
	}{
		{Request{Name: "one/a.gguf"}, "a.gguf", 1},
		{Request{Name: filepath.Join(work, "two", "b.gguf")}, "b.gguf", 2},
		{Request{Name: "one"}, "one/a.gguf", 1},
		{Request{Name: "two", File: "b.gguf"}, "two/b.gguf", 2},
		{Request{Name: "links/c.gguf"}, "c.gguf", 2},
	} {
		c, err := Open(test.r)
		require.NoError(t, err)
		require.Equal(t, test.r.Name, c.Name)
		require.Equal(t, test.title, c.Title)
		require.Equal(t, test.layers, layers(c))
		require.NoError(t, c.Close())
	}
	require.NoError(t, os.WriteFile("two/c.gguf", []byte("GGML"), 0o600))
	for _, test := range []struct {
		r    Request
		want string
	}{
		{Request{Name: "two"}, "two has 3 models as GGUF files: choose one with --gguf: a.gguf (1.22 kB),"},
		{Request{Name: "two", File: "d.gguf"}, "two has no file d.gguf; it has a.gguf ("},
		{Request{Name: "two", File: "../one/a.gguf"}, "two has no file ../one/a.gguf; it has"},
		{Request{Name: "elsewhere/..", File: "a.gguf"}, "has no file a.gguf, and no GGUF files at all"},
		{Request{Name: "two", File: "c.gguf"}, `c.gguf: begins with "GGML", not with "GGUF"`},
		{Request{Name: "one/a.gguf", File: "a.gguf"}, `--gguf is for a directory or a model of the hub;`},
		{Request{File: "a.gguf"}, "--gguf needs --model, the directory or the model of the hub that has the"},
		{Request{Name: "one/b.gguf"}, "there is no file one/b.gguf; did you mean one/a.gguf?"},
	} {
		_, err := Open(test.r)
		require.ErrorContains(t, err, test.want)
		require.Equal(t, errors.As(err, new(*FileError)), test.want[:6] == "--gguf")
	}
}

// A model on the hub that is one GGUF file is opened and listed like another.
func TestGGUFInCache(t *testing.T) {
	dir := inCache(t)
	t.Chdir(t.TempDir())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.Remove(filepath.Join(dir, e.Name())))
	}
	writeGGUF(t, filepath.Join(dir, "a.gguf"), 1)
	h, err := hub.New(os.Getenv)
	require.NoError(t, err)
	list, err := List(h)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Runs, list[0].Why)
	require.Equal(t, "1 layers, Q4_K_M", list[0].Kind)

	for _, file := range []string{"", "a.gguf"} {
		c, err := Open(Request{Name: "acme/Tiny", File: file})
		require.NoError(t, err)
		require.Equal(t, "acme/Tiny/a.gguf", c.Title)
		_, err = fs.ReadFile(c.FS, "config.json")
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	var asked string
	download := func(_ *hub.Hub, name, revision, file string) (*hub.Snapshot, error) {
		asked = name + " " + revision + " " + file
		return nil, errors.New("the hub is away")
	}
	_, err = Open(Request{Name: "acme/Tiny", File: "b.gguf", Download: download})
	require.ErrorContains(t, err, "the hub is away")
	require.Equal(t, "acme/Tiny main b.gguf", asked)
	c, err := Open(Request{Name: "acme/Tiny", Download: download})
	require.NoError(t, err)
	require.NoError(t, c.Close())

	writeGGUF(t, filepath.Join(dir, "b.gguf"), 2)
	list, err = List(h)
	require.NoError(t, err)
	require.True(t, list[0].Runs)
	require.Equal(t, "GGUF files: a.gguf (1.22 kB), b.gguf (1.22 kB)", list[0].Kind)

	require.NoError(t, os.Rename(filepath.Join(dir, "a.gguf"), filepath.Join(dir, "a-00001-of-00002.gguf")))
	require.NoError(t, os.Remove(filepath.Join(dir, "b.gguf")))
	list, err = List(h)
	require.NoError(t, err)
	require.False(t, list[0].Runs)
	require.Equal(t, "incomplete: a-00002-of-00002.gguf is missing", list[0].Why)
}
