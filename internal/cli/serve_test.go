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
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/show"
)

// program is a running phi3 serve.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	stderr *bufio.Reader
	said   strings.Builder // what was read of stderr
}

// serveProgram starts phi3 serve on a free port, and waits until it listens.
func serveProgram(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command("phi3", append([]string{"serve", "--port", "0"}, args...)...)}
	p.cmd.Env = append(append(os.Environ(), graceVariable+"=1h"), env...)
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	p.stderr = bufio.NewReader(stderr)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	_, rest, _ := strings.Cut(p.readUntil("listening on "), "listening on ")
	p.url, _, _ = strings.Cut(rest, " ")
	return p
}

// readUntil reads stderr up to the line that contains text, and returns that line.
func (p *program) readUntil(text string) string {
	p.t.Helper()
	for {
		line, err := p.stderr.ReadString('\n')
		p.said.WriteString(line)
		require.NoError(p.t, err, "stderr: %s", p.said.String())
		if strings.Contains(line, text) {
			return line
		}
	}
}

// end waits for the end of the program, and returns its exit code and all of stderr.
func (p *program) end() (code int, said string) {
	p.t.Helper()
	rest, err := io.ReadAll(p.stderr)
	require.NoError(p.t, err)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.said.String() + string(rest)
}

// complete asks for a completion, and returns the response's body.
func (p *program) complete(body string) io.Reader {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/v1/completions",
		strings.NewReader(body))
	require.NoError(p.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer secret")
	response, err := new(http.Transport).RoundTrip(request)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = response.Body.Close() })
	return response.Body
}

const endlessCompletion = `{"prompt": "Hello", "max_tokens": 1000000, "ignore_eos": true, "stream": true}`

// SIGTERM and Ctrl-C end the server with code 0, after the requests that it has begun.
func TestServe(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "Ctrl-C": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serveProgram(t, nil, "--parallel", "2", "--queue", "3", "--drain", "1h")
			require.Contains(t, p.said.String(), "model: phi3-demo")
			require.Regexp(t, `listening on http://127.0.0.1:\d+ \(2 at once, queue 3, context 512 tokens\); a browser `+
				`shows phi3 explore there\n`,
				p.said.String())
			response := p.complete(`{"prompt": "The capital of Germany is", "max_tokens": 480, "ignore_eos": true,
				"stream": true}`)
			require.NoError(t, p.cmd.Process.Signal(signal))
			body, err := io.ReadAll(response)
			require.NoError(t, err)
			require.Contains(t, string(body), "data: [DONE]", "the request has finished")
			code, said := p.end()
			require.Zero(t, code, said)
			require.Contains(t, said, "generated=480")
			require.NotContains(t, said, "interrupted")
		})
	}
}

// A second signal ends the server at once, although a request is running.
func TestServeSecondSignal(t *testing.T) {
	p := serveProgram(t, nil, "-c", "1000064", "--parallel", "1", "--drain", "1h")
	p.complete(endlessCompletion)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.readUntil("msg=draining requests=1")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, said := p.end()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGTERM, status.Signal(), said)
}

// What does not finish within --drain is cut off; that is no failure of the server.
func TestServeDrain(t *testing.T) {
	p := serveProgram(t, []string{"PHI3_API_KEY=secret"}, "-c", "1000064", "--drain", "10ms", "--log", "json")
	require.Contains(t, p.said.String(), `"level":"INFO","msg":"model: phi3-demo (`)
	response := p.complete(endlessCompletion)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	body, err := io.ReadAll(response)
	require.NoError(t, err)
	require.Contains(t, string(body), `data: {"error":{"message":"The server is shutting down."`)
	code, said := p.end()
	require.Zero(t, code, said)
	require.Contains(t, said, `"msg":"requests cut off","requests":1,`)
	require.NotContains(t, said, "secret")
}

// A server for a network without a key says so.
func TestServeNetwork(t *testing.T) {
	const warning = "WARNING: this server has no API key"
	p := serveProgram(t, nil, "--host", "0.0.0.0")
	require.Regexp(t, `^http://0\.0\.0\.0:\d+$`, p.url)
	p.readUntil(warning)
	p = serveProgram(t, []string{"PHI3_API_KEY=secret"}, "--host", "0.0.0.0")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_, said := p.end()
	require.NotContains(t, said, warning)

	l, err := net.Listen("tcp", "0.0.0.0:0") //nolint:gosec,noctx // nothing is accepted
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	var quiet strings.Builder
	(&serveFlags{}).announce(&streams{err: show.NewWriter(&quiet), quiet: true}, l, "http://x", 512)
	require.True(t, strings.HasPrefix(quiet.String(), warning), quiet.String())
}

// While the model loads, probes get an answer, and Ctrl-C ends the program.
func TestServeLoading(t *testing.T) {
	said := interrupt(t, "serve --port 0 -v --device cuda", []string{"FAKE_GPU=slower"},
		func(t *testing.T, _ io.Writer, _, stderr io.Reader) {
			p := &program{t: t, stderr: bufio.NewReaderSize(stderr, 1)}
			url, _, _ := strings.Cut(p.readUntil("answers GET /health"), " ")
			response, err := http.Get(url + "/health") //nolint:noctx // the server ends with the test
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, 503, response.StatusCode)
			require.JSONEq(t, `{"status": "loading"}`, string(body))
		})
	require.NotContains(t, said, "listening")
}
