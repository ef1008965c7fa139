package serve

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// At the end, what has begun finishes; new requests are refused, and probes see why.
func TestDrain(t *testing.T) {
	s := start(t, setup{context: 1 << 20})
	// The reader decides when the answer ends, so it runs as long as the test needs it.
	running := s.begin(endless)
	s.stop()
	eventually(t, func() bool { return s.gate.state() == "draining" })
	response, body := s.get("/health")
	require.Equal(t, 503, response.StatusCode)
	require.JSONEq(t, `{"status": "draining"}`, body)
	response, body = s.post("/v1/completions", `{"prompt": "Hello", "max_tokens": 1}`)
	require.Equal(t, 503, response.StatusCode)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	require.True(t, response.Close, "the client must not use the connection again")
	require.Contains(t, body, "shutting down")
	select {
	case err := <-s.ended:
		t.Fatal("the server has not waited for a request", err)
	default:
	}
	one := make([]byte, 1)
	_, err := io.ReadFull(running.Body, one)
	require.NoError(t, err, "the stream continues")
	require.NoError(t, running.Body.Close())
	require.NoError(t, <-s.ended)
	_, err = s.client.Do(s.request(http.MethodGet, "/health", "")) //nolint:bodyclose // there is none
	require.Error(t, err, "the listener is closed")
}

// A whole answer arrives although the server was asked to end, and closes all connections after the last one.
func TestDrainLosesNothing(t *testing.T) {
	s := start(t, setup{context: 4096, change: func(s *Server) { s.endTimeout = 1 }})
	done := make(chan string, 1)
	go func() {
		response, err := s.client.Do(s.request("POST", "/v1/completions",
			`{"prompt": "Hello", "max_tokens": 500, "ignore_eos": true}`))
		if err != nil {
			done <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		done <- string(body)
	}()
	eventually(t, func() bool { return s.engine.Stats().GeneratedTokens > 0 })
	s.stop()
	require.Contains(t, <-done, `"completion_tokens":500`)
	require.NoError(t, <-s.ended)
}

// What net/http still holds when a request leaves the gate is lost if the server ends then.
func TestAnswersAreFlushed(t *testing.T) {
	s := start(t, setup{})
	for path, body := range map[string]string{
		"/v1/completions": `{"prompt": "Hello", "max_tokens": 1}`,
		"/tokenize":       `{"prompt": "Hello"}`,
	} {
		response := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+path,
			strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(response, request)
		require.Equal(t, http.StatusOK, response.Code, response.Body)
		require.True(t, response.Flushed, path)
	}
}

// What does not finish in time is cut off, and told so.
func TestDrainTimeout(t *testing.T) {
	s := start(t, setup{context: 1 << 20, Options: Options{Drain: time.Millisecond}})
	stream := s.begin(endless)
	whole := make(chan *http.Response, 1)
	go func() {
		response, err := s.client.Do(s.request("POST", "/v1/completions",
			strings.Replace(endless, `"stream": true`, `"stream": false`, 1)))
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		whole <- response
	}()
	eventually(t, func() bool { return s.engine.Stats().Running == 2 })
	s.stop()
	body, err := io.ReadAll(stream.Body)
	require.NoError(t, err)
	require.NoError(t, stream.Body.Close())
	require.Contains(t, string(body), `data: {"error":{"message":"The server is shutting down."`)
	require.Equal(t, 503, (<-whole).StatusCode)
	require.NoError(t, <-s.ended)
	s.logs(`msg="requests cut off" requests=2`)
}

// A server that ends while it loads ends at once.
func TestEndWhileLoading(t *testing.T) {
	s := start(t, setup{loading: true})
	s.stop()
	require.NoError(t, <-s.ended)
}

// A listener that breaks is an error.
func TestListenerBreaks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	s := New(Options{Requests: 1, Log: slog.New(slog.DiscardHandler)})
	require.ErrorIs(t, s.Serve(t.Context(), listener), net.ErrClosed)
}
