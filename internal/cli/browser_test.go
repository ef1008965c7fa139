package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each system has its command for the browser, and $BROWSER comes before it.
func TestBrowserCommands(t *testing.T) {
	const address = "http://127.0.0.1:1/#prompt=%22a%22&chat=true"
	for _, test := range []struct {
		system string
		env    map[string]string
		want   [][]string
	}{
		{"darwin", nil, [][]string{{"open", address}}},
		{"windows", nil, [][]string{{"rundll32", "url.dll,FileProtocolHandler", address}}},
		{"linux", nil, nil},
		{"linux", map[string]string{"DISPLAY": ":0"}, [][]string{{"xdg-open", address}}},
		{"freebsd", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, [][]string{{"xdg-open", address}}},
		{
			"linux",
			map[string]string{"WSL_DISTRO_NAME": "Debian", "DISPLAY": ":0"},
			[][]string{{"wslview", address}, {"xdg-open", address}},
		},
		{"darwin", map[string]string{"BROWSER": "firefox"}, [][]string{{"firefox", address}}},
		{
			"linux",
			map[string]string{"BROWSER": "a -b : :c --url=%s -d", "DISPLAY": ":0"},
			[][]string{{"a", "-b", address}, {"c", "--url=" + address, "-d"}},
		},
	} {
		env := func(name string) string { return test.env[name] }
		require.Equal(t, test.want, browserCommands(test.system, env, address), test)
	}
}

// The fragment is what URLSearchParams and JSON.stringify of a browser make.
func TestFragment(t *testing.T) {
	for _, test := range []struct {
		prompt string
		chat   bool
		want   string
	}{
		{"", false, ""},
		{"", true, "#chat=true"},
		{"The capital is", false, "#prompt=%22The+capital+is%22"},
		{
			"<b>&amp;\"\\\n\t\x01", true,
			"#prompt=%22%3Cb%3E%26amp%3B%5C%22%5C%5C%5Cn%5Ct%5Cu0001%22&chat=true",
		},
		{"~*-._é😀", false, "#prompt=%22%7E*-._%C3%A9%F0%9F%98%80%22"},
	} {
		require.Equal(t, test.want, fragment(test.prompt, test.chat))
	}
}
