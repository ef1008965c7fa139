package lineedit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"

	"phi3/internal/show"
)

const left, up, down, home, end = "\x1b[D", "\x1b[A", "\x1b[B", "\x1b[H", "\x1bOF"

// typing returns the line after keys that arrive in pieces of the given number of bytes.
func typing(t *testing.T, keys string, size int, history ...string) (string, error) {
	t.Helper()
	e := &Editor{History: &History{entries: history}}
	s := session{editor: e, screen: screen{out: io.Discard}, recalled: len(history)}
	for keys != "" {
		n := min(size, len(keys))
		e.keys.feed([]byte(keys[:n]))
		keys = keys[n:]
		done, err := s.handle()
		s.screen.draw(Prompt{Text: ">>> "}, &s.line, 20, 10)
		if done {
			require.Empty(t, keys, "keys after the end")
			return s.line.text(), err
		}
	}
	t.Fatal("the line has no end")
	return "", nil
}

func TestTyping(t *testing.T) {
	family := "👩‍👩‍👧"
	lines := strings.Repeat("line\tof many\r", 100)
	for _, c := range []struct{ keys, want string }{
		{"plain\r", "plain"},
		{"日本語" + left + left + "\x7f\r", "本語"},
		{"日本語" + left + "X\r", "日本X語"},
		{"a" + family + "b" + left + "\x7f\r", "ab"},
		{"a" + family + "b" + home + "\x1b[C\x1b[3~\r", "ab"},
		{"🇩🇪🇫🇷" + left + "\x7f\r", "🇫🇷"},
		{"cafe\u0301s" + left + "\x7f\r", "cafs"},
		{"👍🏽x" + left + left + "y\r", "y👍🏽x"},
		{"한국어" + left + "\x08\r", "한어"},
		{"นี้" + left + "ก\r", "กนี้"},
		{"one two three\x1bb\x1bbX" + home + "Y" + end + "Z\r", "Yone Xtwo threeZ"},
		{"one two\x1bb\x1bb\x1bfX\r", "oneX two"},
		{"one two\x01\x0b\r", ""},
		{"one two\x01\x06\x06\x06\x0b\x19\x19\r", "one two two"},
		{"one two, three\x17X\r", "one two, X"},
		{"one two, three\x1b\x7fX\r", "one two, X"},
		{"one two\x1b[1;5D\x15X\r", "Xtwo"},
		{"one two\x01\x1bdX\r", "X two"},
		{"ab\x02\x04\x05c\r", "ac"},
		{"a\x1b\rb\n", "a\nb"},
		{"a\tb\r", "a\tb"},
		{"a\xffb\r", "a\ufffdb"},
		{"unknown\x1b[99;99~\x1b[Z\x1bq keys\r", "unknown keys"},
		{"x\x1b[200~pasted " + family + "\x1b[201~y\r", "xpasted " + family + "y"},
		{
			"x\x1b[200~" + lines + "\x1b[201~y" + left + left + "z\r",
			"xz" + strings.ReplaceAll(lines, "\r", "\n") + "y",
		},
		{"x\x1b[200~" + lines + "\x1b[201~\x7fy\r", "xy"},
		{"\x1b[200~\x03\x04\x1b[A\xff\r\n\x1b[201~\r", "\x03\x04\x1b[A\ufffd\n"},
		{"x\x1b[200~\x1b[20\x1b[201~\r", "x\x1b[20"},
		{up + "\r", "newest"},
		{up + up + up + "\r", "old\nest"},
		{"typed" + up + up + down + down + "!\r", "typed!"},
		{up + "\x7f!\r", "newes!"},
	} {
		for _, size := range []int{1, 2, 3, 5, 1 << 20} {
			if strings.Contains(c.keys, "line\tof many") && size < 5 {
				continue
			}
			got, err := typing(t, c.keys, size, "old\nest", "newest")
			require.NoError(t, err)
			require.Equal(t, c.want, got, "%q in pieces of %d", c.keys, size)
		}
	}
	for keys, want := range map[string]error{
		"ab\x03": ErrInterrupted, "\x04": io.EOF,
		"\x1b[200~" + strings.Repeat("é", MaxMessage/2+1) + "\x1b[201~\r": ErrTooLong,
	} {
		_, err := typing(t, keys, 1<<20)
		require.ErrorIs(t, err, want)
	}
}

// What the terminal shows, and where its cursor is.
func TestScreen(t *testing.T) {
	for _, columns := range []int{12, 13, 80} {
		for _, text := range []string{
			"", "short", "日本語日本語日本語", "a👩‍👩‍👧b👩‍👩‍👧c👩‍👩‍👧d",
			strings.Repeat("x", 30), strings.Repeat("x", columns-4), "e\u0301e\u0301e\u0301",
		} {
			term := &terminal{columns: columns, rows: 24}
			s, l := screen{out: term}, line{}
			l.insert(text)
			for l.at = range len(l.cells) + 1 {
				s.draw(Prompt{Text: ">>> "}, &l, columns, 24)
				require.Equal(t, ">>> "+text, term.text(), "%d columns", columns)
				before := (&line{cells: l.cells[:l.at]}).text()
				require.Equal(t, ">>> "+before, term.before(), "%d columns, cursor at %d", columns, l.at)
			}
			l.cells, l.at = nil, 0
			s.draw(Prompt{Text: ">>> "}, &l, columns, 24)
			require.Equal(t, ">>> ", term.text())
		}
	}
	// The line has more rows than the terminal.
	term := &terminal{columns: 10, rows: 5}
	s, l := screen{out: term}, line{}
	l.insert(strings.Repeat("0123456789", 20))
	for range 2 {
		s.draw(Prompt{Text: "> "}, &l, 10, 5)
		require.LessOrEqual(t, len(term.cells), 5)
		require.True(t, strings.HasSuffix(term.before(), "6789"))
	}
	l.at = 0
	s.draw(Prompt{Text: "> "}, &l, 10, 5)
	require.Equal(t, "> ", term.before())
}

// terminal interprets the control sequences that draw uses.
type terminal struct {
	columns, rows, row, column int
	cells                      [][]string // characters of each row; "" after a wide character
}

func (m *terminal) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[A"):
			text, m.row = text[3:], m.row-1
		case strings.HasPrefix(text, "\x1b[J"):
			text = text[3:]
			m.cells = m.cells[:min(len(m.cells), m.row+1)]
			if len(m.cells) > m.row {
				m.cells[m.row] = m.cells[m.row][:min(len(m.cells[m.row]), m.column)]
			}
		case strings.HasPrefix(text, "\x1b[") && strings.HasSuffix(text[:4], "C"):
			m.column += int(text[2] - '0')
			text = text[4:]
		case text[0] == '\r' && !strings.HasPrefix(text, "\r\n"):
			text, m.column = text[1:], 0
		case strings.HasPrefix(text, "\r\n"):
			text, m.row, m.column = text[2:], m.row+1, 0
		default:
			var c string
			c, text, _, _ = uniseg.FirstGraphemeClusterInString(text, -1)
			width := show.Width(c)
			if m.column+width > m.columns {
				panic(fmt.Sprintf("%q does not fit in row %d", c, m.row))
			}
			for len(m.cells) <= m.row {
				m.cells = append(m.cells, nil)
			}
			row := m.cells[m.row]
			for len(row) < m.column+width {
				row = append(row, "")
			}
			row[m.column] = c
			m.cells[m.row] = row
			m.column += width
		}
		if m.row < 0 {
			panic("above the first row")
		}
	}
	return len(p), nil
}

func (m *terminal) text() string {
	var b strings.Builder
	for _, row := range m.cells {
		b.WriteString(strings.Join(row, ""))
	}
	return b.String()
}

// before returns all text before the cursor.
func (m *terminal) before() string {
	var b strings.Builder
	for i, row := range m.cells[:min(len(m.cells), m.row+1)] {
		if i == m.row {
			row = row[:min(len(row), m.column)]
		}
		b.WriteString(strings.Join(row, ""))
	}
	return b.String()
}

func TestHistory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "history")
	open := func() *History {
		h, err := OpenHistory(file)
		require.NoError(t, err)
		return h
	}
	h := open()
	for _, entry := range []string{
		"one", "", "two\nlines 日本", "two\nlines 日本", "one",
		strings.Repeat("x", maxEntry+1),
	} {
		require.NoError(t, h.Add(entry))
	}
	require.Equal(t, 4, h.Len())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.Equal(t, []string{"one", "two\nlines 日本", "one"}, open().entries)

	// A damaged line is skipped. If there are too many entries, the newest stay.
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(f, "\"cut\n"+strings.Repeat("\"same\"\n", maxEntries)+"\"last\"\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	h = open()
	require.Equal(t, maxEntries, h.Len())
	require.Equal(t, "last", h.At(h.Len()-1))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, maxEntries, strings.Count(string(data), "\n"))

	// A file that is not a history is not changed.
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700))
	h, err = OpenHistory(file)
	require.ErrorContains(t, err, "directory")
	require.NoError(t, h.Add("x"))
	require.Equal(t, 1, h.Len())
	h, err = OpenHistory("")
	require.NoError(t, err)
	require.NoError(t, h.Add("x"))
}
