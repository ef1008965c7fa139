package tokenizer

import (
	"context"
	"fmt"
	"strings"
)

// EncodeOptions changes what Encode does. The zero value is Hugging Face's default.
type EncodeOptions struct {
	// NoBOS leaves out the tokens that the checkpoint adds around a text, usually one BOS or nothing (Hugging
	// Face: add_special_tokens=False). Set it for text from ApplyChatTemplate: the template writes its own
	// BOS.
	NoBOS bool
	// SpecialAsText reads special tokens in the text as ordinary characters (Hugging Face:
	// split_special_tokens=True), so that untrusted text cannot end a turn with "<|end|>". Added tokens
	// that are not special, such as </s>, still count.
	SpecialAsText bool
	// Max ends encoding with a TooManyError as soon as it is certain that there are more tokens. 0: no bound.
	Max int
}

// Part is a part of a text. All parts of the text are encoded together.
type Part struct {
	Text string
	// Literal: no special token may lie in this part or touch it, as with EncodeOptions.SpecialAsText for the
	// part alone.
	Literal bool
}

// TooManyError says that a text has more than Max tokens. The exact number is not known, because the rest was
// not encoded.
type TooManyError struct{ Max int }

func (e *TooManyError) Error() string { return fmt.Sprintf("the text has more than %d tokens", e.Max) }

// Bounds on a text. Symbols of a word take 30 bytes of memory each while it is merged.
const (
	maxText   = 1 << 30  // bytes of a text: positions fit in 32 bits
	maxWord   = 16 << 20 // bytes of a word, normalized: a stretch that merges may reach across
	maxWhole  = 64 << 20 // bytes that normalizing a text at once may make of it, or 4 times the text
	maxBehind = 16       // bytes that a pattern of words may look at behind a word's end

	textChunk = 64 << 10 // bytes that are normalized at a time
	tickBytes = 64 << 10 // bytes between two looks at the context
)

// Encode turns text into token ids, exactly as Hugging Face tokenizers does (spec 5.1, 5.2).
//
// Bytes that are not UTF-8 become U+FFFD first, one for each maximal part of a broken character, as Python's
// errors="replace" gives them. Errors are ctx's, a *TooManyError, and one for a text that takes too much
// memory: above 1 GiB, or with a word above 16 MiB. Time is linear in the text for any real one, and n log n
// in the worst case; memory is 4 bytes a token, the text, and 30 bytes for each of its longest word's. Encode
// may be called from several goroutines.
func (t *Tokenizer) Encode(ctx context.Context, text string, opt EncodeOptions) ([]int32, error) {
	return t.EncodeParts(ctx, []Part{{Text: text}}, opt)
}

// EncodeParts encodes the concatenation of the parts. Otherwise it works like Encode.
func (t *Tokenizer) EncodeParts(ctx context.Context, parts []Part, opt EncodeOptions) ([]int32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := t.mergers.Get().(*merger)
	defer t.mergers.Put(m)
	m.ctx = ctx
	e := &encoder{Tokenizer: t, merger: m, max: opt.Max}
	text, literal, err := e.join(parts, opt.SpecialAsText || t.specialAsText)
	if err != nil {
		return nil, err
	}
	e.ids = make([]int32, 0, e.expected(len(text)))
	if !opt.NoBOS {
		e.ids = append(e.ids, t.before...)
	}
	// Each segment is normalized by itself, so each one after a special token gets its own leading "▁".
	ahead := literal
	err = t.addedRaw.split(text, literal, e.tick, func(s segment) error {
		for len(ahead) > 0 && ahead[0].to <= s.at {
			ahead = ahead[1:]
		}
		return e.segment(s, len(ahead) > 0 && ahead[0].from < s.at+len(s.text))
	})
	if err == nil && !opt.NoBOS {
		e.ids = append(e.ids, t.after...)
		err = e.count(0)
	}
	if err != nil {
		return nil, err
	}
	return e.ids, nil
}

// encoder is one call of Encode.
type encoder struct {
	*Tokenizer
	*merger
	ids     []int32
	max     int // 0: no bound
	passed  int // bytes since the last look at the context
	changer *changer
	pending []byte // normalized text whose last word may go on
}

// expected estimates the number of ids of a text of n bytes.
func (e *encoder) expected(n int) int {
	n = n/4 + 8
	if e.max > 0 {
		n = min(n, e.max+8)
	}
	return n
}

// tick counts n bytes of work and checks the context regularly.
func (e *encoder) tick(n int) error {
	if e.passed += n; e.passed < tickBytes {
		return nil
	}
	e.passed = 0
	return e.ctx.Err()
}

// count reports whether the ids so far and the n bytes of text that must follow exceed the bound.
func (e *encoder) count(n int) error {
	if e.max > 0 && len(e.ids)+n/e.longest > e.max {
		return &TooManyError{Max: e.max}
	}
	return nil
}

// join makes one text of parts, valid UTF-8, and says which stretches of it are literal.
func (e *encoder) join(parts []Part, all bool) (string, []stretch, error) {
	total := 0
	for _, p := range parts {
		if total += len(p.Text); total > maxText {
			return "", nil, fmt.Errorf("the text has more than %d bytes, too many to tokenize", maxText)
		}
	}
	var literal []stretch
	var text strings.Builder
	for i, p := range parts {
		valid, err := validUTF8(p.Text, e.tick)
		if err != nil {
			return "", nil, err
		}
		from := text.Len()
		if p.Literal && !all && len(valid) > 0 {
			literal = append(literal, stretch{from, from + len(valid)})
		}
		if len(parts) == 1 {
			text = strings.Builder{}
			if all && len(valid) > 0 {
				literal = []stretch{{0, len(valid)}}
			}
			return valid, literal, nil
		}
		if i == 0 {
			text.Grow(total)
		}
		text.WriteString(valid)
	}
	if all && text.Len() > 0 {
		literal = []stretch{{0, text.Len()}}
	}
	return text.String(), literal, nil
}

// segment encodes an added token, or the text between two.
func (e *encoder) segment(s segment, literal bool) error {
	if s.token != nil {
		e.ids = append(e.ids, s.token.id)
		return e.count(0)
	}
	if e.addedNormalized.empty() && (e.split == nil || len(e.normalizers)+len(e.prefixes) == 0) {
		return e.inChunks(s)
	}
	// At once: normalized added tokens and words of a pattern are searched for in the normalized text.
	if g := e.growth; g > 4 && len(s.text) > maxWhole/g {
		return fmt.Errorf("the tokenizer's normalizer can make a text %d times as long, which for %d bytes "+
			"is more than %d", g, len(s.text), maxWhole)
	}
	text := change(e.normalizers, s.text, s.at == 0)
	var all []stretch
	if literal {
		all = []stretch{{0, len(text)}}
	}
	return e.addedNormalized.split(text, all, e.tick, func(part segment) error {
		if part.token != nil {
			e.ids = append(e.ids, part.token.id)
			return e.count(0)
		}
		_, err := e.words(change(e.prefixes, part.text, s.at+part.at == 0), true)
		return err
	})
}

// inChunks encodes a segment without normalized added tokens. It normalizes the segment chunk by chunk.
func (e *encoder) inChunks(s segment) error {
	if len(e.normalizers)+len(e.prefixes) == 0 {
		_, err := e.words(s.text, true)
		return err
	}
	if e.changer == nil {
		e.changer = newChanger(e.changes())
	}
	e.changer.begin(s.at == 0)
	e.pending = e.pending[:0]
	for rest := s.text; ; {
		// A word that spans chunks is read again with each chunk, so chunks grow with it.
		n := min(len(rest), max(textChunk, len(e.pending)/e.growth))
		end := n == len(rest)
		e.pending = e.changer.push(e.pending, rest[:n], end)
		if err := e.tick(n); err != nil {
			return err
		}
		left, err := e.words(string(e.pending), end)
		if err != nil || end {
			return err
		}
		e.pending = e.pending[:copy(e.pending, left)]
		rest = rest[n:]
	}
}

// words encodes normalized text without added tokens, word by word. Unless this is the end of a segment, the
// last word may go on and is left.
func (e *encoder) words(text string, end bool) (left string, err error) {
	first := e.split // words by pattern
	if first == nil {
		first = e.splitSafely // words that can be cut off and change nothing
	}
	if e.wordMark != "" {
		first = func(s string) int { return splitBefore(s[:e.splitSafely(s)], e.wordMark) }
	}
	for len(text) > 0 {
		if err := e.count(len(text)); err != nil {
			return "", err
		}
		window := text[:min(len(text), maxWord+maxBehind)]
		n := first(window)
		if len(window) < len(text) || n > maxWord {
			// the pattern may give back the end of a run of capitals
			if n >= maxWord || run(window[n:], isUpper) >= len(window)-n-maxBehind {
				return "", fmt.Errorf("the text has a word of more than %d bytes, too long to tokenize",
					maxWord)
			}
		}
		if !end && n > len(text)-maxBehind {
			return text, nil // all of it, or all but a part of a character
		}
		e.ids = e.appendWord(e.ids, text[:n])
		text = text[n:]
		if err := e.tick(n); err != nil {
			return "", err
		}
	}
	return "", e.count(0)
}
