package hub

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

func TestOfflineAndUnreachable(t *testing.T) {
	x := newFixture(t)
	x.env["HF_HUB_OFFLINE"] = "yes"
	x.open()
	_, err := x.pull()
	require.ErrorContains(t, err, "HF_HUB_OFFLINE is set, and main is not in the cache")
	require.Empty(t, x.server.Requests())

	x.env["HF_HUB_OFFLINE"] = "0"
	x.open()
	s, err := x.pull()
	require.NoError(t, err)
	requests := len(x.server.Requests())

	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	offline, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, s, offline)
	require.Len(t, x.server.Requests(), requests)

	// Without the variable and without a network: said, and the cache used.
	x.env["HF_HUB_OFFLINE"] = ""
	x.open()
	x.server.Close()
	x.pauses = nil
	away, err := x.pull()
	require.NoError(t, err)
	require.Equal(t, s, away)
	require.Empty(t, x.pauses, "what is there need not be waited for")
	require.Regexp(t, `connection to 127.0.0.1:\d+: connection refused; using the copy in the cache, commit `+
		x.commit[:7], x.notes[len(x.notes)-1])
	require.NoError(t, os.Remove(filepath.Join(s.Dir, shard)))
	_, err = x.pull()
	require.ErrorContains(t, err, "connection to 127.0.0.1")
	require.Len(t, x.pauses, 2)

	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	_, err = x.pull()
	require.ErrorContains(t, err, "the cache has only a part of acme/Tiny-Phi-3: "+shard+" is missing")

	// Without what may not exist at all it goes on, and says so.
	x.env["HF_HUB_OFFLINE"] = ""
	x.open()
	x.server = hubtest.New()
	t.Cleanup(x.server.Close)
	x.server.Add(name, shards())
	x.env["HF_ENDPOINT"] = x.server.URL
	x.open()
	s, err = x.pull()
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "generation_config.json")))
	x.env["HF_HUB_OFFLINE"] = "1"
	x.open()
	_, err = x.pull()
	require.NoError(t, err)
	require.Contains(t, x.notes[len(x.notes)-1],
		"the cache does not have generation_config.json, and the hub may; answers may differ")
}

func TestFind(t *testing.T) {
	x := newFixture(t)
	_, err := x.pull()
	require.NoError(t, err)
	s, err := x.hub.Find(name, "main")
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.NoError(t, os.Remove(filepath.Join(s.Dir, shard)))
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "tokenizer.json")))
	require.NoError(t, os.Remove(filepath.Join(s.Dir, "generation_config.json")))
	s, err = x.hub.Find(name, "main")
	require.NoError(t, err)
	require.Equal(t, []string{"tokenizer.json", shard}, s.Missing)
	require.Equal(t, []string{"generation_config.json"}, s.Unknown, "nobody has said that there is none")

	// A repository without one: the hub has said so.
	files := shards()
	delete(files, "generation_config.json")
	x.server.Add(name, files)
	s, err = x.pull()
	require.NoError(t, err)
	require.True(t, s.Complete())
	require.FileExists(t, filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3", ".no_exist", s.Commit,
		"generation_config.json"))

	ref := filepath.Join(x.hub.Cache, "models--acme--Tiny-Phi-3", "refs", "main")
	require.NoError(t, os.WriteFile(ref, []byte("../../../../etc"), 0o666))
	_, err = x.hub.Find(name, "main")
	require.ErrorContains(t, err, `refs/main should contain a commit, and contains "../../../../etc"`)
}

func TestModelsAndRemove(t *testing.T) {
	x := newFixture(t)
	models, err := x.hub.Models()
	require.NoError(t, err)
	require.Empty(t, models, "no cache yet")
	_, err = x.pull()
	require.NoError(t, err)
	files := shards()
	files["config.json"] = []byte("{}")
	newer := x.server.Add(name, files)
	_, err = x.pull()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(x.hub.Cache, "datasets--a--b", "snapshots"), 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(x.hub.Cache, "models--a--b", "blobs"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(x.hub.Cache, "models--a--b", "blobs", "1"+partEnding),
		[]byte("12345"), 0o666))

	models, err = x.hub.Models()
	require.NoError(t, err)
	require.Len(t, models, 3)
	require.Equal(t, "a/b", models[0].Name)
	require.Equal(t, "", models[0].Commit)
	require.EqualValues(t, 5, models[0].Bytes)
	require.Equal(t, name, models[1].Name)
	require.Equal(t, newer, models[1].Commit)
	require.Equal(t, []string{"main"}, models[1].Refs)
	require.Equal(t, len(needed), models[1].Files)
	require.Empty(t, models[1].Missing)
	require.WithinDuration(t, time.Now(), models[1].LastUsed, time.Hour)
	require.Equal(t, x.commit, models[2].Commit)
	require.Empty(t, models[2].Refs)
	size, err := x.hub.Size(name)
	require.NoError(t, err)
	require.Less(t, size, models[1].Bytes+models[2].Bytes, "revisions share files")

	r := x.hub.repo(name)
	root, err := os.OpenRoot(x.hub.Cache)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	unlock, err := tryLock(root, r.lockFile(hubtest.Hash(shard, shards()[shard])))
	require.NoError(t, err)
	require.ErrorContains(t, x.hub.Remove(name), "is being downloaded by another program")
	unlock()
	require.NoError(t, x.hub.Remove(name))
	require.NoDirExists(t, r.dir)
	require.NoDirExists(t, filepath.Join(x.hub.Cache, r.lockDir()))
	require.ErrorIs(t, x.hub.Remove(name), ErrNotCached)
	require.ErrorContains(t, x.hub.Remove("../.."), "is not the name of a model")
}

func TestEnvironment(t *testing.T) {
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	for _, test := range []struct {
		env   map[string]string
		cache string
	}{
		{nil, home + "/.cache/huggingface/hub"},
		{map[string]string{"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"},
		{map[string]string{"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"},
		{map[string]string{"HF_HOME": "~/h"}, home + "/h/hub"},
		{map[string]string{"HF_HOME": "$DISK/h", "DISK": "/mnt"}, "/mnt/h/hub"},
		{map[string]string{"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"},
		{map[string]string{"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/c"}, "/c"},
	} {
		h, err := New(func(name string) string { return test.env[name] })
		require.NoError(t, err)
		require.Equal(t, filepath.FromSlash(test.cache), h.Cache)
		require.Equal(t, "https://huggingface.co", h.Endpoint)
		require.False(t, h.Offline)
	}
	for _, bad := range []string{"huggingface.co", "ftp://x", "https://", "https://x?y", ":"} {
		_, err := New(func(name string) string { return map[string]string{"HF_ENDPOINT": bad}[name] })
		require.ErrorContains(t, err, "not an address such as https://huggingface.co")
	}
	h, err := New(func(name string) string { return map[string]string{"TRANSFORMERS_OFFLINE": "on"}[name] })
	require.NoError(t, err)
	require.True(t, h.Offline)
}
