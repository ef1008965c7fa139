package serve

import (
	"context"
	"embed"
	"net/http"
	"path"

	"phi3/internal/explore"
)

// The page of phi3 explore: what Vite makes of the folder web. make page writes it; CI makes it again and
// compares.
//
//go:embed page
var pageFiles embed.FS

// pagePolicy is the Content-Security-Policy of the page. It lets the page load and call only this server.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageTypes are the types of the page's files. The system's table ([mime.TypeByExtension]) may say others,
// and no browser runs a module of the type text/plain.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// pageFile returns a file of the page. A file has only one path: ReadFile knows no "..", "//" or "/" at the
// end.
func pageFile(url string) (name string, data []byte, err error) {
	if url == "/" {
		url = "/index.html"
	}
	name = "page" + url
	data, err = pageFiles.ReadFile(name)
	return name, data, err
}

// isPage reports whether the path of a URL is that of a file of the page.
func isPage(url string) bool {
	_, _, err := pageFile(url)
	return err == nil
}

// page answers with a file of the page.
func (s *Server) page(x *exchange, _ *ready) error {
	name, data, err := pageFile(x.r.URL.Path)
	if err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Type", pageTypes[path.Ext(name)])
	return s.send(x, http.StatusOK, data)
}

// explores makes the route of a view that is computed at once.
func explores(
	compute func(*explore.Explorer, context.Context, []byte) (any, error),
) func(*Server, *exchange, *ready) error {
	return withBody(func(s *Server, x *exchange, m *ready, body []byte) error {
		value, err := compute(m.explorer, x.r.Context(), body)
		if err != nil {
			return err
		}
		return s.write(x, http.StatusOK, value)
	})
}

// explore answers with what the page must know about the model.
func (s *Server) explore(x *exchange, m *ready) error {
	return s.write(x, http.StatusOK, m.explorer.Model())
}

// streams makes the route of a view that comes as server-sent events.
func streams(
	compute func(*explore.Explorer, context.Context, []byte, explore.Events) error,
) func(*Server, *exchange, *ready) error {
	return withBody(func(s *Server, x *exchange, m *ready, body []byte) error {
		ctx, cancel := context.WithCancel(x.r.Context())
		defer cancel()
		e := &events{Server: s, x: x, cancel: cancel}
		e.begin()
		defer e.end()
		err := compute(m.explorer, ctx, body, func(event any) error {
			data, err := encode(event)
			if err != nil {
				return err
			}
			return e.send("data: ", data)
		})
		if err != nil {
			return e.fail(err)
		}
		return nil
	})
}
