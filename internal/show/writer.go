package show

import (
	"io"
	"slices"
	"unicode/utf8"
)

// Writer writes text to another writer and lets no control character through; see [Text]. A character may
// come in several writes.
type Writer struct {
	to     io.Writer
	spell  func(string) string
	broken []byte // the beginning of a character, up to 3 bytes
}

// NewWriter returns a Writer for a stream that a person may read.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to, spell: Text} }

// NewJSONWriter returns a Writer for JSON text, whose value it keeps.
func NewJSONWriter(to io.Writer) *Writer { return &Writer{to: to, spell: JSON} }

// Unwrap returns the writer behind w, for what must not be changed: a model's text in a pipe, and the
// program's own control sequences.
func (w *Writer) Unwrap() io.Writer { return w.to }

func (w *Writer) Write(p []byte) (int, error) {
	text := slices.Concat(w.broken, p)
	w.broken = nil
	if n := incomplete(text); n > 0 {
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

// Flush writes a character that was begun and not ended, as U+FFFD.
func (w *Writer) Flush() error {
	if len(w.broken) == 0 {
		return nil
	}
	w.broken = nil
	_, err := io.WriteString(w.to, string(utf8.RuneError))
	return err
}

// incomplete is how many bytes at the end of text may become a character with those that follow.
func incomplete(text []byte) int {
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
