package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

// An error quotes little of a file, and no control characters.
func TestErrorsArePrintable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	for file, text := range map[string]string{
		"config.json": `{"architectures": ["\u001b[2Jcleared\u0007` + strings.Repeat("x", 100_000) +
			`"]}`,
		"tokenizer_config.json": `{"chat_template": "{{ raise_exception('\u001b[2Jcleared\u0007` +
			strings.Repeat("x", 10_000) + `') }}"}`,
		"tokenizer.json": `{"\u001b[2Jcleared` + strings.Repeat("x", 100_000) +
			`": 1, "\u001b[2Jcleared` + strings.Repeat("x", 100_000) + `": 1}`,
	} {
		good, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
		var stdout, stderr strings.Builder
		code := Main([]string{"generate", "--model", dir, "--chat", "--prompt", "Hi", "--device", "cpu"},
			strings.NewReader(""), &stdout, &stderr)
		require.Equal(t, exitFailure, code, file)
		require.Contains(t, stderr.String(), "[2Jcleared", file)
		require.NotContains(t, stderr.String(), "\x1b", file)
		require.NotContains(t, stderr.String(), "\x07", file)
		require.Less(t, stderr.Len(), 2500, file)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), good, 0o600))
	}
}

// Commands print values only with package show.
func TestOutputGoesThroughShow(t *testing.T) {
	var files []string
	rooms := "cli bench classify device doctor info nexttoken perplexity progress talk usage verify"
	for _, room := range strings.Fields(rooms) {
		found, err := filepath.Glob(filepath.Join("..", room, "*.go"))
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for n, line := range strings.Split(string(source), "\n") {
			require.NotRegexp(t, `\bfmt\.(Fp|P)rint`, line, "%s:%d: use show.Fprintf or io.WriteString", file,
				n+1)
		}
	}
}
