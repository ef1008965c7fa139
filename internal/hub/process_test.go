package hub

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/hub/hubtest"
)

// TestMain makes this test program a program that pulls, for tests with two of them.
func TestMain(m *testing.M) {
	if os.Getenv("HUB_TEST_PULL") == "" {
		os.Exit(m.Run())
	}
	h, err := New(os.Getenv)
	if err == nil {
		_, err = h.Pull(context.Background(), name, "main",
			Options{Note: func(text string) { fmt.Println(text) }})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// environment is the fixture's, for another process.
func (x *fixture) environment(more ...string) []string {
	env := append(os.Environ(), more...)
	for key, value := range x.env {
		// old versions of Python's library want no slash at the end
		env = append(env, key+"="+strings.TrimSuffix(value, "/"))
	}
	return env
}

// Two programs pull the same model at once: each file is downloaded once, and both end with all of it.
func TestTwoProcesses(t *testing.T) {
	x := newFixture(t)
	arrived, released := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	x.server.Fail(shard, func(w http.ResponseWriter, _ *http.Request, content []byte) bool {
		close(arrived)
		_, _ = w.Write(content[:300_000])
		_ = http.NewResponseController(w).Flush()
		<-released
		_, _ = w.Write(content[300_000:])
		return true
	})
	start := func() (*exec.Cmd, *bufio.Reader) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = x.environment("HUB_TEST_PULL=1")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return cmd, bufio.NewReader(out)
	}
	one, _ := start()
	<-arrived
	two, said := start()
	// perhaps for other files too
	for line := ""; line != shard+": waiting for another program that is downloading it\n"; {
		var err error
		line, err = said.ReadString('\n')
		require.NoError(t, err, line)
	}
	release()
	require.NoError(t, one.Wait())
	require.NoError(t, two.Wait())
	x.correct(shards(), x.commit, true)
	require.Equal(t, len(needed)-1, x.downloads())
}

// A program that is killed leaves a part and no lock: the one that waits goes on with it.
func TestKilledProcess(t *testing.T) {
	x := newFixture(t)
	arrived := make(chan struct{})
	x.server.Fail(shard, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		_, _ = w.Write(content[:300_000])
		_ = http.NewResponseController(w).Flush()
		close(arrived)
		<-r.Context().Done()
		return true
	})
	one := exec.Command(os.Args[0])
	one.Env = x.environment("HUB_TEST_PULL=1")
	require.NoError(t, one.Start())
	<-arrived
	options := Options{Note: func(text string) {
		if strings.Contains(text, "waiting for another program") {
			_ = one.Process.Kill()
		}
	}}
	_, err := x.hub.Pull(context.Background(), name, "main", options)
	require.NoError(t, err)
	require.Error(t, one.Wait())
	x.correct(shards(), x.commit, true)
}

// A proxy that the environment names is used: the hub's own name leads nowhere here.
func TestProxy(t *testing.T) {
	for _, variable := range []string{"HTTP_PROXY", "ALL_PROXY", "all_proxy"} {
		x := newFixture(t)
		x.env["HF_ENDPOINT"] = "http://hub.invalid"
		x.env[variable] = x.server.URL
		x.open()
		_, err := x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	}
}

// python runs a script with huggingface_hub against the fixture's hub and cache, and returns what it prints.
func (x *fixture) python(script string, more ...string) string {
	x.Helper()
	cmd := exec.Command(pythonWithHub(x.T), "-c", "repo = '"+name+"'\n"+script)
	cmd.Env = x.environment(more...)
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec returns it bare
		require.NoError(x, err, "%s", exit.Stderr)
	}
	require.NoError(x, err)
	return strings.TrimSpace(string(out))
}

// pythonWithHub is a Python that has huggingface_hub: $PHI3_PYTHON, or python3.
func pythonWithHub(t *testing.T) string {
	t.Helper()
	python := os.Getenv("PHI3_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import huggingface_hub").CombinedOutput(); err != nil {
		t.Skipf("%s has no huggingface_hub, so the cache is not compared with the Python library's: %v %s; "+
			"pip install huggingface_hub, or set PHI3_PYTHON", python, err, out)
	}
	return python
}

// One cache for this program and for Python's huggingface_hub (0.23.4, 1.2.3 and 2.4.0 when this was
// written).
func TestPython(t *testing.T) {
	pythonWithHub(t)
	const download = "from huggingface_hub import snapshot_download\nprint(snapshot_download(repo, " +
		"allow_patterns=['*.json', 'model-*.safetensors']))\n"

	t.Run("ours for Python", func(t *testing.T) {
		x := newFixture(t)
		s, err := x.pull()
		require.NoError(t, err)
		size, err := x.hub.Size(name)
		require.NoError(t, err)
		before := x.downloads()
		require.Equal(t, s.Dir, x.python(download))
		require.Equal(t, s.Dir, x.python(download, "HF_HUB_OFFLINE=1"))
		require.Equal(t, before, x.downloads(), "Python downloads nothing again")
		require.Equal(t, fmt.Sprintf("acme/Tiny-Phi-3 %d ['main'] %s 0 True", size-40, x.commit), x.python(`
from huggingface_hub import scan_cache_dir, try_to_load_from_cache, _CACHED_NO_EXIST
cache = scan_cache_dir()
for r in cache.repos:
    for v in r.revisions:
        print(r.repo_id, r.size_on_disk, list(v.refs), v.commit_hash, len(cache.warnings),
              try_to_load_from_cache(repo, 'chat_template.jinja') is _CACHED_NO_EXIST)
`))
	})

	t.Run("Python's for us", func(t *testing.T) {
		x := newFixture(t)
		dir := x.python(download)
		s, err := x.hub.Find(name, "main")
		require.NoError(t, err)
		require.True(t, s.Complete())
		require.Equal(t, dir, s.Dir)
		before := x.downloads()
		_, err = x.pull()
		require.NoError(t, err)
		require.Equal(t, before, x.downloads(), "we download nothing again")
		x.correct(shards(), x.commit, true)
	})

	t.Run("Python goes on with our part", func(t *testing.T) {
		x := newFixture(t)
		x.server.Fail(shard, append([]hubtest.Fault{hubtest.Cut(100_000)},
			slices.Repeat([]hubtest.Fault{hubtest.Status(500)}, attempts-1)...)...)
		_, err := x.pull()
		require.ErrorContains(t, err, "500")
		require.NoError(t, os.RemoveAll(x.hub.repo(name).path(snapshotDir(x.commit))))
		before := len(x.server.Requests())
		x.python(download)
		if x.python("import huggingface_hub; print(huggingface_hub.__version__ < '2')") == "True" {
			require.Contains(t, x.server.Requests()[before:], "GET cdn/"+shard+" bytes=100000-")
		}
		_, err = x.pull()
		require.NoError(t, err)
		x.correct(shards(), x.commit, true)
	})

	t.Run("we go on with Python's part", func(t *testing.T) {
		x := newFixture(t)
		x.server.Fail(shard, hubtest.Cut(100_000))
		x.python("try:\n  " + strings.ReplaceAll(download, "\n", "\n  ") +
			"\nexcept Exception as e: print(e)")
		part, statErr := os.Stat(x.blob(hubtest.Hash(shard, shards()[shard])) + partEnding)
		before := len(x.server.Requests())
		_, err := x.pull()
		require.NoError(t, err)
		// Python writes in pieces of 10 MB and loses the last; since version 2 it keeps none
		if statErr == nil && part.Size() > 0 {
			require.Contains(t, x.server.Requests()[before:],
				fmt.Sprintf("GET cdn/%s bytes=%d-", shard, part.Size()))
		}
		x.correct(shards(), x.commit, true)
	})

	t.Run("Python has the lock", func(t *testing.T) {
		x := newFixture(t)
		path := filepath.Join(x.hub.Cache, x.hub.repo(name).lockFile(hubtest.Hash(shard, shards()[shard])))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		cmd := exec.Command(pythonWithHub(t), "-c",
			"from huggingface_hub.utils import WeakFileLock\nimport sys\nwith WeakFileLock(sys.argv[1]):\n "+
				" print('locked', flush=True)\n  sys.stdin.read()\n", path)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		options := Options{Note: func(text string) {
			if strings.Contains(text, "waiting for another program") {
				_ = in.Close()
			}
		}}
		_, err = x.hub.Pull(context.Background(), name, "main", options)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
		x.correct(shards(), x.commit, true)
	})

	t.Run("Python waits for our lock", func(t *testing.T) {
		x := newFixture(t)
		require.NoError(t, os.MkdirAll(x.hub.Cache, 0o777))
		root, err := os.OpenRoot(x.hub.Cache)
		require.NoError(t, err)
		defer func() { require.NoError(t, root.Close()) }()
		file := x.hub.repo(name).lockFile("abc")
		path := filepath.Join(x.hub.Cache, file)
		unlock, err := lock(context.Background(), root, file, nil)
		require.NoError(t, err)
		require.Equal(t, "Timeout", x.python("from filelock import FileLock, Timeout\ntry:\n  with "+
			"FileLock(r'"+path+"', timeout=0.1): print('locked')\nexcept Timeout: print('Timeout')"))
		unlock()
		require.Equal(t, "locked", x.python("from huggingface_hub.utils import WeakFileLock\nwith "+
			"WeakFileLock(r'"+path+"'): print('locked')"))
	})
}
