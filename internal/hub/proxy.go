package hub

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"phi3/internal/show"
)

// proxies reads the environment as huggingface_hub does through Python's requests or httpx: HTTPS_PROXY or
// HTTP_PROXY for addresses of that kind, ALL_PROXY for both, and NO_PROXY for hosts without a proxy. A name
// in small letters comes before the name in capitals. This machine (localhost, 127.0.0.1) is reached without
// a proxy, as by every Go program. Go's own http.ProxyFromEnvironment does not know ALL_PROXY.
func proxies(getenv func(string) string) func(*http.Request) (*url.URL, error) {
	either := func(name string) (value, from string) {
		for _, name := range []string{strings.ToLower(name), name} {
			if value := strings.TrimSpace(getenv(name)); value != "" {
				return value, name
			}
		}
		return "", ""
	}
	without, _ := either("NO_PROXY")
	return func(r *http.Request) (*url.URL, error) {
		proxy, from := either(strings.ToUpper(r.URL.Scheme) + "_PROXY")
		if proxy == "" {
			proxy, from = either("ALL_PROXY")
		}
		if proxy == "" || bypass(without, r.URL.Hostname(), r.URL.Port()) {
			return nil, nil //nolint:nilnil // means no proxy to http.Transport
		}
		return parseProxy(proxy, from)
	}
}

// parseProxy reads a proxy's address. Errors do not show it, because it may contain a password.
func parseProxy(proxy, from string) (*url.URL, error) {
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Hostname() == "" {
		return nil, &proxyError{fmt.Errorf("%s is not the address of a proxy; those look like "+
			"http://proxy.example:3128 or socks5://localhost:1080", from)}
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, &proxyError{fmt.Errorf("%s names a proxy of the kind %q, which phi3 does not support; "+
		"http, https, socks5 and socks5h are", from, show.Clip(u.Scheme, maxQuoted))}
}

// proxyError is a wrong proxy variable, for which a later attempt is of no use.
type proxyError struct{ error }

// bypass reports whether a list such as "localhost,.example.com,10.0.0.0/8,host:8080" contains a host. "*"
// contains every host.
func bypass(list, host, port string) bool {
	host = strings.ToLower(host)
	ip, err := netip.ParseAddr(host)
	isIP := err == nil
	if host == "localhost" || isIP && ip.IsLoopback() {
		return true
	}
	for entry := range strings.SplitSeq(strings.ToLower(list), ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" {
			return true
		}
		if isIP {
			if network, err := netip.ParsePrefix(entry); err == nil && network.Contains(ip) {
				return true
			}
		}
		if name, wanted, err := net.SplitHostPort(entry); err == nil {
			if wanted != port {
				continue
			}
			entry = name
		}
		entry = strings.Trim(strings.TrimPrefix(entry, "*"), "[]")
		if other, err := netip.ParseAddr(entry); err == nil && isIP && other == ip {
			return true
		}
		entry = strings.TrimPrefix(entry, ".")
		if entry != "" && (host == entry || strings.HasSuffix(host, "."+entry)) {
			return true
		}
	}
	return false
}
