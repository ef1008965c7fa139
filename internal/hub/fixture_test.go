package hub

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

const name = "acme/Tiny-Phi-3"

// shards are two files of random bytes: a model as far as this package looks.
func shards() map[string][]byte {
	rng := rand.NewChaCha8([32]byte{1})
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rng.Read(b)
		return b
	}
	return map[string][]byte{
		"config.json":            []byte(`{"model_type": "phi3"}`),
		"generation_config.json": []byte(`{"eos_token_id": [1, 2]}`),
		"tokenizer.json":         random(70_000),
		"tokenizer_config.json":  {}, // empty files exist
		"model.safetensors.index.json": []byte(`{"weight_map": {"a": "model-00001-of-00002.safetensors", ` +
			`"b": "model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": random(900_000),
		"model-00002-of-00002.safetensors": random(600_000),
		"pytorch_model.bin":                random(100),
		"original/model.safetensors":       random(100),
		"onnx/model.onnx":                  random(100),
		"consolidated.safetensors":         random(100),
		"README.md":                        []byte("# Tiny"),
		"modeling_phi3.py":                 []byte("import os"),
	}
}

const shard = "model-00001-of-00002.safetensors"

// needed is what of shards() is to be downloaded.
var needed = []string{
	"config.json", "generation_config.json", "model-00001-of-00002.safetensors",
	"model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
	"tokenizer_config.json",
}

// fixture is a hub with a model, and a cache that is empty.
type fixture struct {
	*testing.T
	server *hubtest.Server
	hub    *Hub
	commit string
	env    map[string]string

	mu     sync.Mutex
	notes  []string
	pauses []time.Duration
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	x := &fixture{T: t, server: hubtest.New()}
	t.Cleanup(x.server.Close)
	x.commit = x.server.Add(name, shards())
	x.server.Token = "hf_secret"
	x.env = map[string]string{"HF_HOME": t.TempDir(), "HF_ENDPOINT": x.server.URL + "/"}
	x.open()
	return x
}

// open makes a new hub from the environment, with a clock that does not wait.
func (x *fixture) open() {
	x.Helper()
	h, err := New(func(name string) string { return x.env[name] })
	require.NoError(x, err)
	h.pause = func(ctx context.Context, d time.Duration) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.pauses = append(x.pauses, d)
		return ctx.Err()
	}
	x.Cleanup(h.client.CloseIdleConnections)
	x.hub = h
}

func (x *fixture) options() Options {
	return Options{Note: func(text string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.notes = append(x.notes, text)
	}}
}

func (x *fixture) pull() (*Snapshot, error) {
	return x.hub.Pull(context.Background(), name, "main", x.options())
}

// blob is the path of a blob in the cache.
func (x *fixture) blob(hash string) string { return x.hub.repo(name).path(blobFile(hash)) }

// downloads counts the requests for content.
func (x *fixture) downloads() (n int) {
	for _, r := range x.server.Requests() {
		if strings.Contains(r, "cdn/") || strings.Contains(r, "/resolve-cache/") {
			n++
		}
	}
	return n
}

// correct checks the whole cache against the layout.
func (x *fixture) correct(files map[string][]byte, commit string, links bool) {
	x.Helper()
	dir := filepath.Join(x.env["HF_HOME"], "hub", "models--acme--Tiny-Phi-3")
	snapshot := filepath.Join(dir, "snapshots", commit)
	entries, err := os.ReadDir(snapshot)
	require.NoError(x, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		data, err := os.ReadFile(filepath.Join(snapshot, e.Name()))
		require.NoError(x, err)
		require.True(x, string(files[e.Name()]) == string(data), e.Name())
		target, err := os.Readlink(filepath.Join(snapshot, e.Name()))
		if links {
			require.NoError(x, err)
			require.Equal(x, "../../blobs/"+hubtest.Hash(e.Name(), data), target)
		} else {
			require.Error(x, err, "%s is a link", e.Name())
		}
	}
	require.Equal(x, needed, names)
	ref, err := os.ReadFile(filepath.Join(dir, "refs", "main"))
	require.NoError(x, err)
	require.Equal(x, commit, string(ref))
	rest, err := filepath.Glob(filepath.Join(dir, "*", "*"+partEnding))
	require.NoError(x, err)
	require.Empty(x, rest)
}
