package show

import (
	"io"
	"slices"
	"sync"
	"unicode/utf8"
)

// Writer applies [Text] or [JSON] to what is written to it, and passes it on. A character may be split
// between two writes. Any number of goroutines may write: the log of a server is written beside notes.
type Writer struct {
	to    io.Writer
	spell func(string) string

	mu     sync.Mutex
	broken []byte // the first 1 to 3 bytes of a character whose rest has not come
}

// NewWriter returns a Writer that applies [Text].
func NewWriter(to io.Writer) *Writer { return &Writer{to: to, spell: Text} }

// NewJSONWriter returns a Writer that applies [JSON].
func NewJSONWriter(to io.Writer) *Writer { return &Writer{to: to, spell: JSON} }

// Unwrap returns the underlying writer, for what must not change: a model's text in a pipe, and phi3's own
// control sequences.
func (w *Writer) Unwrap() io.Writer { return w.to }

func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := slices.Concat(w.broken, p)
	w.broken = nil
	if n := Incomplete(text); n > 0 {
		w.broken = append(w.broken, text[len(text)-n:]...)
		text = text[:len(text)-n]
	}
	if len(text) > 0 {
		if _, err := io.WriteString(w.to, w.spell(string(text))); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush writes U+FFFD for a character that was not completed.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) == 0 {
		return nil
	}
	w.broken = nil
	_, err := io.WriteString(w.to, string(utf8.RuneError))
	return err
}

// Incomplete returns how many bytes at the end of text are the beginning of a character: 0 to 3.
func Incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
