package hub

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"phi3/internal/show"
)

// answer is the response at the end of a chain of redirects, with what the hub's own responses in the chain
// said about the file.
type answer struct {
	*http.Response
	etag   string // X-Linked-Etag or ETag of the hub: the file's hash. A CDN's ETag is something else
	size   string // X-Linked-Size
	commit string // X-Repo-Commit
	hub    bool   // the response is from the hub and not a CDN
}

// isPage reports whether the answer is a web page. The hub sends data; a page comes from a network's login or
// a proxy.
func (a *answer) isPage() bool {
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
}

var errPage = errors.New("answers with a web page: is there a login or a proxy in between?")

const maxRedirects = 10

// get sends a GET and follows redirects. Go's client would send the token to subdomains, and would drop the
// response that redirects to the CDN, whose headers describe the file.
func (h *Hub) get(ctx context.Context, address string, header http.Header) (*answer, error) {
	return h.send(ctx, http.MethodGet, address, header)
}

// send sends a GET or a HEAD. A HEAD does not follow a redirect away from the hub: the hub's headers are all
// that it asks for, and a signed address may be for a GET only.
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
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
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
