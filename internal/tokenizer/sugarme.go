package tokenizer

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	hf "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/pretrained"
)

// This file is the only one that touches github.com/sugarme/tokenizer v0.3.0. Two parts of that library are right and are
// used: its structs for tokenizer.json (tokenizer.Config) and its decoders (pretrained.CreateDecoder). Its encoder is not
// used, because it differs from Hugging Face tokenizers 0.23 in ways that break every chat prompt. The nine defects, with
// their places in v0.3.0:
//
//  1. No byte fallback: a character outside the vocabulary becomes <unk> instead of its UTF-8 bytes, so every newline
//     is lost (model/bpe/bpe.go:373-411; the setting is not even read, pretrained/model.go:103-104).
//  2. Equal-rank merges are taken by insertion time, not leftmost first, so runs of one character come out wrong
//     (model/bpe/word.go:263-277).
//  3. Special tokens that stand close together are dropped: matches are sorted by id, not by place, and one that lies
//     before the current offset is skipped (added-vocabulary.go:407-437).
//  4. rstrip and lstrip swallow one white space character instead of all of them (added-vocabulary.go:163-168).
//  5. An added token that the model's vocabulary also holds, such as the non-special </s>, never becomes a splitting
//     token (added-vocabulary.go:298-332).
//  6. Replacing " " by "▁" is quadratic: 10 KB of text takes seconds (normalizer/normalized.go:1437).
//  7. Patterns with look-ahead panic, because Go's regexp has none: phi-4 and Phi-4-mini cannot be loaded
//     (normalizer/pattern.go:191).
//  8. The Strip decoder indexes the first character of an empty string: decoding nothing, or only skipped ids, panics
//     (decoder/strip.go:36-40). Decode therefore never hands it an empty list.
//  9. The configuration reader trusts its input: type assertions without a check panic on a hostile file
//     (pretrained/decoder.go:31 and all below it; decoder/byte-fallback.go:46 on a piece such as "<0xZZ>"). newDecoder
//     therefore hands it an entry of its own making, and falseByte refuses such pieces.
//
// The model part of the file (vocabulary and merges, 99 % of its bytes) is kept out of tokenizer.Config: there it becomes
// a map[string]interface{} with one boxed float64 a token. Phi-3's file takes 160 ms through pretrained.FromReader and 45 ms here.

// tokenizerJSON is tokenizer.json: the library's Config, with the model left for us to read.
// encoding/json prefers the shallower of two fields of one name, so Config.Model stays nil.
type tokenizerJSON struct {
	hf.Config
	Model modelJSON `json:"model"`
}

// decoderJSON is one element of the "decoder" entry.
type decoderJSON struct {
	Type     string                   `json:"type"`
	Decoders []map[string]interface{} `json:"decoders"`
	Pattern  patternJSON              `json:"pattern"`
	Content  string                   `json:"content"`
	Start    int                      `json:"start"`
	Stop     int                      `json:"stop"`
}

// patternJSON is a Hugging Face pattern: a literal string or a regular expression.
type patternJSON struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// decoderKind says how pieces become text.
type decoderKind struct {
	hf.Decoder
	byteLevel bool // pieces spell bytes with the 256 letters of byte-level BPE
	// The four below describe the SentencePiece chain Replace, ByteFallback, Fuse, Strip.
	mark, space string // Replace: "▁" by " "
	strip       string // Strip: at most stripMax (0 or 1) leading copies of this character go
	stripMax    int
}

// newDecoder checks the "decoder" entry and builds the library's decoder from it. Two shapes exist in the Phi-3 family:
// ByteLevel, and Sequence[Replace, ByteFallback, Fuse, Strip]. Anything else is refused in words.
func newDecoder(entry map[string]interface{}) (decoderKind, error) {
	var top decoderJSON
	if err := reshape(entry, &top); err != nil {
		return decoderKind{}, err
	}
	kind := decoderKind{byteLevel: top.Type == "ByteLevel"}
	if !kind.byteLevel {
		if top.Type != "Sequence" || len(top.Decoders) != 4 {
			return decoderKind{}, fmt.Errorf("type %q: want ByteLevel or Sequence[Replace, ByteFallback, Fuse, Strip]", top.Type)
		}
		var steps [4]decoderJSON
		for i, want := range []string{"Replace", "ByteFallback", "Fuse", "Strip"} {
			if err := reshape(top.Decoders[i], &steps[i]); err != nil {
				return decoderKind{}, err
			}
			if steps[i].Type != want {
				return decoderKind{}, fmt.Errorf("step %d is %q, want %s", i, steps[i].Type, want)
			}
		}
		replace, strip := steps[0], steps[3]
		if replace.Pattern.String == nil || *replace.Pattern.String == "" || replace.Content == "" {
			return decoderKind{}, fmt.Errorf("the Replace step wants a non-empty String pattern and content")
		}
		// With more than one character to strip the library indexes past the end of a short text (defect 8).
		if strip.Start < 0 || strip.Start > 1 || strip.Stop != 0 || strip.Content == "" {
			return decoderKind{}, fmt.Errorf("the Strip step has start %d, stop %d: want start 0 or 1, stop 0 and a content", strip.Start, strip.Stop)
		}
		kind.mark, kind.space = *replace.Pattern.String, replace.Content
		kind.strip, kind.stripMax = strip.Content, strip.Start
	}
	// The library is handed an entry of our own making, never the file's: it asserts types without a check.
	checked := map[string]interface{}{"type": "ByteLevel"} // its add_prefix_space and trim_offsets do not touch decoding
	if !kind.byteLevel {
		checked = map[string]interface{}{"type": "Sequence", "decoders": []interface{}{
			map[string]interface{}{"type": "Replace", "pattern": map[string]interface{}{"String": kind.mark}, "content": kind.space},
			map[string]interface{}{"type": "ByteFallback"},
			map[string]interface{}{"type": "Fuse"},
			map[string]interface{}{"type": "Strip", "content": kind.strip, "start": float64(kind.stripMax), "stop": float64(0)},
		}}
	}
	decoder, err := pretrained.CreateDecoder(checked)
	if err != nil {
		return decoderKind{}, err
	}
	kind.Decoder = decoder
	return kind, nil
}

// reshape reads a generic JSON object into a typed struct, so that wrong types become errors, not panics. A key that differs
// from a field's in letter case alone is an error too: encoding/json would take "Type" for "type", and Hugging Face's reader
// and the lookups in the generic object do not.
func reshape(entry map[string]interface{}, into any) error {
	fields := reflect.TypeOf(into).Elem()
	for i := range fields.NumField() {
		name := fields.Field(i).Tag.Get("json")
		for key := range entry {
			if key != name && strings.EqualFold(key, name) {
				return fmt.Errorf("the key %q should be %q", key, name)
			}
		}
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}
