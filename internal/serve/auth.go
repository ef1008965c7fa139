package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"slices"
	"strings"

	"phi3/internal/openai"
)

const keySize = sha256.Size

func hashKey(key string) [keySize]byte { return sha256.Sum256([]byte(key)) }

// authorize checks the bearer token of a request. It compares hashes in constant time, so the time says
// nothing about the key or its length.
func (s *Server) authorize(r *http.Request) error {
	if s.key == nil {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := hashKey(strings.TrimSpace(token))
	if subtle.ConstantTimeCompare(given[:], s.key[:]) == 1 && strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	message := "The API key is wrong."
	if token == "" {
		message = "This server needs an API key: send the header Authorization: Bearer KEY."
	}
	return &openai.Error{
		Status: http.StatusUnauthorized, Message: message,
		Type: "invalid_request_error", Code: new("invalid_api_key"),
	}
}

// checkHost protects a server that only programs on this machine can reach, and that needs no key, from web
// pages. A page whose name resolves to 127.0.0.1 after it was loaded (DNS rebinding) may send requests and
// read the answers, but its name is in the Host header.
func (s *Server) checkHost(r *http.Request) error {
	if !s.local.Load() {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		net.ParseIP(host) != nil {
		return nil
	}
	return &openai.Error{
		Status: http.StatusForbidden, Type: "invalid_request_error",
		Message: "Without an API key, this server answers only requests whose Host is localhost or an IP " +
			"address. Set a key, or let the proxy send another Host.",
	}
}

// allowOrigin sets the CORS headers of an answer, and reports whether it answers a browser's question whether
// a page may call the server.
func (s *Server) allowOrigin(h http.Header, r *http.Request) (preflight bool) {
	if len(s.Origins) == 0 {
		return false
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(s.Origins, origin) && !slices.Contains(s.Origins, "*") {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Set("Access-Control-Max-Age", "600")
	return true
}
