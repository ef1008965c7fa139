package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"phi3/internal/engine"
	"phi3/internal/openai"
	"phi3/internal/show"
)

// exchange is a request, and what is known about its answer for the log and the metrics.
type exchange struct {
	http.ResponseWriter
	r      *http.Request
	id     string
	route  string // "" for an unknown path
	start  time.Time
	status int // that has been sent; 0: none yet
	answer *openai.Answer
	parsed time.Duration // from start until the answer was known to be one
	body   []byte        // only with --log-prompts
	err    error
}

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// asError is an error in the protocol's terms. If the end of the server cuts a request off, it was not its
// client that cancelled it.
func (x *exchange) asError(err error) *openai.Error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(x.r.Context()), errEnding) {
		err = engine.ErrClosed
	}
	return openai.AsError(err)
}

// requestID is the client's own id of the request, or a new one. Ids are printed, and stand in headers.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	valid := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.ContainsRune("-_.:", c)
	}
	if id == "" || len(id) > 128 || strings.TrimFunc(id, valid) != "" {
		return "req-" + strings.ToLower(rand.Text())
	}
	return id
}

// finish logs and measures a request. Probes and scrapes are only for those who want details.
func (s *Server) finish(x *exchange) {
	total := time.Since(x.start)
	if m := s.ready.Load(); m != nil {
		m.metrics.observe(x, total)
	}
	level := slog.LevelInfo
	if x.route == "/health" || x.route == "/metrics" {
		level = slog.LevelDebug
	}
	path := x.route
	if path == "" {
		path = show.Brief(x.r.URL.Path)
	}
	attrs := []slog.Attr{
		slog.String("id", x.id), slog.String("method", show.Brief(x.r.Method)), slog.String("route", path),
		slog.Int("status", x.status),
	}
	if x.answer != nil {
		u := x.answer.Stats()
		attrs = append(attrs,
			slog.Int("prompt", u.Prompt), slog.Int("cached", u.Cached), slog.Int("generated", u.Generated),
			milliseconds("queue_ms", u.Queued), milliseconds("first_ms", x.parsed+u.First))
		if finish := strings.Trim(strings.Join(u.Finish, ","), ","); finish != "" {
			attrs = append(attrs, slog.String("finish", finish))
		}
	}
	attrs = append(attrs, milliseconds("total_ms", total))
	if x.body != nil {
		attrs = append(attrs, slog.String("request", string(x.body)))
	}
	if x.err != nil {
		e := x.asError(x.err)
		message := e.Error()
		if cause := errors.Unwrap(e); cause != nil {
			message = cause.Error()
		}
		if e.Status == openai.StatusClosed {
			message = "the client has gone away"
		}
		attrs = append(attrs, slog.String("error", show.Message(message)))
		if e.Status == http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	s.Log.LogAttrs(context.Background(), level, "request", attrs...)
}

// milliseconds is an attribute with the digits that matter.
func milliseconds(name string, d time.Duration) slog.Attr {
	return slog.Float64(name, math.Round(d.Seconds()*1e5)/100)
}
