package show

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrapper(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"the quick brown fox jumps over", "the quick \nbrown fox \njumps over"},
		{"the quick1 brown", "the quick1\nbrown"},
		{"one two\n\n  three four five", "one two\n\n  three \nfour five"},
		{"日本語日本語日本語", "日本語日本\n語日本語"},
		{"ab 👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧 x", "ab 👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧 \nx"},
		{"a longlonglongword b", "a \nlonglonglongword b"},
		{
			"see:\n```go\nfunc f() { return 1, 2, 3 }\n```\nand so on and on",
			"see:\n```go\nfunc f() { return 1, 2, 3 }\n```\nand so on \nand on",
		},
		{
			"    indented code stays long\n| a table | too |\nand text is not",
			"    indented code stays long\n| a table | too |\nand text \nis not",
		},
		{"", ""},
	} {
		for size := 1; size < 12; size += 3 {
			var b strings.Builder
			w := NewWrapper(&b, func() int { return 10 })
			for rest := []rune(c.in); len(rest) > 0; {
				n := min(size, len(rest))
				_, err := w.WriteString(string(rest[:n]))
				require.NoError(t, err)
				rest = rest[n:]
			}
			require.NoError(t, w.Flush())
			require.Equal(t, c.want, b.String(), "pieces of %d", size)
		}
	}
}

// Wrapping follows a change of the terminal's width. A terminal that is too narrow gets the text unchanged.
func TestWrapperFollowsTheTerminal(t *testing.T) {
	var b strings.Builder
	columns := 10
	w := NewWrapper(&b, func() int { return columns })
	_, _ = w.WriteString("aaaa bbbb cccc dddd ")
	columns = 20
	_, _ = w.WriteString("eeee ffff gggg hhhh ")
	columns = 5
	_, _ = w.WriteString("iiii jjjj")
	require.NoError(t, w.Flush())
	require.Equal(t, "aaaa bbbb \ncccc dddd eeee ffff \ngggg hhhh iiii jjjj", b.String())
}
