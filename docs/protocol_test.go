package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/openai"
)

// TestProtocol: protocol.md has a row for every parameter of an endpoint, which says how it is handled.
func TestProtocol(t *testing.T) {
	page, err := os.ReadFile("protocol.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|.*\\| (honoured|accepted|refused)[^|]* \\|$")
	for heading, endpoint := range map[string]openai.Endpoint{
		"POST /v1/chat/completions": openai.Chat, "POST /v1/completions": openai.Completion,
	} {
		_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		written, program := map[string]openai.Handling{}, map[string]openai.Handling{}
		for _, cells := range row.FindAllStringSubmatch(section, -1) {
			require.NotContains(t, written, cells[1], heading)
			written[cells[1]] = openai.Handling(cells[2])
		}
		for _, p := range openai.Parameters() {
			if p.Endpoint&endpoint != 0 {
				program[p.Name] = p.Handling
			}
		}
		require.NotEmpty(t, program)
		require.Equal(t, program, written, heading)
	}
}

// TestServeFlags: serve.md has the flags that only a server has.
func TestServeFlags(t *testing.T) {
	help, err := os.ReadFile("commands/phi3_serve.md")
	require.NoError(t, err)
	page, err := os.ReadFile("serve.md")
	require.NoError(t, err)
	_, server, _ := strings.Cut(string(help), "\nServer:\n")
	server, _, _ = strings.Cut(server, "\n\n")
	flags := regexp.MustCompile(`(?m)^ +(--[a-z-]+)`).FindAllStringSubmatch(server, -1)
	require.NotEmpty(t, flags)
	for _, flag := range flags {
		require.Contains(t, string(page), "`"+flag[1]+"`")
	}
}
