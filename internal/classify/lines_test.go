package classify

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	read := func(r io.Reader) (lines []Line, failed error) {
		for line, err := range Lines(r) {
			require.NoError(t, failed, "an error is the last")
			lines, failed = append(lines, line), err
		}
		return lines, failed
	}
	lines, err := read(strings.NewReader("\"a\\n\"\r\n\n \n{\"text\": \"b\", \"n\": 1}\n\"\xff\"\n\"last\""))
	require.NoError(t, err)
	require.Equal(t, []Line{{1, "a\n", false}, {4, "b", false}, {5, "�", true}, {6, "last", false}}, lines)

	for text, want := range map[string]string{
		"null":         `is neither a JSON string nor an object with a "text"`,
		"\n{}":         `is neither a JSON string nor an object with a "text"`,
		"a text":       `is neither a JSON string nor an object with a "text"`,
		`{"text": []}`: `"text" is a JSON array, not a string`,
	} {
		lines, err := read(strings.NewReader(text + "\n\"more\"\n"))
		require.EqualError(t, err, want)
		require.Equal(t, []Line{{Number: 1 + strings.Count(text, "\n")}}, lines)
	}
	lines, err = read(strings.NewReader("\"a\"\n" + strings.Repeat("b", maxLine)))
	require.EqualError(t, err, "is longer than 16.8 MB, and no more is read")
	require.Equal(t, 2, lines[1].Number)
	boom := errors.New("boom")
	lines, err = read(io.MultiReader(strings.NewReader("\"a\"\n"), iotest.ErrReader(boom)))
	require.ErrorIs(t, err, boom)
	require.Equal(t, []Line{{Number: 1, Text: "a"}, {}}, lines)

	for line, err := range Lines(strings.NewReader("\"a\"\n\"b\"\n")) {
		require.NoError(t, err)
		require.Equal(t, 1, line.Number)
		break
	}
}
