package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/explore"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/openai"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// served is a server with the built-in model, which a test calls over a real connection.
type served struct {
	*Server
	t      testing.TB
	url    string
	engine *engine.Engine
	device *device
	client *http.Client
	logged *logged
	stop   func()     // begins to drain
	ended  chan error // Serve's
}

// setup is what tests change about a server.
type setup struct {
	Options
	parallel, queue, context int
	client                   *http.Transport
	loading                  bool // the model never comes
	change                   func(*Server)
}

// start runs a server until the test ends. The test fails if a goroutine is left.
func start(t testing.TB, o setup) *served {
	t.Helper()
	if o.parallel == 0 {
		o.parallel, o.queue = 4, 16
	}
	s := &served{t: t, logged: &logged{}, ended: make(chan error, 1)}
	o.Requests = o.parallel + o.queue
	o.Log = slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.Drain == 0 {
		o.Drain = time.Hour
	}
	s.Server = New(o.Options)
	// However slow the machine is, no limit ends what a test does not want to end.
	s.headerTimeout, s.bodyTimeout, s.writeTimeout = time.Hour, time.Hour, time.Hour
	s.waitingEvery, s.endTimeout = time.Hour, time.Minute
	if o.change != nil {
		o.change(s.Server)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := smallListener{tcp}
	s.url = "http://" + listener.Addr().String()
	if o.client == nil {
		o.client = &http.Transport{}
	}
	s.client = &http.Client{Transport: o.client}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() {
		s.ended <- s.Serve(ctx, listener)
		close(s.ended)
	}()
	if !o.loading {
		service, d := newService(t, o.parallel, o.queue, o.context)
		s.engine, s.device = service.Engine, d
		s.Ready(explore.New(service, "cpu"))
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.stop()
		require.NoError(t, <-s.ended)
	})
	return s
}

// smallBuffer is the size of the buffers of connections, so that a client that reads nothing is soon noticed.
const smallBuffer = 16 << 10

type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetWriteBuffer(smallBuffer))
	}
	return conn, err
}

// newService loads the built-in model.
func newService(t testing.TB, parallel, queue, contextSize int) (*openai.Service, *device) {
	t.Helper()
	backend, err := cpu.New(cpu.Options{})
	require.NoError(t, err)
	d := &device{Backend: backend}
	m, err := model.Load(t.Context(), demo.FS(), d, model.Options{
		Context: contextSize, Sequences: parallel, MaxTokens: backend.MaxTokens(),
	})
	require.NoError(t, err)
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	defaults, err := generate.ReadDefaults(demo.FS(), true)
	require.NoError(t, err)
	defaults.Sampling.EOS = m.Config.EOS
	e := engine.New(m, engine.Options{Parallel: parallel, Queue: queue})
	t.Cleanup(func() { // after the server has ended: cleanups run in reverse
		e.Close()
		require.NoError(t, m.Close())
	})
	return &openai.Service{
		Engine: e, Codec: &text.Codec{Tokenizer: tok}, Config: &m.Config, Context: m.Context, Name: demo.Name,
		Created: 1, Defaults: defaults,
	}, d
}

// device is the CPU, which fails or waits if a test wants it.
type device struct {
	*cpu.Backend
	broken atomic.Bool
	steps  atomic.Pointer[chan struct{}] // each step takes an element; nil: it takes none
}

var errBroken = errors.New("the device is gone")

func (d *device) Begin(step *model.Step) {
	if steps := d.steps.Load(); steps != nil {
		<-*steps
	}
	d.Backend.Begin(step)
}

func (d *device) Argmax(next []int32, logits model.Matrix) error {
	if d.broken.Load() {
		return errBroken
	}
	return d.Backend.Argmax(next, logits)
}

// hold makes the engine wait before its next step. step lets it compute one step, free all.
func (s *served) hold() (step, free func()) {
	steps := make(chan struct{}, 1)
	s.device.steps.Store(&steps)
	free = sync.OnceFunc(func() { close(steps) })
	s.t.Cleanup(free) // of a test that fails: the engine must end
	return func() { steps <- struct{}{} }, free
}

// request makes a request. A body is sent as JSON.
func (s *served) request(method, path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// reply is a response without its body.
type reply struct {
	StatusCode int
	Proto      string
	Header     http.Header
	Close      bool
}

// do sends a request and returns the response with its whole body.
func (s *served) do(r *http.Request) (reply, string) {
	s.t.Helper()
	response, err := s.client.Do(r)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return reply{response.StatusCode, response.Proto, response.Header, response.Close}, string(body)
}

func (s *served) get(path string) (reply, string) {
	s.t.Helper()
	return s.do(s.request(http.MethodGet, path, ""))
}

func (s *served) post(path, body string) (reply, string) {
	s.t.Helper()
	return s.do(s.request(http.MethodPost, path, body))
}

// endless is a request that ends only with its client, or at the context's end.
const endless = `{"prompt": "Hello", "max_tokens": 1000000, "ignore_eos": true, "stream": true}`

// begin sends a request whose answer is a stream, and returns when the stream has begun.
func (s *served) begin(body string) *http.Response {
	s.t.Helper()
	response, err := s.client.Do(s.request(http.MethodPost, "/v1/completions", body))
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	return response
}

// send sends a request and takes the answer, whose end or error comes from the channel.
func (s *served) send(ctx context.Context, body string) <-chan error {
	s.t.Helper()
	r, ended := s.request(http.MethodPost, "/v1/completions", body).WithContext(ctx), make(chan error, 1)
	go func() {
		response, err := s.client.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			err = errors.Join(err, response.Body.Close())
		}
		ended <- err
	}()
	return ended
}

// logged is a log that any goroutine may write and read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// logs waits for a text in the log, because the line of a request comes after its answer.
func (s *served) logs(text string) {
	s.t.Helper()
	eventually(s.t, func() bool { return strings.Contains(s.logged.String(), text) })
}

// logsRequests waits for the lines of so many requests. Their metrics are counted then, too.
func (s *served) logsRequests(n int) {
	s.t.Helper()
	eventually(s.t, func() bool { return strings.Count(s.logged.String(), "msg=request ") == n })
}

func (l *logged) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually waits for something that another goroutine does. Only a failing test waits long.
func eventually(t testing.TB, what func() bool) {
	t.Helper()
	require.Eventually(t, what, 2*time.Minute, time.Millisecond)
}
