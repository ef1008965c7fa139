package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/show/showtest"
)

// onTerminal runs phi3 with a terminal as stderr, and returns all that it wrote there.
func onTerminal(t *testing.T, env string, args ...string) string {
	t.Helper()
	program, screen, err := showtest.NewTerminal()
	require.NoError(t, err)
	defer func() { _ = screen.Close() }()
	cmd := exec.Command("phi3", args...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = program
	require.NoError(t, cmd.Start())
	require.NoError(t, program.Close())
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(screen) // the end is an error: the other side is closed
	require.NoError(t, cmd.Wait(), shown.String())
	return shown.String()
}

func TestProgress(t *testing.T) {
	// A slow load shows a bar and removes it: before the next line, it moves the cursor up and erases.
	shown := onTerminal(t, "FAKE_GPU=slow", "generate", "--prompt", "Hello", "-n", "1")
	require.Regexp(t, `loading +\[=*>?-*\] [0-9.]+ [kM]B / 5\.5 MB +[0-9.]+ [kM]B/s +[0-9]+s left`, shown)
	before, after, found := strings.Cut(shown, "model: phi3-demo")
	require.True(t, found)
	require.Regexp(t, "\x1b\\[[0-9]*A\x1b\\[J$", before)
	require.NotContains(t, after, "\x1b")
	require.Greater(t, strings.Count(before, "loading"), 2, "the bar moves")

	// If stderr is a file or a pipe, there is no bar.
	cmd := exec.Command("phi3", "generate", "--prompt", "Hello", "-n", "1")
	cmd.Env = append(os.Environ(), "FAKE_GPU=slow")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Run())
	require.Regexp(t, `^opened a slow GPU\nmodel: phi3-demo.*\nstopped at --max-new-tokens 1; .*\n$`,
		stderr.String())
}

// A long prompt shows a bar, which is removed before the first word.
func TestPromptProgress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prompt")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("capital ", 2100)), 0o600))
	args := []string{"generate", "--file", file, "-c", "3000", "-n", "1"}
	shown := onTerminal(t, "FAKE_GPU=thoughtful", args...)
	require.Regexp(t, `reading the prompt +\[=*>?-*\] 2048 / 2101 tokens +[0-9]+/s +[0-9]+s left`, shown)
	require.Regexp(t, "\x1b\\[[0-9]*A\x1b\\[Jstopped at --max-new-tokens 1; .*\r?\n$", shown)
	shown = onTerminal(t, "FAKE_GPU=thoughtful", append(args, "-q")...)
	require.Empty(t, shown)
}
