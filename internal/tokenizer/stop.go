package tokenizer

// Stopper finds the first of several stop texts in a text that comes in pieces, wherever the pieces are cut.
// What it lets through is certain to lie before a stop text; it holds back only what may be the beginning of
// one. Time is linear in the text.
//
// First is the stop text that ends first; of several that end together, the longest.
type Stopper struct {
	stops []string // none empty
	match *matcher
	state int32  // of match, after held
	held  string // a beginning of one of stops, and not all of it
}

// NewStopper looks for the given texts, of which there may be none. Empty ones never occur.
func NewStopper(stops []string) *Stopper {
	s := &Stopper{}
	for _, stop := range stops {
		if stop != "" {
			s.stops = append(s.stops, stop)
		}
	}
	s.match = newMatcher(s.stops)
	return s
}

// Push takes the next piece and returns the text that is certain now. found is the stop text that the piece
// completes; then the text is all that lies before it, and the Stopper is done.
func (s *Stopper) Push(piece string) (text, found string) {
	if len(s.stops) == 0 {
		return piece, ""
	}
	all := s.held + piece
	for i := len(s.held); i < len(all); i++ {
		s.state = s.match.step(s.state, all[i])
		if p := s.match.nodes[s.state].pattern; p >= 0 {
			found = s.stops[p]
			s.held, s.state = "", 0
			return all[:i+1-len(found)], found
		}
	}
	certain := len(all) - int(s.match.nodes[s.state].depth)
	s.held = all[certain:]
	return all[:certain], ""
}

// Flush ends the text and returns what was held back.
func (s *Stopper) Flush() string {
	held := s.held
	s.held, s.state = "", 0
	return held
}
