//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

// onFirstWrite calls a function once, when the answer begins.
type onFirstWrite struct{ do func() }

func (w *onFirstWrite) Write(p []byte) (int, error) {
	if w.do != nil {
		w.do()
	}
	w.do = nil
	return len(p), nil
}

// If another program truncates a weight file during an answer, the command fails with a sentence. The signal
// does not end the process.
func TestFileShrinksWhileAnswering(t *testing.T) {
	for _, file := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
		dir := filepath.Join(t.TempDir(), "model")
		require.NoError(t, os.CopyFS(dir, demo.FS()))
		stdout := &onFirstWrite{do: func() { require.NoError(t, os.Truncate(filepath.Join(dir, file), 0)) }}
		var stderr strings.Builder
		code := Main([]string{
			"generate", "--model", dir, "--prompt", "The capital", "--ignore-eos",
			"--device", "cpu", "-n", "50",
		},
			strings.NewReader(""), stdout, &stderr)
		require.Equal(t, exitFailure, code, stderr.String())
		require.Regexp(t, `(?m)^phi3: `+file+
			`: tensor "[a-z0-9_.]+": byte \d+ of the file can no longer be read: `+
			`the file has become shorter since it was opened, or its disk has failed$`, stderr.String())
	}
}
