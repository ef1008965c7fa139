package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// decodeChunk is how many ids the library decodes at a time: it takes 100 bytes of memory for each.
const decodeChunk = 1 << 14

// Decode turns ids back into text. Ids without a token give no text; with skipSpecial, special tokens give
// no text either. Bytes that form no character become U+FFFD: in the SentencePiece kind one for each byte of
// a run of byte tokens that is not wholly valid, in the byte-level kind one for each maximal part of a broken
// character (both as Hugging Face does).
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var out strings.Builder
	if t.decoder.plain {
		s := t.NewStream(nil, skipSpecial)
		for _, id := range ids {
			out.WriteString(s.Push(id))
		}
		return out.String()
	}
	decoder := t.decoder.Decoder
	pieces := make([]string, 0, min(len(ids), decodeChunk))
	flush := func() {
		if len(pieces) > 0 { // the library's Strip decoder panics on nothing
			out.WriteString(decoder.Decode(pieces))
			pieces, decoder = pieces[:0], t.decoder.rest
		}
	}
	var run []byte // of byte tokens, where it is longer than a chunk
	for _, id := range ids {
		piece := t.rawPiece(id)
		if piece == "" || skipSpecial && t.special[id] {
			continue
		}
		c, isByte := byteToken(piece)
		if t.decoder.byteLevel { // a piece that may go on with a character
			first, _ := utf8.DecodeRuneInString(piece)
			c, isByte = 0, !utf8.RuneStart(letterByte[first])
		}
		switch {
		case run != nil && isByte:
			run = append(run, c)
			continue
		case run != nil:
			out.WriteString(wholeOrBroken(run))
			run = nil
		case len(pieces) >= decodeChunk && !isByte, len(pieces) >= 2*decodeChunk && t.decoder.byteLevel:
			flush()
		case len(pieces) >= 2*decodeChunk: // a run that does not end: what is before it, and then the run
			at := len(pieces)
			for at > 0 && looksLikeByte(pieces[at-1]) {
				at--
			}
			for _, p := range pieces[at:] {
				b, _ := byteToken(p)
				run = append(run, b)
			}
			run = append(run, c)
			pieces = pieces[:at]
			flush()
			decoder, pieces = t.decoder.rest, pieces[:0]
			continue
		}
		pieces = append(pieces, piece)
	}
	out.WriteString(wholeOrBroken(run))
	flush()
	return ValidUTF8(out.String())
}

// wholeOrBroken is the text of a run of byte tokens.
func wholeOrBroken(run []byte) string {
	if utf8.Valid(run) {
		return string(run)
	}
	return strings.Repeat(string(utf8.RuneError), len(run))
}

// rawPiece is the piece as the vocabulary spells it, "" for an id without token.
func (t *Tokenizer) rawPiece(id int32) string {
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// Piece is the vocabulary piece of an id, for tables: "▁Berlin" in the SentencePiece kind, " Berlin" in the
// byte-level kind, where bytes that form no character are shown as <0xE6>. It is "" for an id without token.
func (t *Tokenizer) Piece(id int32) string {
	piece := t.rawPiece(id)
	if !t.decoder.byteLevel {
		return piece
	}
	text, ok := letterBytes(piece)
	if !ok {
		return piece
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&out, "<0x%02X>", text[i])
		} else {
			out.WriteString(text[i : i+size])
		}
		i += size
	}
	return out.String()
}

// VocabSize returns one more than the highest id that has a token. A model's embedding table may have more
// rows.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// ID returns the id of a piece as the vocabulary spells it ("▁Berlin", "ĠBerlin", "<|end|>").
func (t *Tokenizer) ID(piece string) (int32, bool) {
	if id, ok := t.bpe.vocab[piece]; ok {
		return id, true
	}
	if a := t.addedBy[piece]; a != nil {
		return a.id, true
	}
	return 0, false
}

// IsSpecial reports whether Decode with skipSpecial leaves the id out.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.rawPiece(id) != "" && t.special[id] }
