package hub

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Which proxy, as Python's requests and httpx choose it, but for this machine and parts of names.
func TestProxies(t *testing.T) {
	for _, test := range []struct {
		env     map[string]string
		address string
		want    string // "": none
	}{
		{nil, "https://huggingface.co", ""},
		{map[string]string{"HTTPS_PROXY": "http://p:1"}, "https://huggingface.co", "http://p:1"},
		{map[string]string{"HTTPS_PROXY": "http://p:1"}, "http://huggingface.co", ""},
		{map[string]string{"HTTP_PROXY": "http://p:1"}, "http://huggingface.co", "http://p:1"},
		{map[string]string{"ALL_PROXY": "http://p:1"}, "https://huggingface.co", "http://p:1"},
		{map[string]string{"all_proxy": "socks5://p:1"}, "http://huggingface.co", "socks5://p:1"},
		{map[string]string{"all_proxy": "socks5h://p:1"}, "http://huggingface.co", "socks5h://p:1"},
		{
			map[string]string{"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://p:1"},
			"https://huggingface.co", "http://p:1",
		},
		{
			map[string]string{"HTTPS_PROXY": "http://A:1", "https_proxy": "http://a:1"},
			"https://huggingface.co", "http://a:1",
		},
		{map[string]string{"ALL_PROXY": "p:3128"}, "https://huggingface.co", "http://p:3128"},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "NO_PROXY": "a.b, huggingface.co"},
			"https://huggingface.co", "",
		},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "huggingface.co"},
			"https://cdn.huggingface.co", "",
		},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": ".huggingface.co"},
			"https://HUGGINGFACE.co", "",
		},
		{map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "*"}, "https://huggingface.co", ""},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "face.co,huggingface.co:80"},
			"https://huggingface.co:443", "http://p:1",
		},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "huggingface.co:8443"},
			"https://huggingface.co:8443", "",
		},
		{map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3:80", ""},
		{
			map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"},
			"http://11.1.2.3:80",
			"http://p:1",
		},
		{map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "10.1.2.3"}, "http://10.1.2.3", ""},
		{map[string]string{"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:80", ""},
		{map[string]string{"ALL_PROXY": "http://p:1"}, "http://localhost", ""},
		{map[string]string{"ALL_PROXY": "http://p:1"}, "http://[::1]:80", ""},
	} {
		r, err := http.NewRequest(http.MethodGet, test.address, http.NoBody)
		require.NoError(t, err)
		proxy, err := proxies(func(name string) string { return test.env[name] })(r)
		require.NoError(t, err)
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		require.Equal(t, test.want, got, "%v %s", test.env, test.address)
	}
	for value, want := range map[string]string{
		"socks4://p:1": `ALL_PROXY names a proxy of the kind "socks4", which phi3 does not support; ` +
			`http, https, socks5 and socks5h are`,
		"http://":           "ALL_PROXY is not the address of a proxy",
		"http://me:a b@p:1": "ALL_PROXY is not the address of a proxy",
	} {
		r, err := http.NewRequest(http.MethodGet, "https://huggingface.co", http.NoBody)
		require.NoError(t, err)
		_, err = proxies(func(name string) string { return map[string]string{"ALL_PROXY": value}[name] })(r)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "a b")
	}
}
