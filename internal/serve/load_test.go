package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unencryptedHTTP2 is a client that speaks only HTTP/2 without TLS.
func unencryptedHTTP2() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: protocols,
		HTTP2:     &http.HTTP2Config{MaxReceiveBufferPerStream: smallBuffer},
	}
}

func TestHTTP2(t *testing.T) {
	s := start(t, setup{client: unencryptedHTTP2(), context: 1 << 20})
	response, body := s.post("/v1/completions",
		`{"prompt": "The capital of Germany is", "max_tokens": 2, "stream": true, "temperature": 0}`)
	require.Equal(t, "HTTP/2.0", response.Proto)
	require.Regexp(t, `^(data: {.*}\n\n)+data: \[DONE\]\n\n$`, body)
	require.Contains(t, body, "Berlin")

	endlessly := s.begin(endless)
	require.NoError(t, endlessly.Body.Close())
	eventually(t, func() bool { return s.engine.Stats().Running == 0 })
}

// answers200 are 200 different requests: long and short, streams and whole, greedy and drawn.
func requests200() (bodies []string) {
	for i := range 200 {
		prompt := strings.Repeat("The capital of France is Paris. ", i%7) + "The capital of Germany is"
		bodies = append(bodies, fmt.Sprintf(`{"prompt": %q, "max_tokens": %d, "stream": %t, "seed": %d, `+
			`"temperature": %d, "logprobs": %d}`, prompt, 1+i%13, i%3 == 0, i, i%2, i%4))
	}
	return bodies
}

// identities are the parts that differ between two answers to the same request. What the cache had is one.
var identities = regexp.MustCompile(`"(id|created)":("[^"]*"|[0-9]+),|"cached_tokens":[0-9]+`)

// comparable is an answer without what differs between two of the same request.
func comparable(t *testing.T, body string) string {
	t.Helper()
	return identities.ReplaceAllString(body, "")
}

// Every answer under load is, byte for byte, the answer that its request gets alone.
func TestAnswersUnderLoad(t *testing.T) {
	bodies := requests200()
	alone := make([]string, len(bodies))
	s := start(t, setup{parallel: 1, queue: 0})
	for i, body := range bodies {
		response, answer := s.post("/v1/completions", body)
		require.Equal(t, 200, response.StatusCode, answer)
		alone[i] = comparable(t, answer)
	}
	for name, transport := range map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2": unencryptedHTTP2()} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{parallel: 16, queue: len(bodies), client: transport})
			var all sync.WaitGroup
			together := make([]string, len(bodies))
			for i, body := range bodies {
				all.Go(func() {
					response, answer := s.post("/v1/completions", body)
					together[i] = fmt.Sprint(response.StatusCode) + comparable(t, answer)
				})
			}
			all.Wait()
			for i := range bodies {
				require.Equal(t, "200"+alone[i], together[i], bodies[i])
			}
		})
	}
}

// Requests beyond those that run and wait are refused at once, before their bodies are read.
func TestQueueIsFull(t *testing.T) {
	s := start(t, setup{context: 1 << 20, parallel: 1, queue: 1})
	_, free := s.hold() // so that none of the two ends, or gives its place to the other
	ctx, cancel := context.WithCancel(t.Context())
	first, second := s.send(ctx, endless), s.send(ctx, endless)
	eventually(t, func() bool { return s.engine.Stats().Waiting == 1 && s.gate.inside() == 2 })
	response, body := s.get("/health")
	require.Equal(t, 200, response.StatusCode, "a probe must not take the server out because it works")
	require.JSONEq(t, `{"status": "overloaded"}`, body)
	for _, path := range []string{"/v1/completions", "/v1/chat/completions", "/tokenize"} {
		response, body = s.post(path, "this is not read")
		require.Equal(t, 429, response.StatusCode)
		require.Equal(t, "1", response.Header.Get("Retry-After"))
		require.Contains(t, body, `"code":"rate_limit_exceeded"`)
	}
	cancel()
	free()
	require.ErrorIs(t, <-first, context.Canceled)
	require.ErrorIs(t, <-second, context.Canceled)
}

// The choices of one request may fill the engine. Then the engine refuses the next one, with the same status.
func TestEngineIsFull(t *testing.T) {
	s := start(t, setup{context: 1 << 20, parallel: 2, queue: 1})
	step, free := s.hold()
	two := strings.Replace(endless, "{", `{"n": 2, `, 1)
	sequences := func(n int) {
		t.Helper()
		eventually(t, func() bool { now := s.engine.Stats(); return now.Running+now.Waiting == n })
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := s.send(ctx, two)
	sequences(1)
	step() // the other choice comes after the first token
	sequences(2)
	second := s.send(ctx, two)
	sequences(3)
	for _, stream := range []string{"true", "false"} {
		response, body := s.post("/v1/completions", `{"prompt": "Hello", "stream": `+stream+`}`)
		require.Equal(t, 429, response.StatusCode, body)
		require.Equal(t, "1", response.Header.Get("Retry-After"))
		require.Contains(t, body, `"code":"rate_limit_exceeded"`)
	}
	cancel()
	free()
	require.ErrorIs(t, <-first, context.Canceled)
	require.ErrorIs(t, <-second, context.Canceled)
}

// A thousand connections are open, most of them silent, and nothing is lost.
func TestThousandConnections(t *testing.T) {
	s := start(t, setup{parallel: 16, queue: 64})
	var conns []net.Conn
	for i := range 1000 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		if i%2 == 0 { // half of them have sent a part of a header
			_, err = io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
			require.NoError(t, err)
		}
		conns = append(conns, conn)
	}
	var all sync.WaitGroup
	statuses := make([]int, 80)
	for i := range statuses {
		all.Go(func() {
			response, _ := s.post("/v1/completions", `{"prompt": "Hello", "max_tokens": 8, "ignore_eos": true}`)
			statuses[i] = response.StatusCode
		})
	}
	all.Wait()
	for _, status := range statuses {
		require.Equal(t, 200, status)
	}
	// The connections that waited work.
	const body = `{"prompt": "Hello", "max_tokens": 1}`
	for i, conn := range conns[:10] {
		head := "Host: localhost\r\n"
		if i%2 == 0 {
			head = ""
		} else {
			_, err := io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\n")
			require.NoError(t, err)
		}
		_, err := fmt.Fprintf(conn, "%sConnection: close\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s", head, len(body), body)
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n"), "%s", answer)
	}
}

// A server that has ended leaves no goroutine, however its clients have left.
func TestNoGoroutineIsLeft(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		s := start(t, setup{context: 1 << 20, Options: Options{Drain: time.Millisecond}})
		for range 10 {
			require.NoError(t, s.begin(endless).Body.Close())
		}
		s.post("/v1/completions", `{"prompt": "Hello", "n": 3, "max_tokens": 5}`)
		cut := s.begin(endless)
		require.Regexp(t, leftover, goroutines(), "what is looked for must be there while a request runs")
		s.stop()
		_, err := io.Copy(io.Discard, cut.Body)
		require.NoError(t, err)
		require.NoError(t, cut.Body.Close())
	})
	eventually(t, func() bool { return !leftover.MatchString(goroutines()) })
}

// leftover is in the stacks of goroutines of servers, connections and engines.
var leftover = regexp.MustCompile(`serve\.\(\*|openai\.\(\*|engine\.\(\*|net/http\.\(\*`)

// goroutines are the stacks of all of them.
func goroutines() string {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	return b.String()
}

// If the device fails, a probe sees it, and sees when it works again.
func TestFailingDevice(t *testing.T) {
	s := start(t, setup{})
	const request = `{"prompt": "The capital of Germany is", "max_tokens": 2, "temperature": 0}`
	s.device.broken.Store(true)
	response, body := s.post("/v1/completions", request)
	require.Equal(t, 500, response.StatusCode)
	require.Contains(t, body, "internal_error")
	s.logs(errBroken.Error())
	response, body = s.get("/health")
	require.Equal(t, 503, response.StatusCode)
	require.JSONEq(t, `{"status": "failing"}`, body)

	s.device.broken.Store(false)
	response, _ = s.post("/v1/completions", request)
	require.Equal(t, 200, response.StatusCode)
	response, _ = s.get("/health")
	require.Equal(t, 200, response.StatusCode)
}
