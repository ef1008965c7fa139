package cli

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/hub/hubtest"
	"phi3/internal/show/showtest"
)

// demoHub starts a hub that has the demonstration model, and sets the environment so that phi3 uses it.
func demoHub(t *testing.T) (server *hubtest.Server, env []string) {
	t.Helper()
	server = hubtest.New()
	t.Cleanup(server.Close)
	files := map[string][]byte{}
	entries, err := fs.ReadDir(demo.FS(), ".")
	require.NoError(t, err)
	for _, e := range entries {
		files[e.Name()], err = fs.ReadFile(demo.FS(), e.Name())
		require.NoError(t, err)
	}
	server.Add("acme/Tiny-Phi-3", files)
	return server, append(os.Environ(), "HF_ENDPOINT="+server.URL, "HF_HOME="+t.TempDir())
}

// untilShown reads the screen until the pattern matches.
func untilShown(t *testing.T, screen *os.File, pattern string) string {
	t.Helper()
	var shown strings.Builder
	for buffer := make([]byte, 4096); !regexp.MustCompile(pattern).MatchString(shown.String()); {
		n, err := screen.Read(buffer)
		require.NoError(t, err, "%s", shown.String())
		shown.Write(buffer[:n])
	}
	return shown.String()
}

// A slow download shows a bar with notes above it, and removes it at the end.
func TestPullBars(t *testing.T) {
	const shard = "model-00001-of-00002.safetensors"
	server, env := demoHub(t)
	seen := make(chan struct{})
	server.Fail(shard, hubtest.Cut(300_000), func(_ http.ResponseWriter, _ *http.Request, _ []byte) bool {
		<-seen
		return false
	})
	program, screen, err := showtest.NewTerminal()
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	cmd := exec.Command("phi3", "pull", "acme/Tiny-Phi-3")
	cmd.Env, cmd.Stderr = env, program
	var out strings.Builder
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	require.NoError(t, program.Close())
	shown := untilShown(t, screen, `connection ended early; trying again in 1(?s:.*)`+shard+
		` +\[=*>?-*\] +300 kB / 2\.76 MB +[0-9.]+ [kM]?B/s +[0-9ms]+ left`)
	require.Contains(t, shown, "model-00002-of-00002.safetensors")
	close(seen)
	shown = untilShown(t, screen, `commit [0-9a-f]{7}, [0-9]+ files, 5\.[0-9]+ MB\r\n`)
	require.Regexp(t, "\x1b\\[[0-9]*A\x1b\\[Jacme/Tiny-Phi-3: commit", shown,
		"the bars are gone before the last line")
	require.NoError(t, cmd.Wait())
	require.Contains(t, out.String(), "models--acme--Tiny-Phi-3")
	require.NotContains(t, out.String(), "\x1b")
}

// Ctrl-C keeps what has been downloaded.
func TestPullInterrupted(t *testing.T) {
	server, env := demoHub(t)
	begun := make(chan struct{})
	server.Fail("model-00001-of-00002.safetensors",
		func(w http.ResponseWriter, r *http.Request, content []byte) bool {
			_, _ = w.Write(content[:500_000])
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-r.Context().Done()
			return true
		})
	env = append([]string{graceVariable + "=1h"}, env...) // a disk may take long to keep what came
	said := interrupt(t, "pull acme/Tiny-Phi-3", env,
		func(*testing.T, io.Writer, io.Reader, io.Reader) { <-begun })
	require.Equal(t, "what was downloaded is kept: the next pull continues from there\n"+
		"phi3: interrupted\n", said)
	parts, err := filepath.Glob(filepath.Join(strings.TrimPrefix(env[len(env)-1], "HF_HOME="), "hub", "*",
		"blobs", "*.incomplete"))
	require.NoError(t, err)
	require.NotEmpty(t, parts)
}

// phi3 models rm asks, and the user may refuse.
func TestRemoveAsks(t *testing.T) {
	_, env := demoHub(t)
	pull := exec.Command("phi3", "pull", "acme/Tiny-Phi-3")
	pull.Env = env
	dir, err := pull.Output()
	require.NoError(t, err)
	for _, answer := range []string{"", "n", "yes please", "y"} {
		require.DirExists(t, strings.TrimSpace(string(dir)))
		program, screen, err := showtest.NewTerminal()
		require.NoError(t, err)
		t.Cleanup(func() { _ = screen.Close() })
		cmd := exec.Command("phi3", "models", "rm", "acme/Tiny-Phi-3")
		cmd.Env, cmd.Stdin, cmd.Stderr = env, program, program
		require.NoError(t, cmd.Start())
		untilShown(t, screen, `remove acme/Tiny-Phi-3 \(5\.[0-9]+ MB\) from \S+\? \[y/N\] $`)
		_, err = screen.WriteString(answer + "\n")
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
		require.NoError(t, program.Close())
	}
	require.NoDirExists(t, strings.TrimSpace(string(dir)))
}
