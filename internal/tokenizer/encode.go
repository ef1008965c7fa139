package tokenizer

import (
	"fmt"
	"strings"
)

// EncodeOptions changes what Encode does. The zero value is Hugging Face's default.
type EncodeOptions struct {
	// NoBOS leaves out the tokens that the checkpoint adds around a text, usually one BOS or nothing (Hugging Face:
	// add_special_tokens=False). Text from ApplyChatTemplate wants it: the template has written its own BOS.
	NoBOS bool
	// SpecialAsText reads special tokens in the text as ordinary characters (Hugging Face: split_special_tokens=True), so that a
	// stranger's text cannot end a turn with "<|end|>". Added tokens that are not special, such as </s>, still count.
	SpecialAsText bool
}

// maxText bounds the text so that symbol positions fit in 32 bits: 1 GiB.
const maxText = 1 << 30

// Encode turns text into token ids, exactly as Hugging Face tokenizers does (spec 5.1, 5.2).
//
// Bytes that are not UTF-8 become U+FFFD first, one for each maximal part of a broken character, as Python's
// errors="replace" gives them. The only error is a text above 1 GiB. Time is linear in the text for any real one, and
// n log n in the worst case; it may be called from several goroutines.
func (t *Tokenizer) Encode(text string, opt EncodeOptions) ([]int32, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("text of %d bytes is too long to tokenize: at most %d", len(text), maxText)
	}
	text = ValidUTF8(text)
	m := t.mergers.Get().(*merger)
	defer t.mergers.Put(m)

	ids := make([]int32, 0, len(text)/4+8)
	if !opt.NoBOS {
		ids = append(ids, t.before...)
	}
	for _, seg := range t.addedRaw.split(text, opt.SpecialAsText) {
		if seg.token != nil {
			ids = append(ids, seg.token.id)
			continue
		}
		// Each segment is normalized by itself, so each one after a special token gets its own leading "▁".
		for _, seg := range t.addedNormalized.split(t.normalize(seg.text), opt.SpecialAsText) {
			if seg.token != nil {
				ids = append(ids, seg.token.id)
				continue
			}
			ids = t.appendSegment(ids, m, seg.text)
		}
	}
	if !opt.NoBOS {
		ids = append(ids, t.after...)
	}
	return ids, nil
}

// appendSegment encodes normalized text without added tokens, word by word.
func (t *Tokenizer) appendSegment(ids []int32, m *merger, text string) []int32 {
	first := t.split // byte-level: words by pattern
	if first == nil {
		first = t.bpe.splitSafely // SentencePiece: one word, cut where that changes nothing
	}
	for len(text) > 0 {
		n := first(text)
		ids = m.appendWord(ids, text[:n])
		text = text[n:]
	}
	return ids
}

// normalizer is one step of text normalization: Prepend puts prefix before a non-empty text, Replace changes old to new.
type normalizer struct {
	prepend  string
	old, new string
}

// normalize runs the checkpoint's normalizer: for Phi-3 " " becomes "▁", and a "▁" comes first.
func (t *Tokenizer) normalize(text string) string {
	for _, step := range t.normalizers {
		switch {
		case text == "":
		case step.prepend != "":
			text = step.prepend + text
		default:
			text = strings.ReplaceAll(text, step.old, step.new)
		}
	}
	return text
}
