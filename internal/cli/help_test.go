package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
	"phi3/internal/usage"
)

// Every page of help fits a terminal, and has each flag under a heading with a word for its value.
func TestHelp(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		seen++
		text := usage.Page(cmd)
		for _, line := range strings.Split(text, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), usage.Width,
				"%s --help: break this line by hand:\n%s", cmd.CommandPath(), line)
			require.NotContains(t, line, "\t")
			require.NotContains(t, line, "`")
		}
		require.NotContains(t, text, "default -")
		require.Empty(t, usage.Unplaced(cmd))
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&streams{}))
	require.Greater(t, seen, 15)
}

func TestHelpText(t *testing.T) {
	root := newRoot(&streams{})
	cmd := func(name string) string {
		c, _, err := root.Find(strings.Fields(name))
		require.NoError(t, err)
		return usage.Page(c)
	}
	help := cmd("generate")
	require.Contains(t, help,
		"\nSampling:\n      --do-sample             draw each token at random, by its")
	require.Contains(t, help, "\n  -c, --ctx-size TOKENS       longest sequence in tokens (default: the "+
		"model's\n                              own limit,")
	require.Contains(t, help, "--logprobs N ")
	require.Contains(t, help, "draw from the K most probable tokens; 0 draws from\n                     "+
		"         all tokens (default 50)")
	require.Contains(t, cmd("classify"), "Prompt:\n      --text TEXT")
	require.Less(t, strings.Index(cmd("classify"), "--jsonl FILE"), strings.Index(cmd("classify"), "Model:"),
		"an input here")
	require.Less(t, strings.Index(help, "Output:"), strings.Index(help, "--jsonl"), "an output here")
	require.Contains(t, cmd(""), "\n  completion    Complete commands")
	require.Contains(t, cmd("models"), "Usage:\n  phi3 models [flags]\n  phi3 models COMMAND\n")
}

// cobra's hidden command __complete prints what it offers to the shell and, after a colon, a code for what
// else the shell should do.
func TestCompletion(t *testing.T) {
	cache, dir := t.TempDir(), t.TempDir()
	for _, name := range []string{
		"models--org--phi/snapshots/0123456789012345678901234567890123456789",
		"models--org--phi/refs",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(cache, name), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(cache, "models--org--phi/refs/main"),
		[]byte("0123456789012345678901234567890123456789"), 0o644))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "org", "local"), demo.FS()))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "org", "mini.gguf"), nil, 0o644))
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_HOME", cache)
	t.Chdir(dir)

	for _, c := range []struct {
		args  string // the last one is being typed
		want  []string
		shell string
	}{
		{"generate --device ", []string{"auto", "cpu", "cuda", "cuda:1"}, ":36"},
		{"generate --device c", []string{"auto", "cpu", "cuda", "cuda:1"}, ":36"},
		{"generate --dtype ", []string{"bf16", "f32"}, ":36"},
		{"bench -o ", []string{"md", "csv", "json"}, ":36"},
		{"generate --model o", []string{"org/phi", "org/", "other/"}, ":6"},
		{"generate --model org/", []string{"org/phi", "org/local/", "org/mini.gguf"}, ":6"},
		{"generate --model ot", []string{"gguf"}, ":8"}, // the shell offers directories and such files
		{"info --model org --gguf ", []string{"mini.gguf"}, ":4"},
		{"generate --prompt ", nil, ":4"},
		{"generate --file ", nil, ":0"},
		{"batch ", nil, ":0"},
		{"batch requests.jsonl ", nil, ":4"},
		{"batch requests.jsonl --out ", nil, ":0"},
		{"classify --jsonl ", nil, ":0"},
		{"generate --top-k ", nil, ":4"},
		{"next-token --svg ", nil, ":0"},
		{"next-token --attention ", []string{"1", "2", "3", "4"}, ":36"},
		{"next-token --attention 3:", []string{"3:1", "3:2"}, ":36"},
		{"next-token --model org/local --attention 4", []string{"4"}, ":36"},
		{"next-token --model nowhere --attention ", nil, ":4"},
		{"generate --sys", []string{"--system"}, ":4"},
		{"generate ", nil, ":4"},
		{"comp", []string{"completion"}, ":4"},
		{"completion ", []string{"bash", "fish", "powershell", "zsh"}, ":4"},
		{"models rm o", []string{"org/phi"}, ":0"},
	} {
		var out, stderr bytes.Buffer
		require.Zero(t, Main(append([]string{"__complete"}, strings.Split(c.args, " ")...),
			strings.NewReader(""), &out, &stderr), c.args)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		var got []string
		for _, line := range lines[:len(lines)-1] {
			value, _, _ := strings.Cut(line, "\t")
			got = append(got, value)
		}
		require.Equal(t, c.want, got, c.args)
		require.Equal(t, c.shell, lines[len(lines)-1], c.args)
	}
}
