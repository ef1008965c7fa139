package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream turns generated ids into text one at a time. The text that it has returned never changes and never
// ends within a character.
//
// The concatenation of all pieces is what decoding prompt and answer together gives beyond the decoded prompt
// (spec 4.1, item 5): the first generated token keeps its leading space, which decoding the answer alone
// would strip. Bytes that form no character become U+FFFD: in the byte-level kind one for each maximal part,
// and in the SentencePiece kind one for each byte of a run of byte tokens, from the first one that is broken
// to the run's end. Decode replaces the whole run there, so the two differ where a run begins with whole
// characters, which a stream has returned by then; Hugging Face's stream ends with an error.
//
// A token's bytes do not depend on its neighbours, so Push costs the length of its token, however long the
// text already is.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	pending     []byte // the beginning of a character that is not complete; at most 3 bytes between calls
	broken      int    // SentencePiece: bytes of the run that will be U+FFFD when it ends
	begun       bool   // plain: there was a piece
	strip       int    // how many leading strip characters may still go: only before the first text
}

// NewStream starts streaming after a prompt, which may be empty.
func (t *Tokenizer) NewStream(prompt []int32, skipSpecial bool) *Stream {
	s := &Stream{t: t, skipSpecial: skipSpecial, strip: t.decoder.stripMax}
	for _, id := range prompt {
		s.Push(id)
	}
	return s
}

// Push takes the next id and returns the text that it completes: often a word, "" for a special token that is
// skipped, an id without token, or a character that is still incomplete.
func (s *Stream) Push(id int32) string {
	piece := s.t.rawPiece(id)
	if piece == "" || s.skipSpecial && s.t.special[id] {
		return ""
	}
	d := &s.t.decoder
	if d.plain {
		text := d.written(piece)
		switch {
		case s.begun:
			text = d.join + text
		case d.firstDrops:
			text = strings.ReplaceAll(piece, d.mark, "")
		}
		s.begun = true
		return s.stripped(text)
	}
	if d.byteLevel {
		text, ok := letterBytes(piece)
		if !ok {
			return "" // unreachable for a loaded vocabulary, whose pieces Load has checked
		}
		s.pending = append(s.pending, text...)
		return s.complete(false)
	}
	if c, ok := byteToken(piece); ok {
		if s.broken > 0 {
			s.broken++
			return ""
		}
		s.pending = append(s.pending, c)
		return s.stripped(s.complete(false))
	}
	// A written character ends any run of byte tokens, complete or not.
	text := s.complete(true) + d.written(piece)
	return s.stripped(text)
}

// Flush ends the text and returns what was still pending, as U+FFFD.
func (s *Stream) Flush() string { return s.stripped(s.complete(true)) }

// complete takes the whole characters from the front of pending. What can still become a character stays,
// unless this is the end.
func (s *Stream) complete(end bool) string {
	var out strings.Builder
	for len(s.pending) > 0 {
		if !end && !utf8.FullRune(s.pending) {
			break
		}
		r, size := utf8.DecodeRune(s.pending)
		switch {
		case r != utf8.RuneError || size != 1:
			out.Write(s.pending[:size])
		case !s.t.decoder.byteLevel:
			s.broken, size = len(s.pending), len(s.pending)
		default:
			size = brokenPrefix(string(s.pending))
			out.WriteRune(utf8.RuneError)
		}
		s.pending = s.pending[:copy(s.pending, s.pending[size:])]
	}
	if end {
		out.WriteString(strings.Repeat(string(utf8.RuneError), s.broken))
		s.broken = 0
	}
	return out.String()
}

// stripped drops the leading space of the whole text, which the "▁" before the first word has become.
func (s *Stream) stripped(text string) string {
	for ; s.strip > 0 && text != ""; s.strip-- {
		rest, ok := strings.CutPrefix(text, s.t.decoder.strip)
		if !ok {
			s.strip = 0
			break
		}
		text = rest
	}
	return text
}

// written is a piece of text with its marks replaced.
func (d *decoderKind) written(piece string) string {
	if d.mark == "" {
		return piece
	}
	return strings.ReplaceAll(piece, d.mark, d.space)
}

// byteToken reads the byte of a piece such as <0x0A>.
func byteToken(piece string) (byte, bool) {
	if !looksLikeByte(piece) {
		return 0, false
	}
	return unhex(piece[3])<<4 | unhex(piece[4]), true
}

// looksLikeByte reports whether a piece has the shape <0x..>, which the decoder takes for a byte.
func looksLikeByte(piece string) bool {
	return len(piece) == 6 && piece[:3] == "<0x" && piece[5] == '>'
}

// falseByte reports a piece that the decoder would take for a byte and that is none: <0xZZ>, on which the
// library panics (see sugarme.go), or one that starts or ends to look like a byte when the Replace step has
// changed it.
func (d *decoderKind) falseByte(piece string) bool {
	if d.plain {
		return false
	}
	if !d.byteLevel && d.mark != "" {
		if replaced := strings.ReplaceAll(piece, d.mark, d.space); replaced != piece &&
			(looksLikeByte(piece) || looksLikeByte(replaced)) {
			return true
		}
	}
	return looksLikeByte(piece) && strings.Trim(piece[3:5], "0123456789abcdefABCDEF") != ""
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
