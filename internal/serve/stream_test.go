package serve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
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
	// The sequence that runs makes a token only when the test has taken the last one. So it never gives its
	// place to those that wait.
	step, free := s.hold()
	next, stop := iter.Pull2(s.engine.Generate(t.Context(),
		engine.Request{IDs: []int32{1}, MaxNewTokens: 1 << 19}))
	defer stop()
	token := func() {
		t.Helper()
		step()
		_, err, more := next()
		require.NoError(t, err)
		require.True(t, more)
	}
	token()
	ctx, cancel := context.WithCancel(t.Context())
	stream, whole := s.send(ctx, endless), s.send(ctx, strings.Replace(endless, "true}", "false}", 1))
	eventually(t, func() bool { return s.engine.Stats().Waiting == 2 })
	cancel()
	require.ErrorIs(t, <-stream, context.Canceled)
	require.ErrorIs(t, <-whole, context.Canceled)
	for begun := time.Now(); s.engine.Stats().Waiting > 0; token() {
		require.Less(t, time.Since(begun), 2*time.Minute, "the sequences that wait are not freed")
	}
	require.Equal(t, 1, s.engine.Stats().Running)
	stop()
	free()
	eventually(t, func() bool { return s.engine.Stats().Running == 0 && s.gate.inside() == 0 })

	require.NoError(t, s.begin(endless).Body.Close())
	eventually(t, func() bool { return s.engine.Stats().Running == 0 && s.gate.inside() == 0 })
	eventually(t, func() bool { return s.engine.Stats().BlocksUsed == 0 })
	s.logsRequests(3)
	require.Equal(t, 2, strings.Count(s.logged.String(), "status=499"))
	require.Equal(t, 3, strings.Count(s.logged.String(), "the client has gone away"))
}

// Others do not wait for a client that stops reading.
func TestSlowClientAlone(t *testing.T) {
	for name, transport := range slowTransports() {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{context: 1 << 20, parallel: 2, client: transport})
			slow := s.begin(endless) // and reads nothing
			eventually(t, func() bool { return s.engine.Stats().Paused == 1 })
			_, body := s.post("/v1/completions",
				`{"prompt": "The capital of Germany is", "max_tokens": 2, "temperature": 0}`)
			require.Contains(t, body, "Berlin")
			eventually(t, func() bool { return s.engine.Stats().Paused == 1 }) // it still waits
			require.NoError(t, slow.Body.Close())
		})
	}
}

func slowTransports() map[string]*http.Transport {
	return map[string]*http.Transport{"HTTP/1.1": {DialContext: smallBuffers}, "HTTP/2": unencryptedHTTP2()}
}

// A client that stops reading is given up.
func TestSlowClient(t *testing.T) {
	for name, transport := range slowTransports() {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{
				context: 1 << 20, client: transport,
				change: func(s *Server) { s.writeTimeout = 100 * time.Millisecond },
			})
			s.givesUp(func() {})
			s.logs("the client takes the answer too slowly")
		})
	}
}

// A client of HTTP/2 that allows the server to send, and then reads nothing from the connection, is given up.
func TestHTTP2ConnectionThatNobodyReads(t *testing.T) {
	transport := unencryptedHTTP2()
	transport.HTTP2 = nil // a large window
	left := make(chan struct{})
	leave := sync.OnceFunc(func() { close(left) })
	defer leave()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := smallBuffers(ctx, network, address)
		return &halfRead{conn, 4 << 10, left}, err
	}
	s := start(t, setup{
		context: 1 << 20, parallel: 2, client: transport,
		change: func(s *Server) { s.writeTimeout = 100 * time.Millisecond },
	})
	s.givesUp(leave)
}

// givesUp asks for a stream and does not read it. The server must give the client up. Then givesUp calls
// leave, and looks at what has come. On a slow machine, that may be less than the first event.
func (s *served) givesUp(leave func()) {
	s.t.Helper()
	begun := make(chan error, 1)
	var slow *http.Response
	go func() {
		var err error
		//nolint:bodyclose // it is closed below
		slow, err = s.client.Do(s.request(http.MethodPost, "/v1/completions", endless))
		begun <- err
	}()
	s.logsRequests(1)
	require.Zero(s.t, s.gate.inside())
	eventually(s.t, func() bool {
		now := s.engine.Stats()
		return now.Running+now.Waiting+now.BlocksUsed == 0
	})
	leave()
	if <-begun == nil {
		_, err := io.Copy(io.Discard, slow.Body)
		require.Error(s.t, err, "the answer is not whole")
		require.NoError(s.t, slow.Body.Close())
	}
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
	_, free := s.hold()
	first := s.send(t.Context(), `{"prompt": "Hello", "max_tokens": 1}`)
	eventually(t, func() bool { return s.engine.Stats().Running == 1 })
	waiting := s.begin(`{"prompt": "Hello", "max_tokens": 1, "stream": true}`) // the comment has the status
	lines := bufio.NewReader(waiting.Body)
	require.True(t, s.comments(lines, 3))
	free()
	require.NoError(t, <-first)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Regexp(t, `^(: waiting\n\n)*data: {(?s:.*)data: \[DONE\]\n\n$`, string(rest))
	require.NoError(t, waiting.Body.Close())
}

// comments reads so many comments. It returns false if the stream ends, or has an event, before that.
func (s *served) comments(lines *bufio.Reader, n int) bool {
	s.t.Helper()
	for range n {
		for _, want := range []string{": waiting\n", "\n"} {
			line, err := lines.ReadString('\n')
			if err != nil || line != want {
				return false
			}
		}
	}
	return true
}

// The time between two events may be longer than a client may take for one.
func TestSilenceIsNotSlowness(t *testing.T) {
	for name, transport := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": unencryptedHTTP2()} {
		t.Run(name, func(t *testing.T) {
			// A machine that is too busy for a time cannot be told from a slow client. Then the test takes a
			// longer time.
			for limit := 50 * time.Millisecond; !silence(t, transport, limit); limit *= 2 {
				require.Less(t, limit, time.Minute)
			}
		})
	}
}

// silence lets a stream be silent for three times as long as a client may take for an event. It returns false
// if the machine was too slow for that.
func silence(t *testing.T, transport *http.Transport, limit time.Duration) bool {
	t.Helper()
	s := start(t, setup{
		client: transport,
		change: func(s *Server) { s.waitingEvery, s.writeTimeout = 3*limit, limit },
	})
	_, free := s.hold()
	late := time.AfterFunc(20*limit, free) // the server does not end a request while the engine waits
	waiting, err := s.client.Do(s.request(http.MethodPost, "/v1/completions",
		`{"prompt": "Hello", "max_tokens": 1, "stream": true}`))
	inTime, whole := false, ""
	if err == nil {
		lines := bufio.NewReader(waiting.Body)
		if inTime = s.comments(lines, 2) && late.Stop(); inTime {
			free()
			rest, _ := io.ReadAll(lines)
			whole = string(rest)
		}
		require.NoError(t, waiting.Body.Close())
	}
	tooLate := !inTime && !late.Stop()
	free()
	s.logsRequests(1)
	if tooLate || strings.Contains(s.logged.String(), errSlow.Error()) {
		return false
	}
	require.NoError(t, err)
	require.Contains(t, whole, "data: [DONE]\n\n")
	return true
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
