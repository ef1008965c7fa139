package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Hub is a hub and the cache of what came from it.
type Hub struct {
	Endpoint string // such as https://huggingface.co, without a slash at the end
	Cache    string // the directory that holds models--org--name
	Offline  bool   // never use the network

	token     string // "" for none
	tokenFrom string // where it was found, for messages

	client   *http.Client
	stall    time.Duration                              // a connection that brings nothing for so long is given up
	pause    func(context.Context, time.Duration) error // waits between attempts
	freeDisk func(dir string) (bytes int64, ok bool)
	symlink  func(target, link string) error
}

// New reads what Python's huggingface_hub reads: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_TOKEN, HF_TOKEN_PATH,
// HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_DISABLE_SYMLINKS, HF_HUB_OFFLINE, and the older names HUGGINGFACE_HUB_CACHE, HUGGING_FACE_HUB_TOKEN and
// TRANSFORMERS_OFFLINE. An empty variable counts as unset. The proxy variables count too, as everywhere in Go.
func New(getenv func(string) string) (*Hub, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := getenv(name); value != "" {
				return value
			}
		}
		return ""
	}
	userHome, err := os.UserHomeDir()
	if err != nil && first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME") == "" {
		return nil, fmt.Errorf("no place for downloaded models: %w; set HF_HOME to a directory", err)
	}
	expand := func(path string) string {
		if path == "~" || strings.HasPrefix(path, "~/") {
			path = userHome + path[1:]
		}
		return os.Expand(path, func(name string) string {
			if value := getenv(name); value != "" {
				return value
			}
			return "$" + name
		})
	}

	home := getenv("HF_HOME")
	if home == "" {
		caches := getenv("XDG_CACHE_HOME")
		if caches == "" {
			caches = filepath.Join(userHome, ".cache")
		}
		home = filepath.Join(caches, "huggingface")
	}
	home = expand(home)
	h := &Hub{
		Endpoint: "https://huggingface.co",
		Cache:    filepath.Join(home, "hub"),
		Offline:  yes(first("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
		client:   newClient(),
		stall:    30 * time.Second,
		pause:    pause,
		freeDisk: freeDisk,
		symlink:  os.Symlink,
	}
	if yes(getenv("HF_HUB_DISABLE_SYMLINKS")) {
		h.symlink = func(string, string) error { return errors.ErrUnsupported }
	}
	if cache := first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); cache != "" {
		h.Cache = expand(cache)
	}
	if h.Cache, err = filepath.Abs(h.Cache); err != nil {
		return nil, fmt.Errorf("the cache for downloaded models: %w", err)
	}
	if endpoint := getenv("HF_ENDPOINT"); endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("HF_ENDPOINT is %q, not an address such as https://huggingface.co", clip(endpoint))
		}
		h.Endpoint = strings.TrimRight(endpoint, "/")
	}
	return h, h.findToken(getenv, expand, home)
}

// Free is the space for downloads on the disk of the cache, which need not exist yet, and whether that is known.
func (h *Hub) Free() (bytes int64, known bool) {
	dir := h.Cache
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return h.freeDisk(dir)
}

// yes tells whether a variable says so, as huggingface_hub understands it.
func yes(value string) bool {
	switch strings.ToUpper(value) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

func (h *Hub) findToken(getenv, expand func(string) string, home string) error {
	if yes(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return nil
	}
	clean := func(token string) string {
		return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(token))
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := clean(getenv(name)); token != "" {
			h.token, h.tokenFrom = token, name
			return nil
		}
	}
	path := getenv("HF_TOKEN_PATH")
	if path == "" {
		path = filepath.Join(home, "token")
	}
	path = expand(path)
	token, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the Hugging Face token: %w", err)
	}
	h.token, h.tokenFrom = clean(string(token)), path
	return nil
}

// newClient is an HTTP client that leaves redirects to the caller and opens a connection for each file: over HTTP/2 all files would
// share one, and its window would be the limit.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = false
	transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	transport.ResponseHeaderTimeout = 30 * time.Second
	transport.MaxIdleConnsPerHost = parallel
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// host is the hub as a person would name it.
func (h *Hub) host() string {
	if u, err := url.Parse(h.Endpoint); err == nil {
		return u.Host
	}
	return h.Endpoint
}

var namePart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)

// IsName tells whether text has the form of a model's name on the hub: org/name.
func IsName(text string) bool {
	org, name, ok := strings.Cut(text, "/")
	return ok && namePart.MatchString(org) && namePart.MatchString(name) &&
		!strings.Contains(text, "--") && !strings.Contains(text, "..") && !strings.HasSuffix(name, ".git")
}

// DefaultRevision is the branch that is meant where no revision is named.
const DefaultRevision = "main"

var (
	revisionPart = regexp.MustCompile(`^[A-Za-z0-9_+=@%,-]([A-Za-z0-9._+=@%,-]*)$`) // a revision becomes a path below refs
	commitHash   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// check refuses names and revisions that are none, before they become paths or addresses.
func check(name, revision string) error {
	if !IsName(name) {
		return fmt.Errorf("%q is not the name of a model; those look like microsoft/Phi-3-mini-4k-instruct", clip(name))
	}
	for _, part := range strings.Split(revision, "/") {
		if !revisionPart.MatchString(part) || strings.Contains(part, "..") || len(revision) > 200 {
			return fmt.Errorf("%q is not a revision; those are branches such as main, tags, and commits", clip(revision))
		}
	}
	return nil
}

// clip keeps a hostile megabyte out of a message.
func clip(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
