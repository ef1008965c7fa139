// Package lineedit reads lines that a person types at a terminal, and lets them be edited and recalled.
//
// It counts in characters as readers see them, so that 日本語 and emoji of several code points can be edited;
// pastes of any number of lines are one character with a label. It needs no answers from the terminal.
// (reeflective/readline waits for ever for the cursor's position where nothing answers, and is slow with
// long lines; peterh/liner and x/term cut emoji into pieces.)
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

// What ends a line other than Enter. Ctrl-D on an empty line is [io.EOF].
var (
	ErrInterrupted = errors.New("Ctrl-C")
	ErrTooLong     = fmt.Errorf("the message has more than %d bytes, which is all that is read here; "+
		"nothing was sent", MaxMessage)
)

// MaxMessage is the length of the longest line, pastes included, in bytes. It is far beyond any context.
const MaxMessage = 4 << 20

// Prompt is what stands before a line. Bold asks the terminal to show it so.
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

// Editor reads from a terminal, which is in raw mode only while a line is read.
type Editor struct {
	History *History
	in, out *os.File
	keys    decoder
	pastes  int // so far, for their labels
}

// New returns an editor for a terminal.
func New(in, out *os.File, h *History) *Editor { return &Editor{History: h, in: in, out: out} }

// Read returns what was typed after the prompt, pastes in full. It returns when ctx is done, too; the
// terminal is to be left alone then.
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
		go func() { // reading a terminal cannot be stopped
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
	recalled int    // the entry of the history that is shown; its length: the line that is being typed
	typed    string // that line, while another one is shown
}

// handle does what the keys so far mean. It reports whether the line is finished.
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
		case k == "\r" || k == "\n": // the latter for an Enter that came before the terminal was in raw mode
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

// recall shows an entry of the history, or the line that was being typed.
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
	const most = 2000 // bytes that are shown and edited character by character
	if len(text) > most {
		s.line.replace(0, 0, []cell{s.editor.labelled(text)})
		return
	}
	s.line.insert(text)
}

// paste puts a paste into the line: as it is, if it is short and has nothing but visible characters,
// otherwise as one character with a label.
func (s *session) paste(text string) {
	const short = 200
	unseen := func(r rune) bool { return !unicode.IsPrint(r) && r != joiner }
	if len(text) <= short && !strings.ContainsFunc(text, unseen) {
		s.line.insert(text)
		return
	}
	s.line.replace(s.line.at, s.line.at, []cell{s.editor.labelled(text)})
}

const joiner = '\u200d' // in emoji

func (e *Editor) labelled(text string) cell {
	e.pastes++
	lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1
	return cell{text, fmt.Sprintf("[paste %d: %d lines, %d characters]", e.pastes, lines,
		utf8.RuneCountInString(text))}
}
