package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	hf "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/pretrained"

	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// This file is the only one that touches github.com/sugarme/tokenizer v0.3.0. Two parts of that library are
// right and are used: its struct for an added token (tokenizer.TokenConfig) and its decoders
// (pretrained.CreateDecoder). Its encoder is not used, because it differs from Hugging Face tokenizers 0.23
// in ways that break every chat prompt. The nine defects, with their places in v0.3.0:
//
//  1. No byte fallback: a character outside the vocabulary becomes <unk> instead of its UTF-8 bytes, so every
//     newline is lost (model/bpe/bpe.go:373-411; the setting is not even read, pretrained/model.go:103-104).
//  2. Equal-rank merges are taken by insertion time, not leftmost first, so runs of one character come out
//     wrong (model/bpe/word.go:263-277).
//  3. Special tokens that stand close together are dropped: matches are sorted by id, not by place, and one
//     that lies before the current offset is skipped (added-vocabulary.go:407-437).
//  4. rstrip and lstrip swallow one white space character instead of all of them
//     (added-vocabulary.go:163-168).
//  5. An added token that the model's vocabulary also holds, such as the non-special </s>, never becomes a
//     splitting token (added-vocabulary.go:298-332).
//  6. Replacing " " by "▁" is quadratic: 10 KB of text takes seconds (normalizer/normalized.go:1437).
//  7. Patterns with look-ahead panic, because Go's regexp has none: phi-4 and Phi-4-mini cannot be loaded
//     (normalizer/pattern.go:191).
//  8. The Strip decoder indexes the first character of an empty string: decoding nothing, or only skipped
//     ids, panics (decoder/strip.go:36-40). Decode therefore never hands it an empty list.
//  9. The configuration reader trusts its input: type assertions without a check panic on a hostile file
//     (pretrained/decoder.go:31 and all below it; decoder/byte-fallback.go:46 on a piece such as "<0xZZ>").
//     newDecoder therefore gives it an entry that it builds itself, and falseByte refuses such pieces. The
//     library gets only strings from an untrusted file.
//
// The library's struct for the whole file, tokenizer.Config, is not used either: its entries are
// map[string]interface{}, whose boxed values take twenty times the memory of their text. Phi-3's file takes
// 160 ms through pretrained.FromReader and 45 ms here.

// tokenizerJSON is tokenizer.json. Its truncation and padding are ignored, because Hugging Face sets both in
// every call.
type tokenizerJSON struct {
	AddedTokens   entry     `json:"added_tokens"`
	Normalizer    entry     `json:"normalizer"`
	PreTokenizer  entry     `json:"pre_tokenizer"`
	PostProcessor entry     `json:"post_processor"`
	Decoder       entry     `json:"decoder"`
	Model         modelJSON `json:"model"`
}

// entry is a part of tokenizer.json that is parsed later.
type entry json.RawMessage

// UnmarshalJSON keeps the text.
func (e *entry) UnmarshalJSON(raw []byte) error {
	*e = bytes.Clone(raw)
	return nil
}

// absent reports whether the entry is missing or null.
func (e entry) absent() bool { return len(e) == 0 || string(e) == "null" }

// read reads the entry into a struct.
func (e entry) read(into any) error {
	if e.absent() {
		return nil
	}
	return strictjson.Unmarshal(e, into)
}

// readList reads an entry that is a list of at most limit elements, one by one, so that "{},{},{}," cannot
// ask for more memory than those take.
func readList[T any](e entry, limit int) ([]T, error) {
	if e.absent() {
		return nil, nil
	}
	s := strictjson.NewScanner(e)
	if !s.Take('[') {
		return nil, errors.New("is not a list")
	}
	var all []T
	for !s.Take(']') {
		if len(all) == limit {
			return nil, fmt.Errorf("has more than %d entries", limit)
		}
		var one T
		if err := strictjson.Unmarshal([]byte(s.Raw()), &one); err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(all), err)
		}
		all = append(all, one)
		s.Take(',')
	}
	return all, nil
}

// decoderJSON is one element of the "decoder" entry.
type decoderJSON struct {
	Type     string      `json:"type"`
	Decoders entry       `json:"decoders"`
	Pattern  patternJSON `json:"pattern"`
	Content  string      `json:"content"`
	Start    int         `json:"start"`
	Stop     int         `json:"stop"`

	// Of Metaspace:
	Replacement    string `json:"replacement"`
	PrependScheme  string `json:"prepend_scheme"`
	AddPrefixSpace *bool  `json:"add_prefix_space"`
}

// patternJSON is a Hugging Face pattern: a literal string or a regular expression.
type patternJSON struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// decoderKind is how pieces become text.
type decoderKind struct {
	hf.Decoder
	rest hf.Decoder // the same for what does not begin the text: without Strip
	// plain: pieces are text without byte tokens; the library is not used.
	plain      bool
	join       string // plain: comes between two pieces
	firstDrops bool   // plain, Metaspace: the first piece of a text loses each mark

	byteLevel bool // pieces spell bytes with the 256 letters of byte-level BPE
	// The four below describe the SentencePiece chain Replace, ByteFallback, Fuse, Strip.
	mark, space string // Replace: "▁" by " "
	strip       string // Strip: at most stripMax (0 or 1) leading copies of this character go
	stripMax    int
}

// newDecoder checks the "decoder" entry and builds the library's decoder from it: null, ByteLevel, Metaspace,
// or some of Replace, ByteFallback, Fuse, Strip in this order. Anything else is refused in words.
func newDecoder(e entry) (decoderKind, error) {
	var top decoderJSON
	if e.absent() {
		return decoderKind{plain: true, join: " "}, nil
	}
	if err := e.read(&top); err != nil {
		return decoderKind{}, err
	}
	kind := decoderKind{byteLevel: top.Type == "ByteLevel"}
	if !kind.byteLevel {
		steps := []decoderJSON{top}
		if top.Type == "Sequence" {
			var err error
			if steps, err = readList[decoderJSON](top.Decoders, maxSteps); err != nil {
				return decoderKind{}, fmt.Errorf("decoders: %w", err)
			}
		}
		if len(steps) == 1 && steps[0].Type == "Metaspace" {
			var m Tokenizer // for the same checks as of a pre-tokenizer
			err := m.readMetaspace(&preTokenizerJSON{
				Replacement: steps[0].Replacement, PrependScheme: steps[0].PrependScheme,
				AddPrefixSpace: steps[0].AddPrefixSpace,
			})
			kind := decoderKind{
				plain: true, mark: steps[0].Replacement, space: " ",
				firstDrops: steps[0].PrependScheme != "never",
			}
			return kind, err
		}
		if err := kind.readChain(steps); err != nil || kind.plain {
			return kind, err
		}
	}
	var err error
	if kind.Decoder, err = kind.create(true); err != nil {
		return decoderKind{}, err
	}
	kind.rest, err = kind.create(false)
	return kind, err
}

// readChain reads steps, each of which may be missing. Fuse matters only to the Strip behind it.
func (d *decoderKind) readChain(steps []decoderJSON) error {
	const want = "want null, ByteLevel, Metaspace, or some of Replace, ByteFallback, Fuse, Strip " +
		"in this order"
	d.plain = true
	names, next := []string{"Replace", "ByteFallback", "Fuse", "Strip"}, 0
	for i, step := range steps {
		at := slices.Index(names, step.Type)
		if at < next || step.Type == "Strip" && (i == 0 || steps[i-1].Type != "Fuse") {
			return fmt.Errorf("type %q as step %d: %s", show.Brief(step.Type), i, want)
		}
		next = at + 1
		switch step.Type {
		case "Replace":
			if step.Pattern.String == nil || *step.Pattern.String == "" || step.Content == "" {
				return errors.New("the Replace step wants a non-empty String pattern and content")
			}
			d.mark, d.space = *step.Pattern.String, step.Content
		case "ByteFallback":
			d.plain = false
		case "Strip":
			// With more than one character to strip the library indexes past the end of a short text (defect
			// 8).
			if step.Start < 0 || step.Start > 1 || step.Stop != 0 || step.Content == "" {
				return fmt.Errorf("the Strip step has start %d, stop %d: want start 0 or 1, stop 0 and a "+
					"content", step.Start, step.Stop)
			}
			d.strip, d.stripMax = step.Content, step.Start
		}
	}
	for _, text := range []string{d.mark, d.space, d.strip} {
		// the library compiles a regular expression for every token, and panics on one that is too large
		if len(text) > maxDecoderText {
			return fmt.Errorf("a text of %d bytes, more than %d", len(text), maxDecoderText)
		}
	}
	return nil
}

// create builds the library's decoder from an entry that phi3 writes, never from the file's: the library
// asserts types without a check.
func (d *decoderKind) create(strip bool) (hf.Decoder, error) {
	if d.byteLevel {
		// add_prefix_space and trim_offsets do not touch decoding
		return pretrained.CreateDecoder(map[string]interface{}{"type": "ByteLevel"})
	}
	var steps []interface{}
	if d.mark != "" {
		steps = append(steps, map[string]interface{}{
			"type":    "Replace",
			"pattern": map[string]interface{}{"String": d.mark}, "content": d.space,
		})
	}
	steps = append(steps, map[string]interface{}{"type": "ByteFallback"},
		map[string]interface{}{"type": "Fuse"})
	if strip && d.strip != "" {
		steps = append(steps, map[string]interface{}{
			"type": "Strip", "content": d.strip, "start": float64(d.stripMax), "stop": float64(0),
		})
	}
	return pretrained.CreateDecoder(map[string]interface{}{"type": "Sequence", "decoders": steps})
}
