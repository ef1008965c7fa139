// Package lineedit reads lines that a person types at a terminal. The person can edit a line and recall
// earlier ones.
//
// The unit of editing is what a reader sees as one character, so 日本語 and emoji of several code points can be
// edited. A paste of several lines is one such character, shown as a label. The package does not ask the
// terminal for the position of its cursor.
//
// The alternatives failed in a terminal: reeflective/readline waits for the position of the cursor if the
// terminal does not report it, and is slow with long lines; peterh/liner and x/term cut emoji into pieces.
package lineedit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Errors that [Editor.Read] returns in place of a line. Ctrl-D on an empty line gives [io.EOF].
var (
	ErrInterrupted = errors.New("Ctrl-C")
	ErrTooLong     = fmt.Errorf("the message has more than %d bytes and was not sent", MaxMessage)
)

// MaxMessage is the length of the longest line in bytes, pastes included. No context holds as much.
const MaxMessage = 4 << 20

// Prompt is the text before a line. Bold prints it in bold.
type Prompt struct {
	Text string
	Bold bool
}

func (p Prompt) styled() string {
	if p.Bold {
		return "\x1b[1m" + p.Text + "\x1b[0m"
	}
	return p.Text
}

// Editor reads lines from a terminal. The terminal is in raw mode only during [Editor.Read].
type Editor struct {
	History *History
	in, out *os.File
	keys    decoder
	pastes  int // number of pastes so far, for their labels
}

// New returns an editor for the terminal of in and out.
func New(in, out *os.File, h *History) *Editor { return &Editor{History: h, in: in, out: out} }

// Read returns the line that was typed after the prompt, with the full text of pastes. It returns the error
// of ctx when ctx is done. After that, a goroutine still reads from the terminal, so nothing else should read
// from it.
func (e *Editor) Read(ctx context.Context, prompt Prompt) (string, error) {
	before, err := term.MakeRaw(int(e.in.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(int(e.in.Fd()), before) }()
	_, _ = io.WriteString(e.out, pasteOn)
	defer func() { _, _ = io.WriteString(e.out, pasteOff) }()

	type chunk struct {
		data []byte
		err  error
	}
	chunks := make(chan chunk, 1)
	s := session{editor: e, screen: screen{out: e.out}, recalled: e.History.Len()}
	for {
		done, err := s.handle()
		if done {
			s.line.at = len(s.line.cells)
		}
		columns, rows := e.size()
		s.screen.draw(prompt, &s.line, columns, rows)
		if done {
			_, _ = io.WriteString(e.out, "\r\n")
			return s.line.text(), err
		}
		go func() { // Go cannot stop a read from a terminal
			data := make([]byte, 64<<10)
			n, err := e.in.Read(data)
			chunks <- chunk{data[:n], err}
		}()
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case c := <-chunks:
			if c.err != nil && len(c.data) == 0 {
				return "", c.err
			}
			e.keys.feed(c.data)
		}
	}
}

func (e *Editor) size() (columns, rows int) {
	columns, rows, err := term.GetSize(int(e.out.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// session is the reading of one line.
type session struct {
	editor   *Editor
	screen   screen
	line     line
	recalled int    // index of the shown entry of the history; the history's length: the line being typed
	typed    string // the line being typed, while an entry of the history is shown
}

// handle applies the keys that have been read. It reports whether the line is finished.
func (s *session) handle() (done bool, err error) {
	for {
		e, ok := s.editor.keys.next()
		if !ok {
			return false, nil
		}
		switch k := e.key; {
		case e.pasted:
			s.paste(e.text)
		case k == "":
			s.line.insert(e.text)
		case k == "\r" || k == "\n": // \n: Enter was pressed before the terminal was in raw mode
			if len(s.line.text()) > MaxMessage {
				return true, ErrTooLong
			}
			return true, nil
		case k == "\x03":
			return true, ErrInterrupted
		case k == "\x04" && len(s.line.cells) == 0:
			return true, io.EOF
		case k == "up" || k == "\x10":
			s.recall(s.recalled - 1)
		case k == "down" || k == "\x0e":
			s.recall(s.recalled + 1)
		case k == "\x0c": // Ctrl-L
			_, _ = io.WriteString(s.editor.out, "\x1b[2J\x1b[H")
			s.screen.row, s.screen.prompted = 0, false
		default:
			s.line.edit(k)
		}
	}
}

// recall shows entry n of the history or, if n is its length, the line being typed.
func (s *session) recall(n int) {
	if n < 0 || n > s.editor.History.Len() {
		return
	}
	if s.recalled == s.editor.History.Len() {
		s.typed = s.line.text()
	}
	s.recalled = n
	text := s.typed
	if n < s.editor.History.Len() {
		text = s.editor.History.At(n)
	}
	s.line = line{cut: s.line.cut}
	const most = 2000 // bytes; a longer entry is shown as one cell with a label
	if len(text) > most {
		s.line.replace(0, 0, []cell{s.editor.labelled(text)})
		return
	}
	s.line.insert(text)
}

// paste inserts a paste: as characters if it is short and they are all visible, otherwise as one cell with a
// label.
func (s *session) paste(text string) {
	const short = 200
	unseen := func(r rune) bool { return !unicode.IsPrint(r) && r != joiner }
	if len(text) <= short && !strings.ContainsFunc(text, unseen) {
		s.line.insert(text)
		return
	}
	s.line.replace(s.line.at, s.line.at, []cell{s.editor.labelled(text)})
}

const joiner = '\u200d' // joins the code points of an emoji

func (e *Editor) labelled(text string) cell {
	e.pastes++
	lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1
	return cell{text, fmt.Sprintf("[paste %d: %d lines, %d characters]", e.pastes, lines,
		utf8.RuneCountInString(text))}
}
