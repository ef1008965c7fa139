package tokenizer

import (
	"slices"
	"unicode"
	"unicode/utf8"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/ahocorasick"
)

// addedToken is a token found in the text itself, before any BPE: <|user|>, <|end|>, </s>. The flags come
// from tokenizer.json and differ between checkpoints of one name (spec 5.1), so none is assumed.
type addedToken struct {
	id             int32
	content        string
	special        bool // left out of text by Decode with skipSpecial
	lstrip, rstrip bool // swallow all white space before, after
	singleWord     bool // matches only where no word character touches it
	normalized     bool // searched for in the normalized text, not in the raw one
}

// config is the token as a configuration would give it.
func (a *addedToken) config() hf.TokenConfig {
	return hf.TokenConfig{
		Id: int64(a.id), Content: a.content, Special: a.special,
		Lstrip: a.lstrip, Rstrip: a.rstrip, SingleWord: a.singleWord, Normalized: a.normalized,
	}
}

// addedSet finds added tokens in a text: the leftmost, and of those the longest. Its time does not depend on
// the number of tokens.
//
// It reads a block of the text backwards with an automaton of the tokens spelled backwards: at each byte the
// state then names the longest token that begins there, which a forward search would have to try from
// every byte.
type addedSet struct {
	patterns []string // backwards
	tokens   []*addedToken
	lengths  []int32 // of the patterns, in bytes
	match    *ahocorasick.Automaton
	last     [256]bool // bytes a token can end with
}

// searchBlock is how many bytes of the text are read backwards at a time, at least.
const searchBlock = 1 << 16

// add makes pattern, which is not empty, stand for the token. The first token of two with one pattern wins.
func (a *addedSet) add(pattern string, token *addedToken) {
	backwards := []byte(pattern)
	slices.Reverse(backwards)
	a.patterns, a.tokens = append(a.patterns, string(backwards)), append(a.tokens, token)
	a.lengths = append(a.lengths, int32(len(pattern)))
	a.last[backwards[0]] = true
}

// build ends the adding.
func (a *addedSet) build() {
	a.match = ahocorasick.New(a.patterns)
	a.patterns = nil
}

func (a *addedSet) empty() bool { return len(a.tokens) == 0 }

// hit is a position where tokens begin, and the longest of them.
type hit struct{ at, length, token int32 }

// search walks over the tokens of a text.
type search struct {
	set  *addedSet
	text string
	done int   // bytes of the text that have been read
	end  int   // where the tokens end that are looked for
	hits []hit // in the block read last, the first at the end
	// The white space that rstrip last looked at, so that no token looks at it again.
	spaceFrom, spaceTo int
}

// block reads the next block backwards. Its tokens may end behind it.
func (s *search) block() {
	m := s.set.match
	from, to := s.done, min(s.done+max(searchBlock, m.Longest()), s.end)
	state := int32(0)
	for i := min(to+m.Longest()-1, s.end) - 1; i >= from; i-- {
		c := s.text[i]
		if state == 0 && !s.set.last[c] {
			continue
		}
		state = m.Step(state, c)
		if p := m.Pattern(state); p >= 0 && i < to {
			s.hits = append(s.hits, hit{at: int32(i), length: s.set.lengths[p], token: p})
		}
	}
	s.done = to
}

// next is the first hit at or behind a place.
func (s *search) next(at int) (hit, bool) {
	for {
		for n := len(s.hits); n > 0; n-- {
			h := s.hits[n-1]
			s.hits = s.hits[:n-1]
			if int(h.at) >= at {
				return h, true
			}
		}
		if s.done == s.end {
			return hit{}, false
		}
		s.block()
	}
}

// stretch is a stretch of a text, in bytes.
type stretch struct{ from, to int }

// segment is a stretch of text: an added token, or (token == nil) text between two of them.
type segment struct {
	text  string
	at    int // in the whole text
	token *addedToken
}

// split cuts text at its added tokens and hands the parts over in order, none of them empty. Special tokens
// count as ordinary text in the stretches that are literal, which come in order, and no token reaches over an
// end of one. tick is told how many bytes have been dealt with, and may end it.
func (a *addedSet) split(
	text string, literal []stretch, tick func(n int) error, yield func(segment) error,
) error {
	s := search{set: a, text: text}
	done := 0 // text before it is dealt with
	for s.done < len(text) && len(a.tokens) > 0 {
		inside := len(literal) > 0 && literal[0].from == s.done
		switch {
		case inside:
			s.end, literal = literal[0].to, literal[1:]
		case len(literal) > 0:
			s.end = literal[0].from
		default:
			s.end = len(text)
		}
		var err error
		if done, err = s.upToEnd(done, inside, tick, yield); err != nil {
			return err
		}
	}
	if done < len(text) {
		return yield(segment{text: text[done:], at: done})
	}
	return nil
}

// upToEnd handles the tokens up to s.end. done, given and returned, is the end of the text that has been
// handed over.
func (s *search) upToEnd(
	done int, literal bool, tick func(n int) error, yield func(segment) error,
) (int, error) {
	for i := s.done; ; {
		read := s.done
		h, ok := s.next(i)
		if err := tick(s.done - read + 1); err != nil || !ok {
			return done, err
		}
		token, start, stop := s.set.tokens[h.token], int(h.at), int(h.at+h.length)
		i = stop // a match that is then refused is still consumed, as by Hugging Face
		if token.special && literal {
			continue
		}
		if token.singleWord && (endsWithWord(s.text[:start]) || startsWithWord(s.text[stop:])) {
			continue
		}
		if token.lstrip {
			// max: the white space may already have gone to the token before.
			start = max(len(trimSpaceRight(s.text[:start], done)), done)
		}
		if token.rstrip {
			stop = s.spaceEnd(stop)
		}
		if done < start {
			if err := yield(segment{text: s.text[done:start], at: done}); err != nil {
				return done, err
			}
		}
		if err := yield(segment{at: start, token: token}); err != nil {
			return done, err
		}
		// The search goes on inside swallowed white space, as Hugging Face's does: a token that begins with
		// white space can lie there.
		done = stop
	}
}

// spaceEnd is where the white space that begins at a place ends.
func (s *search) spaceEnd(at int) int {
	if at < s.spaceFrom || at >= s.spaceTo {
		s.spaceFrom, s.spaceTo = at, at+leadingSpace(s.text[at:])
	}
	return s.spaceTo
}

// trimSpaceRight drops white space from the end of s, looking no further back than floor.
func trimSpaceRight(s string, floor int) string {
	for len(s) > floor {
		r, size := utf8.DecodeLastRuneInString(s)
		if !unicode.Is(unicode.White_Space, r) {
			break
		}
		s = s[:len(s)-size]
	}
	return s
}

func leadingSpace(s string) int {
	for i, r := range s {
		if !unicode.Is(unicode.White_Space, r) {
			return i
		}
	}
	return len(s)
}

func endsWithWord(s string) bool {
	r, size := utf8.DecodeLastRuneInString(s)
	return size > 0 && isWordChar(r)
}

func startsWithWord(s string) bool {
	r, size := utf8.DecodeRuneInString(s)
	return size > 0 && isWordChar(r)
}

// isWordChar is \w of Rust's regular expressions: Alphabetic, marks, decimal digits, connectors, joiners (UTS
// 18, annex C).
func isWordChar(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc,
		unicode.Join_Control)
}
