package text

import (
	"strings"

	"phi3/internal/tokenizer"
)

// Answer turns the ids that a model generates after a prompt into text, id by id.
type Answer struct {
	// Trim leaves the spaces before the first word out of what Push and End return: in an answer to a message
	// they are the mark that SentencePiece puts before a word. Text keeps them.
	Trim   bool
	stream *tokenizer.Stream
	stops  *stopper
	text   strings.Builder
	stop   string
	begun  bool // Push has returned something other than spaces
}

// Answer starts the text after a prompt. It ends before the first of the stop texts.
func (c *Codec) Answer(prompt []int32, stops []string) *Answer {
	return &Answer{stream: c.Tokenizer.NewStream(prompt, true), stops: newStopper(stops)}
}

// Push takes the next id and returns the text that is certain with it. That is "" while a character, or what
// may be a stop text, is incomplete.
func (a *Answer) Push(id int32) string {
	piece, found := a.stops.push(a.stream.Push(id))
	a.stop = found
	return a.add(piece)
}

// End takes note that no more ids come, and returns the text that was held back.
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

// Text is the answer so far.
func (a *Answer) Text() string { return a.text.String() }
