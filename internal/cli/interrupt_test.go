//go:build unix

package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// firstByte waits until the answer begins.
func firstByte(t *testing.T, _ io.Writer, stdout, _ io.Reader) {
	_, err := io.ReadFull(stdout, make([]byte, 1))
	require.NoError(t, err)
}

// Ctrl-C ends every command with exit code 130 and one line, at any point. The test sends the signal when the
// output of the program shows what it is doing, so it does not depend on timing.
func TestInterrupt(t *testing.T) {
	modelLine := func(t *testing.T, _ io.Writer, _, stderr io.Reader) {
		for b := make([]byte, 1); b[0] != '\n'; {
			_, err := io.ReadFull(stderr, b)
			require.NoError(t, err)
		}
	}
	readingPrompt := func(t *testing.T, stdin io.Writer, _, _ io.Reader) {
		_, err := stdin.Write(make([]byte, 1<<20)) // more than a pipe holds, so the program reads
		require.NoError(t, err)
	}
	dir := t.TempDir()
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600)) // nobody opens its other end
	require.NoError(t, os.WriteFile(large, []byte(strings.Repeat("word ", 1<<18)), 0o600))
	labels := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, copyCheckpoint(labels, "tokens"))
	// the program waits for the next line
	labelling := func(t *testing.T, stdin io.Writer, stdout, stderr io.Reader) {
		_, err := io.WriteString(stdin, "\"Hello\"\n")
		require.NoError(t, err)
		firstByte(t, stdin, stdout, stderr)
	}
	for _, test := range []struct {
		name, command string
		ready         func(t *testing.T, stdin io.Writer, stdout, stderr io.Reader)
	}{
		{"generating", "generate --prompt Hello --ignore-eos -c 1000000 -n 1000000", firstByte},
		{
			"generating without a cache",
			"generate --prompt Hello --ignore-eos --no-cache -c 1000000 -n 1000000", firstByte,
		},
		{
			"generating for --json", "generate --prompt Hello --ignore-eos -c 1000000 -n 1000000 --json",
			modelLine,
		},
		{"loading", "generate --prompt Hello --device cuda", modelLine},
		{"measuring", "bench -r 10000", modelLine},
		{"comparing", "bench --no-cache -r 10000", modelLine},
		{"reading the prompt", "generate --prompt -", readingPrompt},
		{"reading the prompt of next-token", "next-token", readingPrompt},
		{"a device that does not answer", "generate --prompt Hello --device cuda", modelLine},
		{"opening a pipe", "generate -v --file " + pipe, modelLine},
		{"opening a pipe for next-token", "next-token -v --file " + pipe, modelLine},
		{"opening a pipe for tokenize", "tokenize -v --file " + pipe, modelLine},
		{"opening a pipe for classify", "classify -v --model " + labels + " --file " + pipe, modelLine},
		{
			"opening a pipe of texts", "classify --device cpu --model " + labels + " --jsonl " + pipe,
			modelLine,
		},
		{"writing to a pipe that nobody reads", "tokenize --file " + large, firstByte},
		{"reading a long text", "perplexity --device cpu -c 2000 -f " + large, modelLine},
		{"reading texts", "classify --jsonl - --model " + labels, labelling},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// The slow GPU prints a line when it is opened. Loading takes seconds after that.
			gpu := "FAKE_GPU=slow"
			switch test.name {
			case "a device that does not answer":
				gpu = "FAKE_GPU=stuck"
			case "loading":
				gpu = "FAKE_GPU=slower"
			}
			said := interrupt(t, test.command, []string{gpu}, test.ready)
			if test.name == "loading" {
				require.NotContains(t, said, "model:", "loading was not stopped")
			}
		})
	}
}

// interrupt runs a command until it is ready, sends SIGINT, and returns what it then wrote to stderr.
func interrupt(
	t *testing.T, command string, env []string,
	ready func(t *testing.T, stdin io.Writer, stdout, stderr io.Reader),
) string {
	t.Helper()
	cmd := exec.Command("phi3", strings.Fields(command)...) // TestMain puts it into the path
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()

	ready(t, stdin, stdout, stderr)
	pressed := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	said, err := io.ReadAll(stderr)
	require.NoError(t, err)
	require.Less(t, time.Since(pressed), time.Minute, "one second, on a machine with nothing else to do")
	_ = cmd.Wait()
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), "stderr: %s", said)
	require.True(t, strings.HasSuffix(string(said), "phi3: interrupted\n"), "stderr: %s", said)
	require.NotContains(t, string(said), "panic")
	return string(said)
}
