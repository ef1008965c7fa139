package tokenizer

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The pre-tokenizer patterns of the byte-level kind, exactly as tokenizer.json spells them. Go's regexp has
// no look-ahead (`\s+(?!\S)`), and a table-driven splitter is an order of magnitude faster than any regexp,
// so each pattern is written by hand below. A pattern that is not one of these is refused: a guess would give
// wrong ids silently.
const (
	// PatternCL100K is phi-4's.
	PatternCL100K = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	// PatternO200K is Phi-4-mini's.
	PatternO200K = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?` +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	// PatternGPT2 is what ByteLevel alone cuts by. No tokenizer.json spells it.
	PatternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
)

// splitter returns the length in bytes of the first word of s (never 0 for a non-empty s).
type splitter func(s string) int

// splitterFor finds the hand-written splitter of a pattern; nil if there is none.
func splitterFor(pattern string) splitter {
	switch pattern {
	case PatternCL100K:
		return splitCL100K
	case PatternO200K:
		return splitO200K
	}
	return nil
}

// splitGPT2 matches the alternatives of GPT-2's pattern in order.
func splitGPT2(s string) int {
	for _, c := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if strings.HasPrefix(s, c) {
			return len(c)
		}
	}
	lead := 0
	if s[0] == ' ' {
		lead = 1
	}
	c, _ := charAt(s[lead:])
	switch {
	case len(s) == lead, c.is(isSpace):
		end, before := spaces(s)
		if end < len(s) && before > 0 { // \s+(?!\S) leaves the last one to the word that follows
			return before
		}
		return end
	case c.is(isLetter):
		return lead + run(s[lead:], isLetter)
	case c.is(isNumber):
		return lead + run(s[lead:], isNumber)
	}
	return lead + runNot(s[lead:], isSpace|isLetter|isNumber)
}

// spaces returns where the white space at the beginning of s ends, and where its last character begins.
func spaces(s string) (end, before int) {
	for end < len(s) {
		c, size := charAt(s[end:])
		if !c.is(isSpace) {
			break
		}
		before = end
		end += size
	}
	return end, before
}

// splitCL100K matches the seven alternatives of PatternCL100K in order.
func splitCL100K(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	first, size := charAt(s)
	switch {
	case first.is(isLetter):
		return size + run(s[size:], isLetter)
	case !first.is(isNumber | isNewline): // [^\r\n\p{L}\p{N}]\p{L}+
		if n := run(s[size:], isLetter); n > 0 {
			return size + n
		}
	}
	return splitCommon(s, first, size, false)
}

// splitO200K matches the alternatives of PatternO200K in order. Capitalized and lower-case letters are told
// apart, so that "HelloWorld" is two words.
func splitO200K(s string) int {
	first, size := charAt(s)
	// Both alternatives for letters can begin with one character that is not a letter, number or newline.
	// Like a regexp, try with that character first.
	optional := 0
	if !first.is(isLetter | isNumber | isNewline) {
		optional = size
	}
	for _, match := range []func(string) int{upperThenLower, upperFirst} {
		n := 0
		if optional > 0 {
			if n = match(s[optional:]); n > 0 {
				n += optional
			}
		}
		if n == 0 {
			n = match(s)
		}
		if n > 0 {
			return n + contraction(s[n:])
		}
	}
	return splitCommon(s, first, size, true)
}

// upperThenLower is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ : 0 if it does not match.
func upperThenLower(s string) int {
	upper, bothEnd := 0, 0 // bothEnd: the end of the last character so far that is in both sets
	for upper < len(s) {
		c, size := charAt(s[upper:])
		if !c.is(isUpper) {
			break
		}
		upper += size
		if c.is(isLower) {
			bothEnd = upper
		}
	}
	if n := run(s[upper:], isLower); n > 0 {
		return upper + n
	}
	// The greedy first set took everything; give back until its last character can open the second set.
	return bothEnd
}

// upperFirst is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]* : 0 if it does not match.
func upperFirst(s string) int {
	n := run(s, isUpper)
	if n == 0 {
		return 0
	}
	return n + run(s[n:], isLower)
}

// splitCommon matches the alternatives that both patterns end with: numbers, symbols, white space.
func splitCommon(s string, first chars, size int, slash bool) int {
	if first.is(isNumber) { // \p{N}{1,3}
		n := size
		for range 2 {
			c, size := charAt(s[n:])
			if !c.is(isNumber) {
				break
			}
			n += size
		}
		return n
	}
	// " ?[^\s\p{L}\p{N}]+[\r\n]*", with "/" in the last set for o200k.
	lead := 0
	if s[0] == ' ' {
		lead = 1
	}
	if n := runNot(s[lead:], isSpace|isLetter|isNumber); n > 0 {
		n += lead
		for n < len(s) && (s[n] == '\r' || s[n] == '\n' || slash && s[n] == '/') {
			n++
		}
		return n
	}
	// White space is left. end: of the run; line: after its last \r or \n; before: where its last character
	// starts.
	end, line, before := 0, 0, 0
	for end < len(s) {
		c, size := charAt(s[end:])
		if !c.is(isSpace) {
			break
		}
		before = end
		end += size
		if c.is(isNewline) {
			line = end
		}
	}
	switch {
	case line > 0: // \s*[\r\n]+
		return line
	case end == len(s): // \s+(?!\S) at the end of the text
		return end
	case before > 0: // \s+(?!\S) leaves the last one to the word that follows
		return before
	}
	return end // \s+
}

// contraction matches (?i:'s|'t|'re|'ve|'m|'ll|'d) at the start of s; 0 if it does not. Ignoring case, "s"
// also matches "ſ" (U+017F), the only character outside ASCII that folds to one of these letters.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] | 0x20 {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2]|0x20 == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2]|0x20 == 'l' {
			return 3
		}
	}
	if strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	return 0
}

// chars is a set of the character classes that the patterns name.
type chars uint8

const (
	isLetter  chars = 1 << iota // \p{L}
	isNumber                    // \p{N}
	isSpace                     // \s, Unicode White_Space
	isNewline                   // \r and \n
	isUpper                     // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	isLower                     // \p{Ll}\p{Lm}\p{Lo}\p{M}
)

func (c chars) is(set chars) bool { return c&set != 0 }

// charAt classifies the first character of s and gives its length: 0, 0 at the end.
func charAt(s string) (chars, int) {
	if len(s) == 0 {
		return 0, 0
	}
	if s[0] < utf8.RuneSelf {
		return bmp()[s[0]], 1
	}
	r, size := utf8.DecodeRuneInString(s)
	if r <= maxBMP {
		return bmp()[r], size
	}
	return classify(r), size
}

// run is the length in bytes of the longest beginning of s made of characters in the set.
func run(s string, set chars) int {
	for i := 0; i < len(s); {
		c, size := charAt(s[i:])
		if !c.is(set) {
			return i
		}
		i += size
	}
	return len(s)
}

// runNot is run for the characters outside the set.
func runNot(s string, set chars) int {
	for i := 0; i < len(s); {
		c, size := charAt(s[i:])
		if c.is(set) {
			return i
		}
		i += size
	}
	return len(s)
}

const maxBMP = 0xFFFF

// bmp holds the classes of the Basic Multilingual Plane (64 KB, built on first use): a search of Go's range
// tables for each character would cost more than the merging.
var bmp = sync.OnceValue(func() *[maxBMP + 1]chars {
	table := new([maxBMP + 1]chars)
	for r := range rune(maxBMP + 1) {
		table[r] = classify(r)
	}
	return table
})

func classify(r rune) chars {
	var c chars
	if unicode.Is(unicode.L, r) {
		c |= isLetter
	}
	if unicode.Is(unicode.N, r) {
		c |= isNumber
	}
	if unicode.Is(unicode.White_Space, r) {
		c |= isSpace
	}
	if r == '\r' || r == '\n' {
		c |= isNewline
	}
	if unicode.In(r, unicode.Lu, unicode.Lt, unicode.Lm, unicode.Lo, unicode.M) {
		c |= isUpper
	}
	if unicode.In(r, unicode.Ll, unicode.Lm, unicode.Lo, unicode.M) {
		c |= isLower
	}
	return c
}
