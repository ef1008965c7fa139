package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"phi3/internal/show"
)

// networkError is a failure of the network, which may pass: there is no connection, or it ended or is silent.
type networkError struct{ error }

func (e *networkError) Unwrap() error { return e.error }

// statusError is an HTTP status that ends a request.
type statusError struct {
	status    int
	code      string        // the hub's X-Error-Code, such as GatedRepo
	message   string        // its X-Error-Message
	wait      time.Duration // how long the server asks to wait; 0: it does not say
	host      string        // the one that answered
	hub       bool          // the host is the hub and not a CDN
	withToken bool          // a token was sent
	page      bool          // the answer is a web page, and not from a hub
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

// passing reports whether a later attempt may succeed.
func (e *statusError) passing() bool {
	switch e.status {
	case http.StatusForbidden:
		return !e.hub // the hub's signed addresses expire
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
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

// classify turns an error of the HTTP client into a networkError if a later attempt may succeed. It leaves a
// wrong certificate and a wrong proxy variable as they are.
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
	// its text has the whole address, which for a CDN includes a secret signature
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return &networkError{plain(err)}
}

// plain says in a few words why a connection failed. Go's own words name system calls.
func plain(err error) error {
	var op *net.OpError
	var name *net.DNSError
	var timeout net.Error
	var words string
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		words = "the name " + name.Name + " is not known"
	case errors.As(err, &name):
		words = "the name " + name.Name + " cannot be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		words = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		words = "connection reset"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		words = "network unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		words = "connection ended early"
	case errors.As(err, &timeout) && timeout.Timeout():
		words = "no answer in time"
	default:
		return err
	}
	if errors.As(err, &op) && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")) {
		words = "the proxy: " + words
	}
	return errors.New(words)
}

// explain adds to an error what the user can do about it.
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
		return fmt.Errorf("%s is disabled by Hugging Face, and nobody can download it (%w)", p.name,
			err)
	case strings.Contains(status.message, "awaiting a review"):
		return fmt.Errorf("your request for access to %s waits for review by its authors; see %s (%w)",
			p.name, page, err)
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
	case status.code == "RepoNotFound", status.status == http.StatusUnauthorized:
		// without a token the hub does not say which of the two
		return fmt.Errorf("%s has no model %s, or it is private: check the name, or %s (%w)", h.host(),
			p.name, login, err)
	case status.status == http.StatusNotFound:
		return fmt.Errorf("%s has no model %s, or the model has no revision %q (%w)", h.host(), p.name,
			p.revision, err)
	}
	return fmt.Errorf("%s answers %w", h.host(), err)
}
