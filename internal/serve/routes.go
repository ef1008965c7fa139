package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"phi3/internal/engine"
	"phi3/internal/explore"
	"phi3/internal/openai"
	"phi3/internal/show"
)

// route answers one path. Its error becomes the answer if it has written nothing.
type route struct {
	method string
	open   bool // needs no key and no model
	answer func(s *Server, x *exchange, m *ready) error
}

var routes = map[string]route{
	"/v1/chat/completions": {method: http.MethodPost, answer: generates((*openai.Service).Chat)},
	"/v1/completions":      {method: http.MethodPost, answer: generates((*openai.Service).Completion)},
	"/tokenize":            {method: http.MethodPost, answer: computes((*openai.Service).Tokenize)},
	"/detokenize":          {method: http.MethodPost, answer: computes((*openai.Service).Detokenize)},
	"/v1/models":           {method: http.MethodGet, answer: (*Server).models},
	"/metrics":             {method: http.MethodGet, answer: (*Server).metrics},
	"/version":             {method: http.MethodGet, answer: (*Server).version},
	"/health":              {method: http.MethodGet, answer: (*Server).health, open: true},

	"/explore/model":         {method: http.MethodGet, answer: (*Server).explore},
	"/explore/tokens":        {method: http.MethodPost, answer: explores((*explore.Explorer).Tokenize)},
	"/explore/next":          {method: http.MethodPost, answer: explores((*explore.Explorer).Next)},
	"/explore/layers":        {method: http.MethodPost, answer: streams((*explore.Explorer).Layers)},
	"/explore/contributions": {method: http.MethodPost, answer: explores((*explore.Explorer).Contributions)},
	"/explore/attention":     {method: http.MethodPost, answer: explores((*explore.Explorer).Attention)},
	"/explore/cache":         {method: http.MethodPost, answer: streams((*explore.Explorer).Cache)},
}

// aModel is the beginning of the paths of single models. Their names may contain slashes.
const aModel = "/v1/models/"

func find(path string) (name string, r route, err error) {
	if strings.HasPrefix(path, aModel) {
		return aModel + "{id}", route{method: http.MethodGet, answer: (*Server).model}, nil
	}
	r, ok := routes[path]
	switch {
	case ok:
	case isPage(path):
		return "/", route{method: http.MethodGet, answer: (*Server).page, open: true}, nil
	default:
		return "", r, &openai.Error{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: new("unknown_url"),
			Message: "There is nothing at " + show.Message(path) + ". The paths are /v1/chat/completions, " +
				"/v1/completions, /v1/models, /tokenize, /detokenize, /health, /metrics and /version.",
		}
	}
	return path, r, nil
}

// ServeHTTP answers a request, measures it and logs it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, r: r, id: requestID(r), start: time.Now()}
	x.Header().Set("X-Request-Id", x.id)
	x.Header().Set("X-Content-Type-Options", "nosniff")
	// net/http reads the rest of a body that the server does not read, and sends the answer after that. So
	// the time for the body ends before the time for the answer, which begins at about the same moment.
	unread := min(s.bodyTimeout, s.writeTimeout/2)
	_ = http.NewResponseController(x).SetReadDeadline(x.start.Add(unread))
	defer func() {
		if p := recover(); p != nil {
			x.err = fmt.Errorf("panic: %v", p)
			s.Log.Error("panic", "id", x.id, "value", fmt.Sprint(p), "stack", string(debug.Stack()))
			if x.status != 0 {
				defer panic(http.ErrAbortHandler) // the client must not take what it has for the whole answer
			} else {
				s.refuse(x)
			}
		}
		s.finish(x)
	}()
	x.err = s.dispatch(x)
	if x.err != nil && x.status == 0 {
		s.refuse(x)
	}
}

func (s *Server) dispatch(x *exchange) error {
	r := x.r
	if s.allowOrigin(x.Header(), r) {
		x.WriteHeader(http.StatusNoContent)
		return nil
	}
	name, route, unknown := find(r.URL.Path)
	x.route = name
	if !route.open {
		if err := s.authorize(r); err != nil {
			x.Header().Set("WWW-Authenticate", "Bearer")
			return err
		}
	}
	if err := s.checkHost(r); err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	if r.Method != route.method && (r.Method != http.MethodHead || route.method != http.MethodGet) {
		x.Header().Set("Allow", route.method)
		return &openai.Error{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error",
			Message: fmt.Sprintf("%s takes %s requests.", name, route.method),
		}
	}
	m := s.ready.Load()
	if m == nil && !route.open {
		return &openai.Error{
			Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second, Type: "server_error",
			Message: "The model is loading.", Code: new("loading"),
		}
	}
	return route.answer(s, x, m)
}

// generates makes the route of requests that parse reads.
func generates(
	parse func(*openai.Service, context.Context, []byte) (*openai.Answer, error),
) func(*Server, *exchange, *ready) error {
	return withBody(func(s *Server, x *exchange, m *ready, body []byte) error {
		answer, err := parse(m.Service, x.r.Context(), body)
		if err != nil {
			return err
		}
		x.answer, x.parsed = answer, time.Since(x.start)
		if answer.Stream() {
			return s.stream(x)
		}
		whole, err := answer.Whole(x.r.Context())
		if err != nil {
			return err
		}
		return s.write(x, http.StatusOK, whole)
	})
}

// computes makes the route of requests that compute answers at once.
func computes(
	compute func(*openai.Service, context.Context, []byte) (any, error),
) func(*Server, *exchange, *ready) error {
	return withBody(func(s *Server, x *exchange, m *ready, body []byte) error {
		value, err := compute(m.Service, x.r.Context(), body)
		if err != nil {
			return err
		}
		return s.write(x, http.StatusOK, value)
	})
}

// withBody lets a request through the gate and reads its body.
func withBody(
	answer func(s *Server, x *exchange, m *ready, body []byte) error,
) func(*Server, *exchange, *ready) error {
	return func(s *Server, x *exchange, m *ready) error {
		if entered, full := s.gate.enter(); full {
			return engine.ErrBusy
		} else if !entered {
			return engine.ErrClosed
		}
		defer s.gate.leave()
		body, err := s.body(x, m.maxBody)
		if err != nil {
			return err
		}
		if s.LogPrompts {
			x.body = body
		}
		err = answer(s, x, m, body)
		if x.status != 0 { // the end of the server waits for the gate, and not for what net/http still holds
			_ = http.NewResponseController(x).Flush()
		}
		return err
	}
}

// body reads the body of a request. Only JSON is read. A web page cannot send that type without asking first
// (CORS), so pages of other sites cannot use a server that needs no key.
func (s *Server) body(x *exchange, limit int64) ([]byte, error) {
	r := x.r
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		kind != "application/json" {
		return nil, &openai.Error{
			Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error",
			Message: "The body must be JSON: send the header Content-Type: application/json.",
		}
	}
	tooLarge := &openai.Error{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error",
		Message: fmt.Sprintf("The body has more than %d bytes.", limit),
	}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	_ = http.NewResponseController(x).SetReadDeadline(x.start.Add(s.bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(x.ResponseWriter, r.Body, limit))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &openai.Error{
			Status: http.StatusRequestTimeout, Type: "invalid_request_error",
			Message: fmt.Sprintf("The body did not come within %v.", s.bodyTimeout),
		}
	case err != nil:
		return nil, &openai.Error{
			Status: http.StatusBadRequest, Type: "invalid_request_error",
			Message: "The body could not be read: " + err.Error() + ".",
		}
	}
	_ = http.NewResponseController(x).SetReadDeadline(time.Time{}) // see ServeHTTP
	return body, nil
}

func (s *Server) models(x *exchange, m *ready) error {
	return s.write(x, http.StatusOK, m.Models())
}

func (s *Server) model(x *exchange, m *ready) error {
	value, err := m.Model(strings.TrimPrefix(x.r.URL.Path, aModel))
	if err != nil {
		return err
	}
	return s.write(x, http.StatusOK, value)
}

func (s *Server) version(x *exchange, _ *ready) error {
	return s.write(x, http.StatusOK, map[string]string{"version": s.Version})
}

func (s *Server) metrics(x *exchange, m *ready) error {
	s.deadline(x)
	promhttp.HandlerFor(m.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(x, x.r)
	return nil
}

// health tells a probe whether to send requests here: 200 for yes. A full queue is also a yes. The server
// answers with 429 then, and if all replicas were taken out at that moment, nobody would. If the device has
// failed, a probe may restart the server, so this comes before the queue.
func (s *Server) health(x *exchange, m *ready) error {
	state, status := s.gate.state(), http.StatusOK
	switch {
	case state == "draining":
	case m == nil:
		state = "loading"
	case m.Engine.Stats().Failing:
		state = "failing"
	}
	if state == "loading" || state == "draining" || state == "failing" {
		status = http.StatusServiceUnavailable
	}
	x.Header().Set("Cache-Control", "no-store")
	return s.write(x, status, map[string]string{"status": state})
}

// write answers with a JSON value.
func (s *Server) write(x *exchange, status int, value any) error {
	data, err := encode(value)
	if err != nil {
		return err
	}
	x.Header().Set("Content-Type", "application/json")
	return s.send(x, status, data)
}

// send answers with a whole body, whose type is set.
func (s *Server) send(x *exchange, status int, data []byte) error {
	x.Header().Set("Content-Length", strconv.Itoa(len(data)))
	begun := time.Now()
	s.deadline(x)
	x.WriteHeader(status)
	_, err := x.Write(data)
	return s.notTaken(begun, err)
}

// refuse answers with the error of an exchange.
func (s *Server) refuse(x *exchange) {
	e := x.asError(x.err)
	if e.RetryAfter > 0 {
		x.Header().Set("Retry-After", seconds(e.RetryAfter))
	}
	_ = s.write(x, e.Status, e)
}

// deadline bounds the time of the next write.
func (s *Server) deadline(x *exchange) {
	_ = http.NewResponseController(x).SetWriteDeadline(time.Now().Add(s.writeTimeout))
}

// encode returns the JSON of a value on one line. It does not escape < and >, which most special tokens
// contain.
func encode(value any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return []byte(b.String()), err
}

// seconds is a duration for the header Retry-After: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Max(1, math.Ceil(d.Seconds()))))
}
