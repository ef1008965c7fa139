package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"phi3/internal/show"
)

// networkError is a failure on the way, which may pass: no connection, a connection cut or silent, a server
// that is overloaded.
type networkError struct{ error }

func (e *networkError) Unwrap() error { return e.error }

// statusError is an HTTP status that ends a request.
type statusError struct {
	status    int
	code      string        // the hub's X-Error-Code, such as GatedRepo
	message   string        // its X-Error-Message
	wait      time.Duration // how long the server asks to wait; 0: it does not say
	host      string        // that answered
	hub       bool          // it is the hub and not a CDN
	withToken bool          // a token was sent
	page      bool          // the answer is a web page, and has no word of the hub's
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	if e.page {
		text += ", with a web page: is there a login or a proxy in between?"
	}
	return text
}

// passing tells whether a later attempt may go better.
func (e *statusError) passing() bool {
	switch e.status {
	case http.StatusForbidden:
		return !e.hub // the hub gave an address that is good for a short time
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// answer is the response at the end of a chain of redirects, with what the hub's own responses on the way
// said of the file.
type answer struct {
	*http.Response
	etag   string // X-Linked-Etag or ETag of the hub: the file's hash. What a CDN calls ETag is another thing
	size   string // X-Linked-Size
	commit string // X-Repo-Commit
	hub    bool   // the hub itself gave the answer
}

// isPage tells whether the answer is a web page: the hub sends data, and who sends pages is a login of the
// network or a proxy.
func (a *answer) isPage() bool {
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
}

var errPage = errors.New("answers with a web page: is there a login or a proxy in between?")

const maxRedirects = 10

// get sends a GET. It follows redirects itself, for two reasons: the token goes to the hub and to nobody
// else, where Go would send it on to every subdomain; and the hub's headers on the file are in the answer
// that redirects to the CDN.
func (h *Hub) get(ctx context.Context, address string, header http.Header) (*answer, error) {
	return h.send(ctx, http.MethodGet, address, header)
}

// send sends a GET or a HEAD. A HEAD does not follow a redirect away from the hub: what it asks for is what
// the hub says of a file, and an address that the hub has signed may be for a GET alone.
func (h *Hub) send(ctx context.Context, method, address string, header http.Header) (*answer, error) {
	home, err := url.Parse(h.Endpoint)
	if err != nil {
		return nil, err
	}
	if h.tokenErr != nil {
		return nil, h.tokenErr
	}
	isHome := func(u *url.URL) bool { return u.Scheme == home.Scheme && u.Host == home.Host }
	a := &answer{}
	for range maxRedirects {
		request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
		if err != nil {
			return nil, err
		}
		request.Header = header.Clone()
		request.Header.Set("User-Agent", "phi3")
		a.hub = isHome(request.URL)
		switch {
		case !a.hub:
		case h.login != nil: // as Python's libraries do, whatever the token
			password, _ := h.login.Password()
			request.SetBasicAuth(h.login.Username(), password)
		case h.token != "":
			request.Header.Set("Authorization", "Bearer "+h.token)
		}
		response, err := h.client.Do(request)
		if err != nil {
			return nil, classify(ctx, err)
		}
		a.Response = response
		if a.hub {
			a.note(response.Header)
		}
		switch response.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return a, nil
		}
		_ = response.Body.Close()
		next, err := response.Location()
		if err != nil {
			return nil, fmt.Errorf("%s redirects to nowhere", request.URL.Host)
		}
		if next.Scheme != "https" && (next.Scheme != "http" || request.URL.Scheme == "https") {
			return nil, fmt.Errorf("%s redirects to an address without encryption: %s", request.URL.Host,
				show.Clip(next.Redacted(), maxQuoted))
		}
		if method == http.MethodHead && !isHome(next) {
			return a, nil
		}
		address = next.String()
	}
	return nil, fmt.Errorf("%s redirects more than %d times", home.Host, maxRedirects)
}

func (a *answer) note(header http.Header) {
	for _, name := range []string{"ETag", "X-Linked-Etag"} {
		if v := header.Get(name); v != "" {
			a.etag = strings.Trim(strings.TrimLeft(v, "W/"), `"`)
		}
	}
	if v := header.Get("X-Linked-Size"); v != "" {
		a.size = v
	}
	if v := header.Get("X-Repo-Commit"); v != "" {
		a.commit = v
	}
}

// classify tells what may pass from what will not. A certificate that does not hold today will not hold in a
// second.
func classify(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	var proxy *proxyError
	if errors.As(err, &proxy) {
		return proxy
	}
	if errors.As(err, &certificate) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// its text repeats the whole address, of a CDN with a signature that is nobody's business
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return &networkError{err}
}

func (h *Hub) statusError(a *answer) *statusError {
	return &statusError{
		status:    a.StatusCode,
		code:      a.Header.Get("X-Error-Code"),
		message:   show.Message(a.Header.Get("X-Error-Message")),
		wait:      waitAsked(a.Header, time.Now()),
		host:      a.Request.URL.Host,
		hub:       a.hub,
		withToken: a.hub && h.token != "" && h.login == nil,
		page: a.isPage() &&
			(a.StatusCode < 500 || a.StatusCode == http.StatusNetworkAuthenticationRequired) &&
			a.Header.Get("X-Error-Code") == "",
	}
}

var rateLimitReset = regexp.MustCompile(`;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})\b`)

// waitAsked is how long the server asks to wait: Retry-After in seconds or as a date, or the hub's RateLimit:
// "api";r=0;t=55.
func waitAsked(header http.Header, now time.Time) time.Duration {
	after := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, at.Sub(now))
	}
	if m := rateLimitReset.FindStringSubmatch(header.Get("RateLimit")); m != nil {
		seconds, _ := strconv.Atoi(m[1])
		return time.Duration(seconds+1) * time.Second
	}
	return 0
}

const (
	firstPause  = time.Second
	longPause   = 30 * time.Second
	longestWait = 10 * time.Minute // that a server may ask for
)

// retry calls attempt until it succeeds, or fails for a reason that will not pass, or has failed tries times
// in a row. An attempt that got somewhere starts the count anew. what is being got, for the notes.
func (p *pull) retry(
	ctx context.Context, what string, tries int, attempt func() (progress bool, err error),
) error {
	for failed := 1; ; failed++ {
		progress, err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var status *statusError
		var network *networkError
		switch {
		case errors.As(err, &status):
			if !status.passing() {
				return err
			}
		case !errors.As(err, &network):
			return err
		}
		if progress {
			failed = 1
		}
		if failed >= tries {
			return &unreachable{err}
		}
		wait := min(firstPause<<(failed-1), longPause)
		wait += time.Duration(rand.Int64N(int64(wait) / 4)) // so that many clients do not come back at once
		if status != nil && status.wait > 0 {
			if status.wait > longestWait {
				return &unreachable{fmt.Errorf("%w; the server asks to come back in %s", err, status.wait)}
			}
			wait = status.wait
		}
		p.note("%s: %v; trying again in %s", what, err, wait.Round(100*time.Millisecond))
		if err := p.hub.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// unreachable is the end of all attempts.
type unreachable struct{ error }

func (e *unreachable) Unwrap() error { return e.error }

// explain turns an error of the hub into what a person can do about it.
func (p *pull) explain(err error) error {
	h := p.hub
	var network *networkError
	if errors.As(err, &network) {
		return fmt.Errorf("connection to %s: %w", h.host(), err)
	}
	var status *statusError
	if !errors.As(err, &status) {
		return err
	}
	if !status.hub {
		return fmt.Errorf("%s answers %w", status.host, err)
	}
	page := h.Endpoint + "/" + p.name
	login := "set HF_TOKEN to a token from " + h.Endpoint + "/settings/tokens"
	if status.withToken {
		login = "the token in " + h.tokenFrom + " belongs to an account that may not read it"
	}
	switch {
	case h.login != nil && status.status == http.StatusUnauthorized && status.code == "":
		return fmt.Errorf("%s does not accept the name and the password in HF_ENDPOINT (%w)", h.host(), err)
	case status.page:
		return fmt.Errorf("%s answers %w", h.host(), err)
	case status.code == "DisabledRepo", strings.HasPrefix(status.message,
		"Access to this resource is disabled"):
		return fmt.Errorf("%s is disabled by Hugging Face: nobody can download the repository (%w)", p.name,
			err)
	case strings.Contains(status.message, "awaiting a review"):
		return fmt.Errorf("your request for access to %s waits for review by its authors; %s shows how it "+
			"stands (%w)", p.name, page, err)
	case strings.Contains(status.message, "has been rejected"):
		return fmt.Errorf("your request for access to %s was rejected by its authors (%w)", p.name, err)
	case status.code == "GatedRepo" && status.withToken, status.status == http.StatusForbidden &&
		status.withToken:
		return fmt.Errorf("%s is gated: accept its terms at %s, with the account whose token is in %s (%w)",
			p.name, page, h.tokenFrom, err)
	case status.code == "GatedRepo", status.status == http.StatusForbidden:
		return fmt.Errorf("%s is gated: accept its terms at %s, then %s (%w)", p.name, page, login, err)
	case status.withToken && strings.HasPrefix(status.message, "Invalid credentials"):
		return fmt.Errorf("%s does not accept the token in %s: make a new one at %s/settings/tokens (%w)",
			h.host(), h.tokenFrom, h.Endpoint, err)
	case status.code == "RevisionNotFound":
		return fmt.Errorf("%s has no revision %q (%w)", p.name, p.revision, err)
	case status.code == "RepoNotFound", status.status == http.StatusUnauthorized: // the hub does not tell strangers which
		return fmt.Errorf("%s has no model %s, or it is private: check the name, or %s (%w)", h.host(),
			p.name, login, err)
	case status.status == http.StatusNotFound:
		return fmt.Errorf("%s has no model %s, or the model has no revision %q (%w)", h.host(), p.name,
			p.revision, err)
	}
	return fmt.Errorf("%s answers %w", h.host(), err)
}
