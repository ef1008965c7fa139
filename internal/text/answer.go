package text

import (
	"strings"
	"unicode/utf8"

	"phi3/internal/tokenizer"
)

// Answer turns the ids that a model generates after a prompt into text, one id at a time.
type Answer struct {
	// Trim removes the spaces before the first word from what Push and End return. In an answer to a message,
	// these spaces are only the mark that SentencePiece puts before a word. Text keeps them.
	Trim   bool
	stream *tokenizer.Stream
	stops  *stopper
	text   strings.Builder
	chars  int
	stop   string
	begun  bool // Push has returned something other than spaces
}

// Answer starts an answer to the prompt. The answer ends before the first stop text that occurs in it.
func (c *Codec) Answer(prompt []int32, stops []string) *Answer {
	return &Answer{stream: c.Tokenizer.NewStream(prompt, true), stops: newStopper(stops)}
}

// Push takes the next id and returns the text that can now be shown. It returns "" while the text ends with
// an incomplete character, or with what may become a stop text.
func (a *Answer) Push(id int32) string {
	pushed := a.stream.Push(id)
	a.chars += utf8.RuneCountInString(pushed)
	piece, found := a.stops.push(pushed)
	a.stop = found
	return a.add(piece)
}

// End ends the answer when no more ids follow, and returns the text that was held back.
func (a *Answer) End() string {
	if a.stop != "" {
		return ""
	}
	piece, found := a.stops.push(a.stream.Flush())
	if a.stop = found; found == "" {
		piece += a.stops.flush()
	}
	return a.add(piece)
}

func (a *Answer) add(piece string) string {
	a.text.WriteString(piece)
	if a.Trim && !a.begun {
		piece = strings.TrimLeft(piece, " ")
		a.begun = piece != ""
	}
	return piece
}

// Stop is the stop text that ended the answer; "" if none did. After it, Push must not be called.
func (a *Answer) Stop() string { return a.stop }

// Offset is where in the text the next token begins: the number of whole characters of all tokens so far,
// whether they are held back or belong to a stop text. A token that continues a character begins where the
// character does.
func (a *Answer) Offset() int { return a.chars }

// Text is the answer so far.
func (a *Answer) Text() string { return a.text.String() }
