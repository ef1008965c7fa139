package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

// Checkpoints are untrusted. For any damage to a file, the program either answers, or prints one sentence
// that says what is wrong and exits with code 1. It does not panic, and does not print both.
func TestDamagedFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(dir, demo.FS()))
	entries, err := fs.ReadDir(demo.FS(), ".")
	require.NoError(t, err)
	rng := rand.New(rand.NewSource(1))
	const header = 4096 // bytes; a change after them makes another model, not a damaged one
	for _, entry := range entries {
		good, err := fs.ReadFile(demo.FS(), entry.Name())
		require.NoError(t, err)
		versions := map[string][]byte{
			"empty":    {},
			"half":     good[:len(good)/2],
			"cut":      good[:len(good)-1],
			"zeros":    make([]byte, len(good)),
			"not JSON": append([]byte("\xff\xfe"), good...),
			"null":     []byte("null"),
			"a list":   []byte("[[[[]]]]"),
		}
		for range 3 {
			changed := bytes.Clone(good)
			at := rng.Intn(min(len(good), header))
			changed[at] ^= byte(1 + rng.Intn(255))
			versions[strings.ToValidUTF8(string(changed[max(0, at-8):at+1]), "?")] = changed
		}
		for name, damaged := range versions {
			require.NoError(t, os.WriteFile(filepath.Join(dir, entry.Name()), damaged, 0o600))
			var stdout, stderr strings.Builder
			code := Main([]string{"generate", "--model", dir, "--prompt", "Hi", "--chat", "-n", "1"},
				strings.NewReader(""), &stdout, &stderr)
			about := []any{
				"%s, %q: stdout %q, stderr %q", entry.Name(), name, stdout.String(),
				stderr.String(),
			}
			switch code {
			case exitOK:
			case exitFailure:
				require.Empty(t, stdout.String(), about...)
				require.Regexp(t, `(?m)^phi3: .+$`, stderr.String(), about...)
				require.Contains(t, stderr.String(), dir, about...)
			default:
				require.Fail(t, "neither an answer nor a failure", about...)
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, entry.Name()), good, 0o600))
	}
}

var errDiskFull = errors.New("the disk is full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDiskFull }

// A command whose answer cannot be written fails, so that a script does not take the answer for an empty one.
func TestAnswerCannotBeWritten(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, copyCheckpoint(labels, "tokens"))
	texts := filepath.Join(t.TempDir(), "texts.jsonl")
	require.NoError(t, os.WriteFile(texts, []byte(`"Hi"`), 0o600))
	for _, command := range []string{
		"classify --text Hi --model " + labels,
		"classify --text Hi --json --model " + labels,
		"classify --jsonl " + texts + " --model " + labels,
		"generate --prompt Hi -n 2",
		"generate --prompt Hi -n 2 --echo",
		"generate --prompt Hi -n 2 --json",
		"next-token --prompt Hi",
		"next-token --prompt Hi --json",
		"perplexity --text Hello,there",
		"perplexity --text Hello,there --json",
		"bench -p 2 -n 2 -r 1",
		"bench -p 2 -n 2 -r 1 -o csv",
		"bench -p 2 -n 2 -r 1 -o json",
		"bench -p 2 -n 2 -r 1 --no-cache",
	} {
		var stderr strings.Builder
		code := Main(strings.Fields(command), strings.NewReader(""), fullDisk{}, &stderr)
		require.Equal(t, exitFailure, code, command)
		require.Contains(t, stderr.String(), "phi3: the disk is full\n", command)
	}
}
