package show

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestLineAndText(t *testing.T) {
	for in, want := range map[string]struct{ line, text string }{
		"plain é 日本 👩‍👩‍👧":         {"plain é 日本 👩‍👩‍👧", "plain é 日本 👩‍👩‍👧"},
		"a\nb\tc\r\n":              {"a↵b␉c␍↵", "a\nb\tc␍\n"},
		"\x1b[2J\x1b]52;c;eA\x07":  {"␛[2J␛]52;c;eA␇", "␛[2J␛]52;c;eA␇"},
		"\x00\x7f\u0080\u009b31m":  {"␀␡<U+0080><U+009B>31m", "␀␡<U+0080><U+009B>31m"},
		"\x9b31m \xff\xc3":         {"�31m ��", "�31m ��"},
		"a\u202eb\u2066c\u2028d":   {"a<U+202E>b<U+2066>c<U+2028>d", "a<U+202E>b<U+2066>c<U+2028>d"},
		"a\u200bb\ufeffc\u00add":   {"a<U+200B>b<U+FEFF>c<U+00AD>d", "a\u200bb\ufeffc\u00add"},
		"\U000e0041x\u200ey\u061c": {"<U+E0041>x<U+200E>y<U+061C>", "\U000e0041x\u200ey\u061c"},
		"می\u200cخواهم \u0600":     {"می\u200cخواهم \u0600", "می\u200cخواهم \u0600"},
	} {
		require.Equal(t, want.line, Line(in), "%q", in)
		require.Equal(t, want.text, Text(in), "%q", in)
		require.Equal(t, want.line, Line(Line(in)), "twice is once")
	}
}

// For any input, the output has nothing that a terminal obeys, and JSON keeps its value.
func TestEveryCharacter(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		s := "a" + string(r) + "b"
		for _, out := range []string{Line(s), Text(s)} {
			for _, o := range out {
				if unicode.IsControl(o) && o != '\n' && o != '\t' || unicode.Is(unicode.Zl, o) ||
					unicode.Is(unicode.Zp, o) {
					t.Fatalf("%U comes out of %U", o, r)
				}
			}
		}
		if strings.ContainsAny(Line(s), "\n\t") {
			t.Fatalf("%U is more than a line", r)
		}
		if JSON(s) == s {
			continue
		}
		encoded, err := json.Marshal(s)
		require.NoError(t, err)
		var back string
		require.NoError(t, json.Unmarshal([]byte(JSON(string(encoded))), &back))
		require.Equal(t, s, back)
		require.True(t, clean(JSON(string(encoded)), spelledInLine))
	}
}

func TestWriter(t *testing.T) {
	text := "日本\x1b[31m é\u009b\n👩\xf0\x9f"
	want := Text(text[:len(text)-2]) + "\ufffd"
	for size := 1; size < len(text); size++ {
		var b strings.Builder
		w := NewWriter(&b)
		for rest := text; rest != ""; {
			n, err := io.WriteString(w, rest[:min(size, len(rest))])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Flush())
		require.Equal(t, want, b.String())
	}
}

// The race detector sees here whether goroutines may share a Writer.
func TestWriterTogether(t *testing.T) {
	var b strings.Builder
	w := NewWriter(&b)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				_, _ = io.WriteString(w, "\u65e5\n")
			}
		})
	}
	all.Wait()
	require.NoError(t, w.Flush())
	require.Equal(t, strings.Repeat("\u65e5\n", 400), b.String())
}

func TestFprintf(t *testing.T) {
	var b strings.Builder
	_, err := Fprintf(&b, "%s: %v (%d, %6.2f) %-4s|\n", "a\nb", errors.New("c\x1b"), 7, 1.5, "\t")
	require.NoError(t, err)
	require.Equal(t, "a↵b: c␛ (7,   1.50) ␉   |\n", b.String())
}

func TestWidths(t *testing.T) {
	for s, want := range map[string]int{"abc": 3, "日本語": 6, "e\u0301": 1, "👩‍👩‍👧": 2, "🇩🇪": 2, "": 0} {
		require.Equal(t, want, Width(s), "%q", s)
	}
	require.Equal(t, "abc  ", Fit("abc", 5))
	require.Equal(t, "日本…", Fit("日本語です", 5))
	require.Equal(t, "日… ", Fit("日本語です", 4))
	require.Equal(t, "e\u0301e\u0301…", Cut("e\u0301e\u0301e\u0301e\u0301", 3))
	require.Equal(t, "日本語", Cut("日本語", 6))
	require.Equal(t, "日…", Clip("日本", 4))
	require.Equal(t, "日本", Clip("日本", 6))
	require.True(t, utf8.ValidString(Clip(strings.Repeat("é", 100), 31)))
}
