package tokenizer

import (
	"strings"
)

// Stopper finds the first of several stop texts in a text that comes in pieces, wherever the pieces are cut. What it lets through is
// certain to lie before a stop text; it holds back only what may be the beginning of one.
//
// First is the stop text that ends first; of several that end together, the longest.
type Stopper struct {
	stops []string // none empty
	held  string   // a beginning of one of stops, and not all of it
}

// NewStopper looks for the given texts, of which there may be none. Empty ones never occur.
func NewStopper(stops []string) *Stopper {
	s := &Stopper{}
	for _, stop := range stops {
		if stop != "" {
			s.stops = append(s.stops, stop)
		}
	}
	return s
}

// Push takes the next piece and returns the text that is certain now. found is the stop text that the piece completes; then the text
// is all that lies before it, and the Stopper is done.
func (s *Stopper) Push(piece string) (text, found string) {
	if len(s.stops) == 0 {
		return piece, ""
	}
	all := s.held + piece
	for end := len(s.held) + 1; end <= len(all); end++ {
		for _, stop := range s.stops {
			if len(stop) > len(found) && strings.HasSuffix(all[:end], stop) {
				found = stop
			}
		}
		if found != "" {
			s.held = ""
			return all[:end-len(found)], found
		}
	}
	hold := 0 // the longest end of all that begins a stop text
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(all)); n > hold; n-- {
			if strings.HasSuffix(all, stop[:n]) {
				hold = n
			}
		}
	}
	s.held = all[len(all)-hold:]
	return all[:len(all)-hold], ""
}

// Flush ends the text and returns what was held back.
func (s *Stopper) Flush() string {
	held := s.held
	s.held = ""
	return held
}
