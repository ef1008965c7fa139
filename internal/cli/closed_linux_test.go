//go:build cgo

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without a stdout the answer is lost, so every command fails. With /dev/null as stdout, opened in any way,
// it succeeds.
func TestStdoutClosed(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	phi3 := t.TempDir() + "/phi3"
	require.NoError(t, os.Symlink(self, phi3))
	for _, args := range []string{
		"generate -q -p a -n 1", "generate -q -p a -n 1 --json", "next-token -q -p a", "tokenize -p a",
		"info", "--help", "--version", "completion bash",
	} {
		for redirection, words := range map[string]string{
			">&-":            "phi3: stdout is closed; use > /dev/null to discard the answer\n",
			">/dev/null":     "",
			"1<>/dev/null":   "",
			"</dev/null|cat": "",
		} {
			cmd := exec.Command("sh", "-c", phi3+" "+args+" "+redirection)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			if words == "" {
				require.NoError(t, err, "%s %s: %s", args, redirection, &stderr)
				continue
			}
			require.Equal(t, exitFailure, cmd.ProcessState.ExitCode(), "%s %s", args, redirection)
			require.Equal(t, words, stderr.String())
		}
	}
}
