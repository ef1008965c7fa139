package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"phi3/internal/show"
)

// preTokenizerJSON is the "pre_tokenizer" entry or one of its steps.
type preTokenizerJSON struct {
	Type           string      `json:"type"`
	PreTokenizers  entry       `json:"pretokenizers"`
	Pattern        patternJSON `json:"pattern"`
	Behavior       string      `json:"behavior"`
	Invert         bool        `json:"invert"`
	AddPrefixSpace *bool       `json:"add_prefix_space"` // absent means true for ByteLevel
	UseRegex       *bool       `json:"use_regex"`        // absent means true
	Replacement    string      `json:"replacement"`
	PrependScheme  string      `json:"prepend_scheme"` // absent means always
	Split          *bool       `json:"split"`          // absent means true
}

// readPreTokenizer reads null or Metaspace (SentencePiece kind), Sequence[Split, ByteLevel] or ByteLevel
// (byte-level kind), and reports whether it is the latter. prefixSpace is add_prefix_space of
// tokenizer_config.json, which transformers puts into a ByteLevel that stands alone, whatever that says.
func (t *Tokenizer) readPreTokenizer(e entry, prefixSpace bool) (byteLevel bool, err error) {
	if e.absent() {
		return false, nil
	}
	var top preTokenizerJSON
	if err := e.read(&top); err != nil {
		return false, err
	}
	switch top.Type {
	case "Metaspace":
		return false, t.readMetaspace(&top)
	case "ByteLevel":
		if prefixSpace {
			t.prefixes = []step{{prefix: " ", unless: true}}
		}
		t.pattern, t.split = PatternGPT2, splitGPT2
		if top.UseRegex != nil && !*top.UseRegex {
			t.pattern, t.split = "", func(s string) int { return len(s) }
		}
		return true, nil
	}
	steps, err := readList[preTokenizerJSON](top.PreTokenizers, maxSteps)
	if err != nil {
		return false, fmt.Errorf("pretokenizers: %w", err)
	}
	if top.Type != "Sequence" || len(steps) != 2 {
		return false, fmt.Errorf("type %q: want null, Metaspace, ByteLevel or Sequence[Split, ByteLevel]",
			show.Brief(top.Type))
	}
	split, level := steps[0], steps[1]
	switch {
	case split.Type != "Split" || level.Type != "ByteLevel":
		return false, fmt.Errorf("steps %q and %q: want Split and ByteLevel", split.Type, level.Type)
	case level.AddPrefixSpace == nil || *level.AddPrefixSpace || level.UseRegex == nil || *level.UseRegex:
		return false, errors.New("the ByteLevel step wants add_prefix_space false and use_regex false " +
			"after a Split")
	case split.Pattern.Regex == nil:
		return false, errors.New("the Split step wants a Regex pattern")
	// Both patterns match every character, so keeping the matches (Removed, inverted) and isolating them is
	// the same.
	case split.Behavior != map[bool]string{true: "Removed", false: "Isolated"}[split.Invert]:
		return false, fmt.Errorf("the Split behavior %q (invert %t) is not supported", split.Behavior,
			split.Invert)
	}
	t.pattern = *split.Pattern.Regex
	if t.split = splitterFor(t.pattern); t.split == nil {
		return false, fmt.Errorf("unknown Split pattern %q: known are those of cl100k (phi-4) and o200k "+
			"(Phi-4-mini)", *split.Pattern.Regex)
	}
	return true, nil
}

// readMetaspace makes steps of what Metaspace changes: " " becomes the replacement, and one comes first,
// before every segment ("always") or the first one.
func (t *Tokenizer) readMetaspace(m *preTokenizerJSON) error {
	if utf8.RuneCountInString(m.Replacement) != 1 {
		return fmt.Errorf("the Metaspace replacement %q is not one character", show.Brief(m.Replacement))
	}
	t.prefixes = []step{{old: " ", new: m.Replacement}}
	switch m.PrependScheme {
	case "always", "":
		t.prefixes = append(t.prefixes, step{prefix: m.Replacement, unless: true})
	case "first":
		t.prefixes = append(t.prefixes, step{prefix: m.Replacement, unless: true, first: true})
	case "never":
	default:
		return fmt.Errorf("the Metaspace prepend_scheme %q is not always, first or never",
			show.Brief(m.PrependScheme))
	}
	if m.AddPrefixSpace != nil && !*m.AddPrefixSpace && m.PrependScheme != "never" {
		return fmt.Errorf("the Metaspace has add_prefix_space false and prepend_scheme %q, which "+
			"contradict each other", m.PrependScheme)
	}
	if m.Split == nil || *m.Split {
		t.wordMark = m.Replacement
	}
	return nil
}

// splitBefore returns the length of the text before the first mark after the beginning of s.
func splitBefore(s, mark string) int {
	if n := strings.Index(s[1:], mark); n >= 0 {
		return 1 + n
	}
	return len(s)
}
