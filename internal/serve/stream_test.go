package serve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
)

// The bytes of a stream: events with one JSON object each, and a last one.
func TestStream(t *testing.T) {
	s := start(t, setup{})
	response, body := s.post("/v1/completions",
		`{"prompt": "The capital of Germany is", "max_tokens": 3, "stream": true, "ignore_eos": true}`)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream; charset=utf-8", response.Header.Get("Content-Type"))
	require.Equal(t, "no-cache", response.Header.Get("Cache-Control"))
	require.Equal(t, "no", response.Header.Get("X-Accel-Buffering"))
	require.Regexp(t, `^(data: {"id":"cmpl-.*,"object":"text_completion",.*}\n\n)+data: \[DONE\]\n\n$`, body)
	require.Contains(t, body, `"finish_reason":"length"`)

	response, body = s.post("/v1/completions", `{"prompt": "Hello", "stream": true, "max_tokens": -1}`)
	require.Equal(t, 400, response.StatusCode, "an error before the first token has its own status")
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.NotContains(t, body, "data:")
}

// The first event comes while the answer is generated, not with its end.
func TestStreamIsNotBuffered(t *testing.T) {
	s := start(t, setup{context: 1 << 20})
	response := s.begin(endless)
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, `^data: {.*}\n$`, line)
	require.Equal(t, 1, s.engine.Stats().Running)
	require.NoError(t, response.Body.Close())
}

// A client that goes away frees its sequence, whatever it waits for.
func TestDisconnect(t *testing.T) {
	s := start(t, setup{context: 1 << 20, parallel: 1, queue: 3})
	streaming := s.begin(endless)
	gone := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	for _, body := range []string{endless, strings.Replace(endless, "true}", "false}", 1)} { // both wait
		go func() {
			response, err := s.client.Do(s.request("POST", "/v1/completions", body).WithContext(ctx))
			if err == nil {
				err = response.Body.Close()
			}
			gone <- err
		}()
	}
	eventually(t, func() bool { return s.engine.Stats().Waiting == 2 })
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	require.ErrorIs(t, <-gone, context.Canceled)
	eventually(t, func() bool { return s.engine.Stats().Waiting == 0 })
	require.Equal(t, 1, s.engine.Stats().Running)
	require.NoError(t, streaming.Body.Close())
	eventually(t, func() bool { return s.engine.Stats().Running == 0 && s.gate.inside() == 0 })
	eventually(t, func() bool { return s.engine.Stats().BlocksUsed == 0 })
	s.logsRequests(3)
	require.Equal(t, 2, strings.Count(s.logged.String(), "status=499"))
	require.Equal(t, 3, strings.Count(s.logged.String(), "the client has gone away"))
}

// A client that stops reading is given up, and the others do not wait for it.
func TestSlowClient(t *testing.T) {
	for name, transport := range map[string]*http.Transport{
		"HTTP/1.1": {DialContext: smallBuffers}, "HTTP/2": unencryptedHTTP2(),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{
				context: 1 << 20, parallel: 2, client: transport,
				change: func(s *Server) { s.writeTimeout = 100 * time.Millisecond },
			})
			slow := s.begin(endless) // and reads nothing
			_, body := s.post("/v1/completions", `{"prompt": "The capital of Germany is", "max_tokens": 2}`)
			require.Contains(t, body, "Berlin")
			eventually(t, func() bool { return s.gate.inside() == 0 })
			eventually(t, func() bool { return s.engine.Stats().BlocksUsed == 0 })
			s.logs("the client takes the answer too slowly")
			_, err := io.Copy(io.Discard, slow.Body)
			require.Error(t, err, "the answer is not whole")
			require.NoError(t, slow.Body.Close())
		})
	}
}

// A client of HTTP/2 that allows the server to send, and then reads nothing from the connection, is given up.
func TestHTTP2ConnectionThatNobodyReads(t *testing.T) {
	transport := unencryptedHTTP2()
	transport.HTTP2 = nil // a large window
	left := make(chan struct{})
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := smallBuffers(ctx, network, address)
		return &halfRead{conn, 4 << 10, left}, err
	}
	s := start(t, setup{
		context: 1 << 20, parallel: 2, client: transport,
		change: func(s *Server) { s.writeTimeout = 100 * time.Millisecond },
	})
	slow := s.begin(endless)
	eventually(t, func() bool { return s.gate.inside() == 0 })
	eventually(t, func() bool { return s.engine.Stats().BlocksUsed == 0 })
	close(left)
	_, err := io.Copy(io.Discard, slow.Body)
	require.Error(t, err, "the answer is not whole")
	require.NoError(t, slow.Body.Close())
}

// halfRead is a connection of which most bytes are not read until the channel is closed.
type halfRead struct {
	net.Conn
	reads int // bytes to read before that
	left  chan struct{}
}

func (c *halfRead) Read(p []byte) (int, error) {
	if c.reads <= 0 {
		<-c.left
	}
	n, err := c.Conn.Read(p)
	c.reads -= n
	return n, err
}

// smallBuffers connects with a small buffer for what the client has not read.
func smallBuffers(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetReadBuffer(smallBuffer))
	}
	return conn, err
}

// While a request waits, comments show that the connection is alive. They are no events.
func TestWaitingComments(t *testing.T) {
	s := start(t, setup{
		context: 1 << 20, parallel: 1, queue: 1,
		change: func(s *Server) { s.waitingEvery = 10 * time.Millisecond },
	})
	first := s.begin(endless)
	waiting := s.begin(`{"prompt": "Hello", "max_tokens": 1, "stream": true}`) // the comment has the status
	lines := bufio.NewReader(waiting.Body)
	for range 3 {
		for _, want := range []string{": waiting\n", "\n"} {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, line)
		}
	}
	require.NoError(t, first.Body.Close())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Regexp(t, `^(: waiting\n\n)*data: {(?s:.*)data: \[DONE\]\n\n$`, string(rest))
	require.NoError(t, waiting.Body.Close())
}

// holding is a sampler that holds up the engine.
type holding struct{ begun, free chan struct{} }

func (h holding) Sample([]float32, []int32) (int32, error) {
	close(h.begun)
	<-h.free
	return 1, nil
}

// The time between two events may be longer than a client may take for one.
func TestSilenceIsNotSlowness(t *testing.T) {
	for name, transport := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": unencryptedHTTP2()} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{
				context: 1 << 20, parallel: 1, queue: 1, client: transport,
				change: func(s *Server) {
					s.waitingEvery, s.writeTimeout = 150*time.Millisecond, 50*time.Millisecond
				},
			})
			hold := holding{make(chan struct{}), make(chan struct{})}
			go func() {
				r := engine.Request{IDs: []int32{1}, MaxNewTokens: 1, Sampler: hold}
				for _, err := range s.engine.Generate(t.Context(), r) {
					if err != nil {
						t.Error(err)
					}
				}
			}()
			<-hold.begun
			waiting := s.begin(`{"prompt": "Hello", "max_tokens": 1, "stream": true}`)
			lines := bufio.NewReader(waiting.Body)
			for range 2 {
				for _, want := range []string{": waiting\n", "\n"} {
					line, err := lines.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, want, line)
				}
			}
			close(hold.free)
			rest, err := io.ReadAll(lines)
			require.NoError(t, err)
			require.Contains(t, string(rest), "data: [DONE]\n\n")
			require.NoError(t, waiting.Body.Close())
		})
	}
}

// An error after the first event is an event, and no [DONE] follows.
func TestErrorInStream(t *testing.T) {
	s := start(t, setup{context: 1 << 20})
	response := s.begin(endless)
	s.engine.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	events := strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n")
	require.Regexp(t, `^data: {"error":{"message":"The server is shutting down.",.*}}$`, events[len(events)-1])
	require.NotContains(t, string(body), "[DONE]")
}
