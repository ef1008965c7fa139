package cli

import (
	"strings"

	"phi3/internal/tokenizer"
)

// answer turns the ids of one text into what the user sees of it: characters that are complete, and nothing
// from a stop text on.
type answer struct {
	stream *tokenizer.Stream
	stops  *tokenizer.Stopper
	write  func(piece string) error // shows a piece, which may be empty
	text   strings.Builder          // all that was shown
	stop   string                   // the stop text that ended it
}

func newAnswer(
	t *tokenizer.Tokenizer, prompt []int32, stops []string, write func(piece string) error,
) *answer {
	return &answer{stream: t.NewStream(prompt, true), stops: tokenizer.NewStopper(stops), write: write}
}

// push shows what an id adds. a.stop is set when that completes a stop text.
func (a *answer) push(id int32) error {
	text, found := a.stops.Push(a.stream.Push(id))
	a.stop = found
	return a.show(text)
}

// end shows what was held back, once no more ids come.
func (a *answer) end() error {
	if a.stop != "" {
		return nil
	}
	text, found := a.stops.Push(a.stream.Flush())
	if a.stop = found; found == "" {
		text += a.stops.Flush()
	}
	return a.show(text)
}

func (a *answer) show(text string) error {
	a.text.WriteString(text)
	return a.write(text)
}
