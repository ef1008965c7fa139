package show

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPiece(t *testing.T) {
	for piece, want := range map[string]string{
		"":                       "(none)",
		"▁The":                   "▁The",
		" the":                   "␣the",
		" ":                      "␣",
		"  ":                     "␣␣",
		"\n":                     "↵",
		"\n\n  x":                "↵↵␣␣x",
		"\t":                     "⇥",
		"<0x0A>":                 "↵",
		"<0x0B>":                 "<0x0B>",
		"\r\n":                   "␍↵",
		"\x1b[2J":                "␛[2J",
		"\u0085":                 "<U+0085>",
		"\u00a0":                 "⍽",
		"\u3000日":                "<U+3000>日",
		"\u0301":                 "◌\u0301",
		"\u200d":                 "<U+200D>",
		"\u202eabc":              "<U+202E>abc",
		"日本":                     "日本",
		"👩‍👩‍👧":                  "👩‍👩‍👧",
		`<|"&'|>`:                `<|"&'|>`,
		"\xff":                   "\ufffd",
		strings.Repeat("x", 21):  strings.Repeat("x", 19) + "…",
		strings.Repeat(" ", 21):  strings.Repeat("␣", 19) + "…",
		strings.Repeat("日", 11):  strings.Repeat("日", 9) + "…",
		strings.Repeat("日", 10):  strings.Repeat("日", 10),
		strings.Repeat("\n", 30): strings.Repeat("↵", 19) + "…",
	} {
		got := Piece(piece, 20)
		require.Equal(t, want, got, "%q", piece)
		require.LessOrEqual(t, Width(got), 20)
		require.Positive(t, Width(got))
		require.Equal(t, got, Line(got), "it is a line already")
	}
}

func TestPieceOfMegabytes(t *testing.T) {
	piece := strings.Repeat("a\u0301\u0302\u0303", 5<<20)
	start := time.Now()
	for range 1000 {
		require.LessOrEqual(t, len(Piece(piece, 20)), 400)
	}
	require.Less(t, time.Since(start), 10*time.Second, "only what is shown is read")
}
