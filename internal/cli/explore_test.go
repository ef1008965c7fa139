//go:build unix

package cli

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The command prints the address of the page, answers there, needs no key, and ends with code 0 at Ctrl-C.
func TestExplore(t *testing.T) {
	cmd := exec.Command("phi3", "explore", "--no-browser", "-p", "The capital of France is")
	cmd.Env = append(os.Environ(), graceVariable+"=1h", keyVariable+"=secret")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	printed := bufio.NewReader(stdout)
	line, err := printed.ReadString('\n')
	require.NoError(t, err, "stderr: %s", &stderr)
	address, state, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "#")
	require.Equal(t, "prompt=%22The+capital+of+France+is%22", state)

	for path, want := range map[string]string{
		"":              `<div id="app">`,
		"explore.js":    "explore/model",
		"explore.css":   "--accent",
		"explore/model": `"layers":4`,
		"version":       "version",
	} {
		response, err := http.Get(address + path) //nolint:noctx // the program ends with the test
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", path, body)
		require.Contains(t, string(body), want, path)
		require.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
	}

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(printed)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "stderr: %s", &stderr)
	require.Empty(t, string(rest), "one line on stdout")
	require.NotContains(t, stderr.String(), "level=", "requests are not logged")
	require.NotContains(t, stderr.String(), "interrupted")
}

// A port that another program uses ends the command before it loads the model.
func TestExplorePortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing is accepted
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	said, err := exec.Command("phi3", "explore", "--no-browser", "--port", port).CombinedOutput()
	require.ErrorContains(t, err, "exit status 1")
	require.Equal(t, "phi3: listen on 127.0.0.1:"+port+": another program uses this port; --port takes "+
		"another one, and --port 0 a free one\n", string(said))
}

// Where no browser can be opened, the command says why in one sentence and goes on.
func TestExploreWithoutBrowser(t *testing.T) {
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"no display":     {nil, "there is no display, and $BROWSER is not set"},
		"no xdg-open":    {[]string{"DISPLAY=:0"}, "there is no xdg-open, and $BROWSER is not set"},
		"a typing error": {[]string{"BROWSER=firefx:chrom"}, "none of the commands in $BROWSER exists"},
		"fails": {
			[]string{"BROWSER=" + os.Args[0] + " -test.no-such-flag"},
			"note: " + os.Args[0] + " ended with exit status 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			phi3, err := exec.LookPath("phi3")
			require.NoError(t, err)
			cmd := exec.Command(phi3, "explore")
			cmd.Env = append([]string{graceVariable + "=1h", "PATH=/nowhere"}, test.env...)
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			p := &program{t: t, cmd: cmd, stderr: bufio.NewReader(stderr)}
			require.Contains(t, p.readUntil("note: "), test.want+"; open the address in a browser\n")
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			code, said := p.end()
			require.Zero(t, code, said)
		})
	}
}
