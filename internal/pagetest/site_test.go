//go:build !race

package pagetest

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/explore"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/nexttoken"
	"phi3/internal/openai"
	"phi3/internal/serve"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// gone is the status of a server that closes the connection.
const gone = -1

// blank is the path of an empty document, from which a tab goes to the page.
const blank = "/blank"

// site is a server with the page and a model, which a test calls from a browser.
type site struct {
	t      testing.TB
	url    string
	server *serve.Server
	model  *model.Model // a second copy, for expected values
	tok    *tokenizer.Tokenizer
	ready  func(name string) // gives the server its model, with this name

	mu        sync.Mutex
	calls     map[string]int           // requests that began, by path
	cancelled map[string]int           // requests whose client went away while they were held
	held      map[string]chan struct{} // paths whose requests wait until the channel is closed
	failing   int                      // the status with which requests for tokens fail; 0: they do not
}

// setup is what tests change about a site.
type setup struct {
	checkpoint fs.FS // nil: the built-in one
	key        string
	loading    bool // the model comes with site.ready
}

func start(t testing.TB, o setup) *site {
	t.Helper()
	if o.checkpoint == nil {
		o.checkpoint = demo.FS()
	}
	s := &site{
		t: t, calls: map[string]int{}, cancelled: map[string]int{}, held: map[string]chan struct{}{},
	}
	s.model = load(t, o.checkpoint)
	var err error
	s.tok, err = tokenizer.Load(o.checkpoint)
	require.NoError(t, err)
	s.server = serve.New(serve.Options{Key: o.key, Requests: 64, Log: slog.New(slog.DiscardHandler)})
	s.ready = func(name string) {
		defaults, err := generate.ReadDefaults(o.checkpoint, true)
		require.NoError(t, err)
		m := load(t, o.checkpoint)
		defaults.Sampling.EOS = m.Config.EOS
		e := engine.New(m, engine.Options{Parallel: 4, Queue: 60})
		t.Cleanup(e.Close)
		explorer := explore.New(&openai.Service{
			Engine: e, Codec: &text.Codec{Tokenizer: s.tok}, Config: &m.Config, Context: m.Context,
			Name: name, Created: 1, Defaults: defaults,
		}, "cpu")
		explorer.KVElemBytes = 2
		s.server.Ready(explorer)
	}
	if !o.loading {
		s.ready(demo.Name)
	}
	server := httptest.NewServer(s)
	s.url = server.URL
	t.Cleanup(server.Close)
	return s
}

func load(t testing.TB, checkpoint fs.FS) *model.Model {
	t.Helper()
	backend, err := cpu.New(cpu.Options{})
	require.NoError(t, err)
	m, err := model.Load(t.Context(), checkpoint, backend, model.Options{
		Sequences: 4, MaxTokens: backend.MaxTokens(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// ServeHTTP counts a request, and lets it wait or fail if the test wants that.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if path == blank {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<link rel="icon" href="data:,">`)) // or the browser asks for /favicon.ico
		return
	}
	s.mu.Lock()
	s.calls[path]++
	held, status := s.held[path], s.failing
	s.mu.Unlock()
	if held != nil {
		body, _ := io.ReadAll(r.Body) // net/http looks for the end of the connection only after the body
		r.Body = io.NopCloser(bytes.NewReader(body))
		select {
		case <-held:
		case <-r.Context().Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cancelled[path]++
			return
		}
	}
	if path != "/explore/tokens" {
		status = 0
	}
	if status == gone {
		panic(http.ErrAbortHandler)
	}
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"error":{"message":"The test says no.","code":null}}`))
		return
	}
	s.server.ServeHTTP(w, r)
}

// hold makes requests to a path wait until release is called.
func (s *site) hold(path string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held[path] = held
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.held, path)
		close(held)
	})
	s.t.Cleanup(release)
	return release
}

// fail makes requests for tokens fail with a status; 0 lets them through again.
func (s *site) fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = status
}

func (s *site) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

func (s *site) countCancelled(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancelled[path]
}

// ids are the tokens of a text; with chat, of a user's message.
func (s *site) ids(prompt string, chat bool) []int32 {
	s.t.Helper()
	codec := &text.Codec{Tokenizer: s.tok}
	rendered := codec.Plain(prompt)
	if chat {
		var err error
		rendered, err = codec.Chat(s.t.Context(), []tokenizer.Message{{Role: "user", Content: prompt}})
		require.NoError(s.t, err)
	}
	ids, err := codec.Encode(s.t.Context(), rendered, s.model.Context)
	require.NoError(s.t, err)
	return ids
}

// report is what phi3 next-token --json prints about a text.
func (s *site) report(ids []int32, o nexttoken.Options) *nexttoken.Report {
	s.t.Helper()
	r, err := nexttoken.New(context.WithoutCancel(s.t.Context()), s.model, s.tok, ids, o)
	require.NoError(s.t, err)
	return r
}
