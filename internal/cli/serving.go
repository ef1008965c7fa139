package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"phi3/internal/checkpoint"
	"phi3/internal/engine"
	"phi3/internal/explore"
	"phi3/internal/openai"
	"phi3/internal/serve"
	"phi3/internal/show"
	"phi3/internal/usage"
)

// serving is what serve and explore share: a server that listens while the model loads, and then answers
// until the end.
type serving struct {
	model   *modelFlags
	host    string
	port    int // 0: a free one
	queue   int // requests that may wait
	maxStep int // tokens; 0: the engine's default
	options serve.Options
}

func checkPort(port int) error {
	if port < 0 || port > 1<<16-1 {
		return usage.Errorf("--port is %d, not in 0 … %d", port, 1<<16-1)
	}
	return nil
}

// run serves until ctx is done, which is no error. It calls ready once, when the model is loaded; an error of
// ready ends the server.
func (v *serving) run(
	ctx context.Context, s *streams, ready func(l net.Listener, service *openai.Service) error,
) error {
	checkpoint, err := v.model.open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = checkpoint.Close() }()
	listener, err := v.listen(ctx)
	if err != nil {
		return err
	}
	_, _ = show.Fprintf(s.details(), "%s answers GET /health while the model loads\n", v.url(listener))
	v.options.Requests = v.model.parallel + v.queue
	server := serve.New(v.options)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(serving, listener)
		stop() // the loading
	}()
	service, device, closeModel, err := v.load(serving, s, checkpoint)
	if err != nil {
		stop()
		return cmp.Or(<-ended, err)
	}
	defer closeModel()
	explorer := explore.New(service, device)
	explorer.KVElemBytes = v.model.kvElemBytes()
	server.Ready(explorer)
	if err := ready(listener, service); err != nil {
		stop()
		return cmp.Or(<-ended, err)
	}
	return <-ended
}

// patience is how long the server may take to end: it closes its connections after the drain.
func (v *serving) patience() time.Duration { return v.options.Drain + 2*time.Second }

// listen opens the port.
func (v *serving) listen(ctx context.Context) (net.Listener, error) {
	if host, ok := strings.CutPrefix(v.host, "["); ok {
		v.host = strings.TrimSuffix(host, "]") // of an IPv6 address, as in URLs
	}
	address, network := net.JoinHostPort(v.host, strconv.Itoa(v.port)), "tcp"
	if net.ParseIP(v.host).To4() != nil {
		network = "tcp4" // Go takes 0.0.0.0 for all addresses, of IPv6 too
	}
	listener, err := new(net.ListenConfig).Listen(ctx, network, address)
	if op := new(*net.OpError); errors.As(err, op) {
		err = (*op).Err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: another program uses this port; --port takes another one, and "+
			"--port 0 a free one", address)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}

// url is the server's address for clients. With --port 0, only the listener knows the port.
func (v *serving) url(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "http://" + net.JoinHostPort(v.host, port)
}

// load loads the model and starts an engine. The caller calls closeModel at the end.
func (v *serving) load(
	ctx context.Context, s *streams, c *checkpoint.Checkpoint,
) (service *openai.Service, device string, closeModel func(), err error) {
	m, err := v.model.load(ctx, s, c)
	if err != nil {
		return nil, "", nil, err
	}
	service, err = v.model.service(c, m, engine.Options{Queue: v.queue, MaxStep: v.maxStep})
	if err != nil {
		_ = m.Close()
		return nil, "", nil, err
	}
	return service, m.Device(), func() {
		service.Engine.Close()
		_ = m.Close()
	}, nil
}

// newLogger writes to stderr, from the given level on. --quiet and --verbose change the level.
func newLogger(s *streams, format string, level slog.Level) *slog.Logger {
	switch {
	case s.quiet:
		level = slog.LevelWarn
	case s.verbose:
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(show.NewJSONWriter(s.err.Unwrap()), options))
	}
	return slog.New(slog.NewTextHandler(s.err, options))
}

// lines writes lines to a log.
type lines struct{ log *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		level := slog.LevelInfo
		if strings.HasPrefix(strings.ToLower(line), "warning:") {
			level = slog.LevelWarn
		}
		l.log.Log(context.Background(), level, strings.TrimSuffix(line, "\n"))
	}
	return len(p), nil
}
