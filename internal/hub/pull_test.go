package hub

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

func TestPull(t *testing.T) {
	x := newFixture(t)
	var checked, progressed bool
	options := x.options()
	options.Check = func(checkpoint fs.FS) error {
		text, err := fs.ReadFile(checkpoint, "config.json")
		require.NoError(t, err)
		require.JSONEq(t, `{"model_type": "phi3"}`, string(text))
		checked = true
		return nil
	}
	last := map[string]int64{}
	options.Progress = func(file string, done, size int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		require.LessOrEqual(t, done, size)
		last[file] = done
		progressed = true
	}
	s, err := x.hub.Pull(context.Background(), name, "main", options)
	require.NoError(t, err)
	require.True(t, checked && progressed && s.Complete())
	require.Equal(t, x.commit, s.Commit)
	require.EqualValues(t, 900_000, last[shard])
	require.Empty(t, x.notes)
	x.correct(shards(), x.commit, true)

	// Again: everything is checked, nothing downloaded.
	before := x.downloads()
	_, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, before, x.downloads())
	require.Equal(t, len(needed)-1, before, "one request a file, and none for an empty one")

	// A new commit: what has not changed is only linked.
	files := shards()
	files["config.json"] = []byte(`{"model_type": "phi3", "vocab_size": 1}`)
	files["chat_template.jinja"] = []byte("{{ messages }}")
	newer := x.server.Add(name, files)
	s, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, newer, s.Commit)
	require.Equal(t, before+2, x.downloads())

	// The old one by its commit needs the list of files alone.
	s, err = x.hub.Pull(context.Background(), name, x.commit, x.options())
	require.NoError(t, err)
	require.Equal(t, x.commit, s.Commit)
	require.Equal(t, before+2, x.downloads())
	found, err := x.hub.Find(name, "main")
	require.NoError(t, err)
	require.Equal(t, newer, found.Commit, "main is not touched")
}

// A single file is taken where there are shards as well, as it is read.
func TestPullSingleFile(t *testing.T) {
	x := newFixture(t)
	files := shards()
	files["model.safetensors"] = []byte("one file")
	x.server.Add(name, files)
	s, err := x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.FileExists(t, filepath.Join(s.Dir, "model.safetensors"))
	require.NoFileExists(t, filepath.Join(s.Dir, shard))
	require.NoFileExists(t, filepath.Join(s.Dir, "model.safetensors.index.json"))
}

// Repositories that phi3 cannot run are refused before anything large is downloaded.
func TestNothingToRun(t *testing.T) {
	for title, test := range map[string]struct {
		change func(files map[string][]byte)
		err    string
	}{
		"pickles": {func(files map[string][]byte) {
			delete(files, "model.safetensors.index.json")
		}, "has weights as .bin, .onnx only; phi3 reads safetensors"},
		"nothing": {
			func(files map[string][]byte) { clear(files); files["README.md"] = nil },
			"has neither model.safetensors nor",
		},
		"no config": {
			func(files map[string][]byte) { delete(files, "config.json") },
			"has no config.json",
		},
		"no tokenizer": {
			func(files map[string][]byte) { delete(files, "tokenizer.json") },
			"has no tokenizer",
		},
		"a shard that is not there": {
			func(files map[string][]byte) { delete(files, shard) },
			`names the shard "` + shard + `", which the repository does not have`,
		},
		"a shard that leads out": {func(files map[string][]byte) {
			files["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "../../model.safetensors"}}`)
		}, "leads out of the checkpoint's directory"},
		"a shard of another name": {func(files map[string][]byte) {
			files["\x1b[2J.safetensors"] = nil
			files["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "\u001b[2J.safetensors"}}`)
		}, `names the shard "\x1b[2J.safetensors", which`},
		"an index that is none": {func(files map[string][]byte) {
			files["model.safetensors.index.json"] = []byte(`[]`)
		}, "model.safetensors.index.json: "},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			x := newFixture(t)
			files := shards()
			test.change(files)
			x.server.Add(name, files)
			_, err := x.pull()
			require.ErrorContains(t, err, test.err)
			require.NotContains(t, strings.Join(x.server.Requests(), "\n"), "cdn/")
			_, err = x.hub.Find(name, "main")
			require.ErrorIs(t, err, ErrNotCached)
		})
	}
	x := newFixture(t)
	options := x.options()
	options.Check = func(fs.FS) error { return errors.New("is a Llama") }
	_, err := x.hub.Pull(context.Background(), name, "main", options)
	require.EqualError(t, err, "is a Llama")
	require.NotContains(t, strings.Join(x.server.Requests(), "\n"), "cdn/")
}

// Ctrl-C, or a crash: the next pull continues where this one ended.
func TestInterruptedPullGoesOn(t *testing.T) {
	x := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	x.server.Fail(shard, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		_, _ = w.Write(content[:500_000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	options := x.options()
	options.Progress = func(file string, done, _ int64) {
		if file == shard && done == 500_000 {
			cancel()
		}
	}
	_, err := x.hub.Pull(ctx, name, "main", options)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, x.notes)
	models, err := x.hub.Models()
	require.NoError(t, err)
	require.Len(t, models, 1)
	require.Contains(t, models[0].Missing, shard)
	first := int64(-1)
	options = x.options()
	options.Progress = func(file string, done, _ int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if file == shard && first < 0 {
			first = done
		}
	}
	_, err = x.hub.Pull(context.Background(), name, "main", options)
	require.NoError(t, err)
	x.correct(shards(), x.commit, true)
	require.Contains(t, x.server.Requests(), "GET cdn/"+shard+" bytes=500000-")
	require.EqualValues(t, 500_000, first, "what was there is told at once")

	// A part that is longer than the file, or holds other bytes, is of no use.
	blob := x.blob(hubtest.Hash(shard, shards()[shard]))
	for _, part := range [][]byte{make([]byte, 900_001), make([]byte, 900_000), make([]byte, 17)} {
		require.NoError(t, os.Remove(blob))
		require.NoError(t, os.WriteFile(blob+partEnding, part, 0o666))
		_, err = x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	}
}

// What lies in the cache damaged is found and replaced.
func TestPullRepairs(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	for _, damage := range []func(blob string) error{
		func(blob string) error { return os.Truncate(blob, 899_999) },
		func(blob string) error { return os.WriteFile(blob, make([]byte, 900_000), 0o666) },
		os.Remove,
	} {
		require.NoError(t, damage(x.blob(hubtest.Hash(shard, shards()[shard]))))
		_, err = x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	}
	require.Len(t, x.notes, 2)
	require.Contains(t, x.notes[0], "the copy in the cache is damaged (is not what its hash says: it has "+
		"899999 bytes, not 900000); downloading it again")
}

// A model that has a new name on the hub is found under the old one, and cached under it, as by
// huggingface_hub.
func TestRenamed(t *testing.T) {
	x := newFixture(t)
	x.server.Do(func() { x.server.Renamed["acme/Old"] = name })
	s, err := x.hub.Pull(context.Background(), "acme/Old", "main", x.options())
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.Equal(t, x.commit, s.Commit)
	require.Contains(t, s.Dir, "models--acme--Old")
}

// A commit that replaces another while files of the first are on their way does not mix with it.
func TestNewCommitMidway(t *testing.T) {
	x := newFixture(t)
	files := shards()
	files[shard] = append([]byte{1}, files[shard][1:]...)
	var newer string
	cut := hubtest.Cut(100_000)
	x.server.Fail(shard, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		newer = x.server.Add(name, files)
		return cut(w, r, content)
	})
	s, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, x.commit, s.Commit)
	x.correct(shards(), x.commit, true)
	s, err = x.pull()
	require.NoError(t, err)
	require.Equal(t, newer, s.Commit)
	x.correct(files, newer, true)
}
