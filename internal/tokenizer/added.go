package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is a token found in the text itself, before any BPE: <|user|>, <|end|>, </s>.
// The flags come from tokenizer.json and differ between checkpoints of one name (spec 5.1), so none is assumed.
type addedToken struct {
	id             int32
	content        string
	special        bool // left out of text by Decode with skipSpecial
	lstrip, rstrip bool // swallow all white space before, after
	singleWord     bool // matches only where no word character touches it
	normalized     bool // searched for in the normalized text, not in the raw one
}

// segment is a stretch of text: an added token, or (token == nil) text between two of them.
type segment struct {
	text  string
	token *addedToken
}

// addedSet finds added tokens in a text, leftmost first and the longest of those: a trie over bytes.
type addedSet struct {
	next  map[uint64]int32      // node<<8 | byte -> node
	ends  map[int32]*addedToken // node -> the token that ends there
	first [256]bool             // bytes a token can begin with
}

func newAddedSet() *addedSet {
	return &addedSet{next: make(map[uint64]int32), ends: make(map[int32]*addedToken)}
}

// add makes pattern, which is not empty, stand for the token. The first token of two with one pattern wins.
func (a *addedSet) add(pattern string, token *addedToken) {
	a.first[pattern[0]] = true
	node := int32(0)
	for i := 0; i < len(pattern); i++ {
		key := uint64(node)<<8 | uint64(pattern[i])
		child, ok := a.next[key]
		if !ok {
			child = int32(len(a.next) + 1)
			a.next[key] = child
		}
		node = child
	}
	if a.ends[node] == nil {
		a.ends[node] = token
	}
}

// longest returns the longest token that begins s, and its length in bytes; nil if there is none.
func (a *addedSet) longest(s string) (token *addedToken, length int) {
	node := int32(0)
	for i := 0; i < len(s); i++ {
		child, ok := a.next[uint64(node)<<8|uint64(s[i])]
		if !ok {
			break
		}
		node = child
		if t := a.ends[node]; t != nil {
			token, length = t, i+1
		}
	}
	return token, length
}

// split cuts text at its added tokens. White space that a token swallows belongs to no segment, and no segment is empty.
// With specialAsText, special tokens count as ordinary text.
func (a *addedSet) split(text string, specialAsText bool) []segment {
	var out []segment
	done := 0 // text before it is dealt with
	for i := 0; i < len(text); {
		if !a.first[text[i]] {
			i++
			continue
		}
		token, length := a.longest(text[i:])
		if token == nil {
			i++
			continue
		}
		start, stop := i, i+length
		i = stop // as an Aho-Corasick search would: a match that is then refused is still consumed
		if specialAsText && token.special {
			continue
		}
		if token.singleWord && (endsWithWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if token.lstrip {
			// max: the white space may already have gone to the token before.
			start = max(len(trimSpaceRight(text[:start], done)), done)
		}
		if token.rstrip {
			stop += leadingSpace(text[stop:])
		}
		if done < start {
			out = append(out, segment{text: text[done:start]})
		}
		out = append(out, segment{token: token})
		// The search goes on inside swallowed white space, as Hugging Face's does; only a token that itself begins with white
		// space could match there, and then it starts before done.
		done = stop
		i = max(i, done)
	}
	if done < len(text) {
		out = append(out, segment{text: text[done:]})
	}
	return out
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

// isWordChar is \w of Rust's regular expressions: Alphabetic, marks, decimal digits, connectors, joiners (UTS 18, annex C).
func isWordChar(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc, unicode.Join_Control)
}
