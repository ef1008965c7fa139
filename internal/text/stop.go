package text

import "phi3/internal/ahocorasick"

// stopper finds the first of several stop texts in a text that comes in pieces, wherever the pieces are cut.
// It returns only what lies before any stop text, and holds back only what may be the beginning of one. Time
// is linear in the text.
//
// The first stop text is the one that ends first. Of several that end together, it is the longest.
type stopper struct {
	stops []string // none is empty
	match *ahocorasick.Automaton
	state int32  // of match, after held
	held  string // the beginning of a stop text, not all of it
}

// newStopper looks for the given texts, of which there may be none. An empty text is never found.
func newStopper(stops []string) *stopper {
	s := &stopper{}
	for _, stop := range stops {
		if stop != "" {
			s.stops = append(s.stops, stop)
		}
	}
	s.match = ahocorasick.New(s.stops)
	return s
}

// push takes the next piece and returns the text that cannot be part of a stop text. found is the stop text
// that the piece completes; then the text is all that lies before it, and the stopper is done.
func (s *stopper) push(piece string) (text, found string) {
	if len(s.stops) == 0 {
		return piece, ""
	}
	all := s.held + piece
	for i := len(s.held); i < len(all); i++ {
		s.state = s.match.Step(s.state, all[i])
		if p := s.match.Pattern(s.state); p >= 0 {
			found = s.stops[p]
			s.held, s.state = "", 0
			return all[:i+1-len(found)], found
		}
	}
	certain := len(all) - s.match.Depth(s.state)
	s.held = all[certain:]
	return all[:certain], ""
}

// flush ends the text and returns what was held back.
func (s *stopper) flush() string {
	held := s.held
	s.held, s.state = "", 0
	return held
}
