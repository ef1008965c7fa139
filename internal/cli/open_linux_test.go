package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

// openBelow returns the files and directories below dir that this process has open or mapped.
func openBelow(t *testing.T, dir string) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(target, dir) {
			open = append(open, target)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if _, file, ok := strings.Cut(line, dir); ok {
			open = append(open, "mapped: "+file)
		}
	}
	return open
}

// A command closes what it opened, whether it succeeds or fails: a server that runs many would end without
// file descriptors.
func TestCommandsCloseWhatTheyOpen(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what was forgotten
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	const commit = "0123456789012345678901234567890123456789"
	cached := filepath.Join(dir, "hub/models--acme--Tiny")
	for _, to := range []string{
		"model", "no-config", "no-weights", "no-tokenizer", "hub/models--acme--Tiny/snapshots/" + commit,
	} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, to), demo.FS()))
	}
	require.NoError(t, os.Mkdir(filepath.Join(cached, "refs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cached, "refs/main"), []byte(commit), 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "no-config/config.json")))
	weights, err := filepath.Glob(filepath.Join(dir, "no-weights/*.safetensors"))
	require.NoError(t, err)
	require.NotEmpty(t, weights)
	for _, file := range weights {
		require.NoError(t, os.Remove(file))
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "no-tokenizer/tokenizer.json")))
	t.Setenv("HF_HUB_CACHE", filepath.Join(dir, "hub"))
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Chdir(dir)
	for _, args := range []string{
		"generate -p a -n 2", "next-token -p a --layers --attention 1", "tokenize -p a", "info",
		"verify --device cpu --dtype f32", "bench -p 2 -n 2 -r 1 --no-probe", "models", "doctor",
		"__complete next-token --attention 1", "generate -f none", "pull acme/Tiny",
	} {
		for _, model := range []string{"model", "acme/Tiny", "no-config", "no-weights", "no-tokenizer"} {
			t.Setenv(modelVariable, model)
			var out, stderr bytes.Buffer
			code := Main(strings.Fields(args), strings.NewReader(""), &out, &stderr)
			require.Empty(t, openBelow(t, dir), "%s of %s: %s", args, model, &stderr)
			if model == "acme/Tiny" && !strings.Contains(args, "none") {
				require.Zero(t, code, "%s of %s: %s", args, model, &stderr)
			}
		}
	}
}
