package cli

import (
	"bytes"
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

// What ends a line other than Enter. Ctrl-D on an empty line is io.EOF.
var (
	errLineInterrupted = errors.New("Ctrl-C")
	errLineTooLong     = fmt.Errorf("the line has %d characters or more, which is all that can be typed here; paste it, or name a file in phi3 generate", maxTyped)
)

// maxTyped is where x/term stops taking characters, without a word (its maxLineLength).
const maxTyped = 4096

// lineEditor reads what a person types at a terminal: a line that can be edited and recalled, with pastes of any length in it. The terminal
// is in raw mode only while a line is read.
type lineEditor struct {
	in, out  *os.File
	keys     *keyReader
	terminal *term.Terminal
}

func newLineEditor(in, out *os.File) *lineEditor {
	keys := &keyReader{in: in, pastes: map[string]string{}}
	terminal := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, out}, "")
	terminal.History = &history{}
	return &lineEditor{in, out, keys, terminal}
}

// history is what the up key brings back: every line but empty ones.
type history struct{ lines []string }

func (h *history) Add(line string) {
	if line != "" {
		h.lines = append(h.lines, line)
	}
}

func (h *history) Len() int          { return len(h.lines) }
func (h *history) At(age int) string { return h.lines[len(h.lines)-1-age] }

// Bracketed paste: the terminal marks what is pasted, once it has been told to.
const (
	pasteOn    = "\x1b[?2004h"
	pasteOff   = "\x1b[?2004l"
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// read returns what was typed after the prompt, pastes in full. It returns when ctx is done, too; the terminal is to be left alone then.
func (e *lineEditor) read(ctx context.Context, prompt string) (string, error) {
	before, err := term.MakeRaw(int(e.in.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(int(e.in.Fd()), before) }()
	if width, height, err := term.GetSize(int(e.out.Fd())); err == nil && width > 0 {
		_ = e.terminal.SetSize(width, height)
	}
	e.terminal.SetPrompt(prompt)
	_, _ = io.WriteString(e.out, pasteOn)
	defer func() { _, _ = io.WriteString(e.out, pasteOff) }()

	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() { // reading a terminal cannot be stopped
		line, err := e.terminal.ReadLine()
		done <- result{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		switch {
		case r.err != nil:
			return "", r.err
		case e.keys.interrupted:
			e.keys.interrupted = false
			return "", errLineInterrupted
		case utf8.RuneCountInString(r.line) >= maxTyped:
			return "", errLineTooLong
		}
		return e.keys.withPastes(r.line), nil
	}
}

// keyReader stands between a terminal's keys and x/term's line editor, for what that does not do: a paste becomes one short label in the
// line, so that its line ends send nothing, its tabs survive and its length does not matter; and Ctrl-C clears the line instead of ending it all.
type keyReader struct {
	in          io.Reader
	raw         []byte // read and not yet looked at: the beginning of a mark, perhaps
	ready       []byte // for the editor
	pasting     bool
	paste       []byte
	pastes      map[string]string // what labels stand for
	interrupted bool              // Ctrl-C was pressed, and an empty line sent
}

func (k *keyReader) Read(p []byte) (int, error) {
	for len(k.ready) == 0 {
		var chunk [1024]byte
		n, err := k.in.Read(chunk[:])
		k.raw = append(k.raw, chunk[:n]...)
		k.sort()
		if err != nil && len(k.ready) == 0 {
			return 0, err
		}
	}
	n := copy(p, k.ready)
	k.ready = k.ready[n:]
	return n, nil
}

// sort moves what is certain from raw to ready, or into the paste.
func (k *keyReader) sort() {
	for {
		mark := pasteStart
		if k.pasting {
			mark = pasteEnd
		}
		before, after, found := bytes.Cut(k.raw, []byte(mark))
		if !found {
			for n := min(len(mark)-1, len(before)); n > 0; n-- {
				if bytes.HasSuffix(before, []byte(mark[:n])) {
					before, after = before[:len(before)-n], before[len(before)-n:]
					break
				}
			}
		}
		if k.pasting {
			k.paste = append(k.paste, before...)
		} else {
			k.typed(before)
		}
		k.raw = bytes.Clone(after)
		if !found {
			return
		}
		if k.pasting {
			k.insert(strings.ToValidUTF8(string(k.paste), "\uFFFD"))
			k.paste = nil
		}
		k.pasting = !k.pasting
	}
}

// typed hands over keys.
func (k *keyReader) typed(keys []byte) {
	const ctrlC, ctrlE, ctrlU = 3, 5, 21
	for _, key := range keys {
		if key == ctrlC {
			k.interrupted = true
			k.ready = append(k.ready, ctrlE, ctrlU, '\r') // to the end of the line, erase all before, send
			continue
		}
		k.ready = append(k.ready, key)
	}
}

// insert puts a paste into the line: as it is, if it is short and has nothing but visible characters, otherwise by a label.
func (k *keyReader) insert(text string) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n") // terminals send Enter for a line's end
	const short = 200
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && len(text) <= short {
		k.ready = append(k.ready, text...)
		return
	}
	lines := strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1
	label := fmt.Sprintf("[paste %d: %d lines, %d characters]", len(k.pastes)+1, lines, utf8.RuneCountInString(text))
	k.pastes[label] = text
	k.ready = append(k.ready, label...)
}

// withPastes puts pastes in the place of their labels.
func (k *keyReader) withPastes(line string) string {
	for label, text := range k.pastes {
		if before, after, found := strings.Cut(line, label); found {
			return k.withPastes(before) + text + k.withPastes(after) // what is pasted is never looked through
		}
	}
	return line
}
