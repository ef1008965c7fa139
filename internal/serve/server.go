// Package serve is the server of phi3 serve: the OpenAI protocol over HTTP/1.1 and unencrypted HTTP/2.
//
//	connection ─► ServeHTTP: key, CORS, route ─► gate ─► body ─► openai.Service ─► JSON, or events (SSE)
//
// [phi3/internal/openai] knows the protocol and generates the answers. This package bounds what a client can
// cost: the size and the time of a request, the number of requests at once, the time of each write. It also
// measures, logs, and ends without losing a request.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"phi3/internal/explore"
	"phi3/internal/openai"
)

// Options of a [Server].
type Options struct {
	Key      string   // the bearer token that requests must have; "": they need none
	Origins  []string // whose web pages may call the server (CORS), "*" for all
	Requests int      // the most requests with a body at once, running or waiting; more are refused
	Drain    time.Duration
	Version  string
	// Log gets one line a request. Its handler writes to the terminal, so it must make strings safe to print.
	Log        *slog.Logger
	LogPrompts bool
}

// Limits of time. A test changes them.
const (
	headerTimeout = 10 * time.Second // to send the header of a request
	bodyTimeout   = 60 * time.Second // to send its body
	idleTimeout   = 2 * time.Minute  // between two requests of a connection
	writeTimeout  = 20 * time.Second // for a client to take an event or an answer
	waitingEvery  = 15 * time.Second // a comment keeps a silent stream open
	endTimeout    = time.Second      // to close the connections at the end
)

// maxHeader bounds the header of a request, in bytes.
const maxHeader = 64 << 10

// Server answers HTTP requests. It listens before the model is loaded, so that probes can see that it is
// loading; see [Server.Ready].
type Server struct {
	Options
	key   *[keySize]byte // the hash of Key; nil: there is none
	gate  gate
	local atomic.Bool // the listener's address is of this machine only, and there is no key
	ready atomic.Pointer[ready]

	headerTimeout, bodyTimeout, writeTimeout, waitingEvery, endTimeout time.Duration
}

// ready is what a server has once the model is loaded.
type ready struct {
	*openai.Service
	explorer *explore.Explorer
	metrics  *metrics
	maxBody  int64
}

// New returns a server without a model.
func New(o Options) *Server {
	s := &Server{
		Options: o, gate: gate{most: o.Requests, empty: make(chan struct{})},
		headerTimeout: headerTimeout, bodyTimeout: bodyTimeout, writeTimeout: writeTimeout,
		waitingEvery: waitingEvery, endTimeout: endTimeout,
	}
	if o.Key != "" {
		hash := hashKey(o.Key)
		s.key = &hash
	}
	return s
}

// Ready gives the server its model. The explorer's engine must stay open until Serve has returned.
func (s *Server) Ready(explorer *explore.Explorer) {
	service := explorer.Service
	s.ready.Store(&ready{
		Service: service, explorer: explorer,
		metrics: newMetrics(service.Name, service.Context, service.Engine.Stats),
		// No text fills the context with more than 64 bytes a token, even if JSON escapes each character.
		maxBody: 1<<20 + 64*int64(service.Context),
	})
}

// errEnding is the cause of the end of a request that does not finish within the drain time.
var errEnding = errors.New("the server is shutting down")

// Serve answers requests until ctx is done. Then it drains: requests that have begun finish, within
// Options.Drain; new ones are refused with 503, and /health says so. Last, it closes the listener and all
// connections. It returns nil if ctx ended it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if address, ok := l.Addr().(*net.TCPAddr); ok {
		s.local.Store(address.IP.IsLoopback() && s.key == nil)
	}
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: s, Protocols: protocols, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: s.headerTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		// The write deadline of a stream of HTTP/2 ends nothing while the client reads nothing at all.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: s.writeTimeout},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		_ = server.Close()
		return err
	case <-ctx.Done():
	}

	// First, so that a client that is told to come back later does not keep its connection.
	server.SetKeepAlivesEnabled(false)
	empty := s.gate.close()
	s.Log.Info("draining", "requests", s.gate.inside())
	select {
	case <-empty:
	case <-time.After(s.Drain):
		s.Log.Warn("requests cut off", "requests", s.gate.inside(), "after_seconds", s.Drain.Seconds())
		cancel(errEnding)
	}
	last, done := context.WithTimeout(context.Background(), s.endTimeout)
	defer done()
	if server.Shutdown(last) != nil {
		_ = server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
