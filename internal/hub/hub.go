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

	"phi3/internal/machine"
	"phi3/internal/regular"
	"phi3/internal/show"
)

// Hub is a hub and the cache of its downloads.
type Hub struct {
	Endpoint string // such as https://huggingface.co, without a slash at the end, and without a password
	Cache    string // the directory that holds models--org--name
	Offline  bool   // never use the network

	// of HF_ENDPOINT, for a mirror that asks for a name and a password; sent instead of the token
	login     *url.Userinfo
	token     string // "" for none
	tokenFrom string // where it was found, for messages
	tokenErr  error  // why the token cannot be read; reported when the network is used

	client *http.Client
	// a connection without data for so long is given up
	stall    time.Duration
	pause    func(context.Context, time.Duration) error // waits between attempts
	freeDisk func(dir string) (bytes int64, ok bool)
	symlink  func(root *os.Root, target, link string) error
}

// New reads what Python's huggingface_hub reads: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME,
// HF_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_DISABLE_SYMLINKS, HF_HUB_OFFLINE, and the
// older names HUGGINGFACE_HUB_CACHE, HUGGING_FACE_HUB_TOKEN and TRANSFORMERS_OFFLINE. An empty variable
// counts as unset. The proxy variables count too: see [proxies].
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
		return nil, fmt.Errorf("there is no directory for downloaded models: %w; set HF_HOME to one", err)
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
		client:   newClient(proxies(getenv)),
		stall:    30 * time.Second,
		pause:    pause,
		freeDisk: machine.FreeDisk,
		symlink:  (*os.Root).Symlink,
	}
	if yes(getenv("HF_HUB_DISABLE_SYMLINKS")) {
		h.symlink = func(*os.Root, string, string) error { return errors.ErrUnsupported }
	}
	if cache := first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"); cache != "" {
		h.Cache = expand(cache)
	}
	if h.Cache, err = filepath.Abs(h.Cache); err != nil {
		return nil, fmt.Errorf("the cache for downloaded models: %w", err)
	}
	if endpoint := getenv("HF_ENDPOINT"); endpoint != "" {
		if err := h.setEndpoint(endpoint); err != nil {
			return nil, err
		}
	}
	h.findToken(getenv, expand, home)
	return h, nil
}

// setEndpoint takes the name and the password out of the address: messages show the address, and only the hub
// gets the other two.
func (h *Hub) setEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" ||
		u.Fragment != "" {
		shown := fmt.Sprintf("%q", show.Clip(endpoint, maxQuoted))
		if strings.Contains(endpoint, "@") { // the part before it may be a password
			shown = fmt.Sprintf("%q (what comes before the @ is not shown)",
				show.Clip(endpoint[strings.LastIndex(endpoint, "@"):], maxQuoted))
		}
		return fmt.Errorf("HF_ENDPOINT is %s, not an address such as https://huggingface.co", shown)
	}
	h.login, u.User = u.User, nil
	h.Endpoint = strings.TrimRight(u.String(), "/")
	return nil
}

// Free returns the free bytes on the disk of the cache, and whether they are known. The cache need not exist
// yet.
func (h *Hub) Free() (bytes int64, known bool) {
	dir := h.Cache
	for !isDirectory(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return h.freeDisk(dir)
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// yes reports whether a variable's value means yes to huggingface_hub.
func yes(value string) bool {
	switch strings.ToUpper(value) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// maxToken bounds the file of a token, in bytes. A token has 37.
const maxToken = 4096

// findToken looks where huggingface_hub looks. Public models need no token.
func (h *Hub) findToken(getenv, expand func(string) string, home string) {
	if yes(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return
	}
	set := func(token, from string) (found bool) {
		token = strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(token))
		h.token, h.tokenFrom = token, from
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			h.token, h.tokenErr = "", fmt.Errorf("the Hugging Face token in %s has characters that a "+
				"token cannot have", from)
		}
		return token != ""
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if set(getenv(name), name) {
			return
		}
	}
	path := getenv("HF_TOKEN_PATH")
	if path == "" {
		path = filepath.Join(home, "token")
	}
	path = expand(path)
	if path == os.DevNull { // a user's way to have no token
		return
	}
	token, err := regular.Read(path, maxToken)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		h.tokenErr = fmt.Errorf("the Hugging Face token in %s %w", path, err)
	default:
		set(string(token), path)
	}
}

// newClient returns an HTTP client that leaves redirects to the caller and opens a connection for each file.
// Over HTTP/2 all files would share one connection, whose window would limit the speed.
func newClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = proxy
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

// host is the hub's name for messages.
func (h *Hub) host() string {
	if u, err := url.Parse(h.Endpoint); err == nil {
		return u.Host
	}
	return h.Endpoint
}

var namePart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)

// IsName reports whether text has the form of a model's name on the hub: org/name.
func IsName(text string) bool {
	org, name, ok := strings.Cut(text, "/")
	return ok && namePart.MatchString(org) && namePart.MatchString(name) &&
		!strings.Contains(text, "--") && !strings.Contains(text, "..") && !strings.HasSuffix(name, ".git")
}

// DefaultRevision is the branch that is used if no revision is given.
const DefaultRevision = "main"

var (
	// a revision becomes a path below refs
	revisionPart = regexp.MustCompile(`^[A-Za-z0-9_+=@%,-]([A-Za-z0-9._+=@%,-]*)$`)
	commitHash   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// check refuses malformed names and revisions before they become paths or addresses.
func check(name, revision string) error {
	if !IsName(name) {
		return fmt.Errorf("%q is not the name of a model; those look like microsoft/Phi-3-mini-4k-instruct",
			show.Clip(name, maxQuoted))
	}
	return checkRevision(revision)
}

func checkRevision(revision string) error {
	for _, part := range strings.Split(revision, "/") {
		if !revisionPart.MatchString(part) || strings.Contains(part, "..") || len(revision) > 200 {
			return fmt.Errorf("%q is not a revision: a branch such as main, a tag or a commit",
				show.Clip(revision, maxQuoted))
		}
	}
	return nil
}

// maxQuoted is the most of a text that a message quotes, in bytes. It keeps a long text from a server out of
// the message.
const maxQuoted = 200
