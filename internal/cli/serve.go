package cli

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"phi3/internal/openai"
	"phi3/internal/serve"
	"phi3/internal/show"
	"phi3/internal/usage"
)

type serveFlags struct {
	model      modelFlags
	host       string
	port       int
	key        string
	origins    []string
	queue      int
	maxStep    int
	drain      time.Duration
	log        string
	logPrompts bool
}

// keyVariable is the environment variable that is read where --api-key is not given.
const keyVariable = "PHI3_API_KEY"

// maxQueue is the largest --queue. Larger values are typing errors.
const maxQueue = 1 << 16

func newServe(s *streams) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a model over HTTP, with the OpenAI protocol",
		Long: `Serve a model over HTTP, with the OpenAI protocol. Any program that speaks it can use the
server: set its base URL to http://127.0.0.1:8080/v1.

  POST /v1/chat/completions   POST /tokenize     GET /health    GET /metrics
  POST /v1/completions        POST /detokenize   GET /version   GET /v1/models

A browser that opens http://127.0.0.1:8080/ shows the page of phi3 explore.

The server runs up to --parallel requests at once, and computes their tokens together.
Up to --queue more wait. It refuses the others with status 429. An answer does not depend,
in any bit, on the requests that run beside it.

With an API key, every request must send it: Authorization: Bearer KEY. GET /health and
the page need no key; the page asks for the key before it shows anything of the model.
Set the key with $PHI3_API_KEY. Other users of this machine can read a key on the command
line. Without a key, use the server only on this machine. phi3 does not speak TLS: to
serve a network, put a reverse proxy with TLS in front of it.

At SIGTERM or Ctrl-C, the server takes no new requests, finishes those that it has begun,
for at most --drain, and exits with code 0. A second signal ends it at once. Meanwhile
/health has status 503, as it has while the model is loading.

Each request writes one line to stderr, without the text of prompts and answers.
--quiet writes only the lines of errors. --verbose also writes those of /health and
/metrics.`,
		Example: `  phi3 serve --model ./Phi-3-mini-4k-instruct
  phi3 serve -m ./Phi-3-mini-4k-instruct --parallel 8 -c 4096 --port 9000
  PHI3_API_KEY=secret phi3 serve --host 0.0.0.0 --log json
  curl http://127.0.0.1:8080/v1/chat/completions \
      -H 'Content-Type: application/json' \
      -d '{"messages": [{"role": "user", "content": "Hello"}]}'`,
		Args: usage.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	f.model.register(flags)
	flags.StringVar(&f.host, "host", "127.0.0.1", "`address` to listen on; 0.0.0.0 is all of this machine's")
	flags.IntVar(&f.port, "port", 8080, "`port` to listen on; 0 is a free one, which phi3 prints")
	flags.StringVar(&f.key, "api-key", "",
		"`key` that requests must send. Other users of this machine can read it here; prefer the variable "+
			"(default: $"+keyVariable+", or none)")
	flags.StringSliceVar(&f.origins, "cors-origin", nil,
		"allow web pages from this `origin`, such as https://example.com, to call the server; * allows all "+
			"pages. May be repeated")
	f.model.registerParallel(flags)
	flags.IntVar(&f.queue, "queue", 128, "requests that may wait; 0 refuses all that cannot run at once")
	flags.IntVar(&f.maxStep, "max-step", 0,
		"the most `tokens` of a step. A long prompt stops the other requests for one step (default: "+
			"as many as the device takes, up to 512)")
	flags.DurationVar(&f.drain, "drain", 30*time.Second, "how long requests may take to finish at the end")
	flags.StringVar(&f.log, "log", "text", "format of the log: text or json")
	flags.BoolVar(&f.logPrompts, "log-prompts", false, "log the bodies of requests, with their prompts")
	return cmd
}

// check finds mistakes in the flags' values, and reads the variable of the key.
func (f *serveFlags) check() error {
	if key, ok := os.LookupEnv(keyVariable); ok && !f.model.flags.Changed("api-key") {
		if key == "" {
			return usage.Errorf("$%s is empty: unset it to serve without a key", keyVariable)
		}
		f.key = key
	}
	if err := checkPort(f.port); err != nil {
		return err
	}
	switch {
	case f.model.flags.Changed("api-key") && f.key == "":
		return usage.Errorf("--api-key is empty")
	case strings.TrimSpace(f.key) != f.key:
		return usage.Errorf("the API key begins or ends with white space, which no request can send; a " +
			"file that it was read from may end with a newline")
	case strings.ContainsFunc(f.key, unicode.IsControl):
		return usage.Errorf("the API key has a control character, which no request can send")
	case f.queue < 0 || f.queue > maxQueue:
		return usage.Errorf("--queue is %d, not in 0 … %d", f.queue, maxQueue)
	case f.maxStep < 0 || f.model.flags.Changed("max-step") && f.maxStep == 0:
		return usage.Errorf("--max-step is %d, not 1 or more", f.maxStep)
	case f.drain < 0:
		return usage.Errorf("--drain is %v, not 0s or more", f.drain)
	case f.log != "text" && f.log != "json":
		return usage.Errorf("--log is %q, not text or json", f.log)
	}
	for _, origin := range f.origins {
		if err := checkOrigin(origin); err != nil {
			return err
		}
	}
	return f.model.checkParallel()
}

// checkOrigin finds an origin that no browser sends, so that it would allow nothing.
func checkOrigin(origin string) error {
	if origin == "*" || origin == "null" {
		return nil
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.ToLower(u.Scheme+"://"+u.Host) == origin {
		return nil
	}
	return usage.Errorf("--cors-origin is %q, not a scheme and a host in small letters, such as "+
		"https://example.com or http://localhost:3000", origin)
}

func (f *serveFlags) run(ctx context.Context, s *streams) error {
	if err := f.check(); err != nil {
		return err
	}
	log, said := newLogger(s, f.log, slog.LevelInfo), s
	if f.log == "json" { // then what other commands print as text is a part of the log
		said = &streams{err: show.NewWriter(lines{log}), quiet: s.quiet, verbose: s.verbose}
	}
	server := &serving{
		model: &f.model, host: f.host, port: f.port, queue: f.queue, maxStep: f.maxStep,
		options: serve.Options{
			Key: f.key, Origins: f.origins, Drain: f.drain, Version: version(), Log: log,
			LogPrompts: f.logPrompts,
		},
	}
	return server.run(ctx, said, func(l net.Listener, service *openai.Service) error {
		s.patience.Store(int64(server.patience()))
		f.announce(said, l, server.url(l), service.Context)
		return nil
	})
}

// announce says where the server listens, and warns, even with --quiet, if it serves a network without a key.
func (f *serveFlags) announce(said *streams, l net.Listener, address string, contextSize int) {
	_, _ = show.Fprintf(said.notes(), "listening on %s (%d at once, queue %d, context %d tokens); a browser "+
		"shows phi3 explore there\n", address, f.model.parallel, f.queue, contextSize)
	if at, ok := l.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() && f.key == "" {
		_, _ = show.Fprintf(said.err, "WARNING: this server has no API key, and it does not listen only on "+
			"this machine: everyone who can reach %s can use it. Set %s, or listen on 127.0.0.1.\n", address,
			keyVariable)
	}
}
