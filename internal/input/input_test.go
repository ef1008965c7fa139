package input

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func wait() bool { return true }

func from(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func TestReadText(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"ä\n":                          "ä\n",
		"\xef\xbb\xbfa":                "a",
		"\xff\xfea\x00\xe4\x00":        "aä",
		"\xfe\xff\x00a":                "a",
		strings.Repeat("word ", 1<<19): strings.Repeat("word ", 1<<19),
	} {
		got, err := ReadText(t.Context(), from(text), wait)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	_, err := ReadText(t.Context(), from("\xff\xfe\x00\x00"), wait)
	require.EqualError(t, err, "it is UTF-32; save it as UTF-8")
	_, err = ReadText(t.Context(), func() (io.ReadCloser, error) { return os.Open("absent") }, wait)
	require.EqualError(t, err, "no such file or directory")
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<30))
	_, err = ReadText(t.Context(), func() (io.ReadCloser, error) { return os.Open(large) }, wait)
	require.EqualError(t, err, "it has 1.07 GB, and at most 67.1 MB are read")
}

// Reading ends with the context, before and after the first byte.
func TestReadingEndsWithTheContext(t *testing.T) {
	for _, begun := range []string{"", "a"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, begun)
			cancel()
		}()
		_, err := ReadText(ctx, func() (io.ReadCloser, error) { return r, nil }, wait)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestValid(t *testing.T) {
	text, warnings := Valid("\ufeffa\xff")
	require.Equal(t, "a\ufffd", text)
	require.Len(t, warnings, 1)
	text, warnings = Valid("a\x00")
	require.Equal(t, "a\x00", text)
	require.Len(t, warnings, 1)
	require.Equal(t, "a\n", TrimNewline([]byte("a\n\r\n")))
}
