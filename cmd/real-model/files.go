package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"phi3/internal/gguf"
	"phi3/internal/tokenizer"
)

// object is a JSON object whose keys keep their order.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{m.key, m.value} {
			if j > 0 {
				b.WriteByte(':')
			}
			if err := encode(b, v, ""); err != nil {
				return nil, err
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode writes v as Python's json module does.
func encode(b *bytes.Buffer, v any, indent string) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	b.Truncate(max(0, b.Len()-1)) // the newline
	return err
}

// number is a number as Python writes it.
func number(x float64) json.RawMessage {
	text := strconv.FormatFloat(x, 'f', -1, 64)
	switch {
	case x < 1e-4 && x > 0:
		text = strconv.FormatFloat(x, 'e', -1, 64)
	case !strings.Contains(text, "."):
		text += ".0"
	}
	return json.RawMessage(text)
}

// writeFiles writes the files beside the weights.
func writeFiles(meta *gguf.Metadata, dir string, s *sizes) error {
	v, err := readVocabulary(meta)
	if err != nil {
		return err
	}
	template, err := meta.Text("tokenizer.chat_template", "")
	if err != nil {
		return err
	}
	for name, content := range map[string]object{
		"config.json":            config(s, len(v.tokens)),
		"generation_config.json": {{"bos_token_id", 1}, {"eos_token_id", 2}, {"pad_token_id", 2}},
		"tokenizer.json":         v.tokenizer(),
		"tokenizer_config.json":  v.tokenizerConfig(template),
	} {
		var b bytes.Buffer
		if err := encode(&b, content, " "); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func config(s *sizes, vocabulary int) object {
	return object{
		{"architectures", []string{"Phi3ForCausalLM"}},
		{"model_type", "phi3"},
		{"attention_bias", false},
		{"attention_dropout", number(0)},
		{"bos_token_id", 1},
		{"eos_token_id", 2},
		{"pad_token_id", 2},
		{"hidden_act", "silu"},
		{"hidden_size", s.width},
		{"intermediate_size", s.intermediate},
		{"max_position_embeddings", s.maxPositions},
		{"original_max_position_embeddings", s.maxPositions},
		{"num_attention_heads", s.outHeads},
		{"num_hidden_layers", s.layers},
		{"num_key_value_heads", s.outKV},
		{"rms_norm_eps", number(s.eps)},
		{"rope_scaling", nil},
		{"rope_theta", number(100000)},
		{"sliding_window", nil},
		{"tie_word_embeddings", true},
		{"torch_dtype", "bfloat16"},
		{"vocab_size", vocabulary},
		{"resid_pdrop", number(0)},
		{"embd_pdrop", number(0)},
		{"use_cache", true},
		{"partial_rotary_factor", number(1)},
	}
}

// vocabulary is the tokenizer of the source.
type vocabulary struct {
	tokens []string
	added  []int // ids of special tokens
	merges []string
}

// readVocabulary reads the tokenizer. SmolLM2's lacks the tokens of a few bytes, which Phi-3's tokenizers
// have: they take the places of special tokens that nothing here uses, and then of the last tokens. Merges
// that need a token that is gone go too.
func readVocabulary(meta *gguf.Metadata) (v vocabulary, err error) {
	if v.tokens, err = meta.Texts("tokenizer.ggml.tokens"); err != nil {
		return v, err
	}
	kinds, err := meta.Ints("tokenizer.ggml.token_type")
	if err != nil {
		return v, err
	}
	merges, err := meta.Texts("tokenizer.ggml.merges")
	if err != nil {
		return v, err
	}
	if len(kinds) != len(v.tokens) {
		return v, fmt.Errorf("%d tokens and %d kinds of tokens", len(v.tokens), len(kinds))
	}
	v.tokens = slices.Clone(v.tokens)
	known := map[string]bool{}
	for _, t := range v.tokens {
		known[t] = true
	}
	places := make([]int, 0, len(v.tokens)) // 16 … 3, then from the last one down
	for i := 16; i > 2; i-- {
		places = append(places, i)
	}
	for i := len(v.tokens) - 1; i > 0; i-- {
		places = append(places, i)
	}
	gone := map[string]bool{}
	for _, letter := range byteLetters() {
		if known[letter] {
			continue
		}
		place := places[0]
		places = places[1:]
		gone[v.tokens[place]] = true
		v.tokens[place], kinds[place] = letter, 1
	}
	for _, merge := range merges {
		a, b, _ := strings.Cut(merge, " ")
		if !gone[a] && !gone[b] && !gone[a+b] {
			v.merges = append(v.merges, merge)
		}
	}
	const control = 3
	for id, kind := range kinds {
		if kind == control {
			v.added = append(v.added, id)
		}
	}
	return v, nil
}

// byteLetters returns the letter that stands for each byte in a byte-level tokenizer.
func byteLetters() (letters [256]string) {
	next := rune(256)
	for b := range letters {
		switch {
		case b >= 33 && b <= 126, b >= 161 && b <= 172, b >= 174:
			letters[b] = string(rune(b))
		default:
			letters[b] = string(next)
			next++
		}
	}
	return letters
}

// addedToken describes a special token.
func (v *vocabulary) addedToken(id int, head ...member) object {
	return append(head, object{
		{"content", v.tokens[id]},
		{"single_word", false},
		{"lstrip", false},
		{"rstrip", false},
		{"normalized", false},
		{"special", true},
	}...)
}

func byteLevel(prefix, trim, regex bool) object {
	return object{
		{"type", "ByteLevel"},
		{"add_prefix_space", prefix},
		{"trim_offsets", trim},
		{"use_regex", regex},
	}
}

// tokenizer returns tokenizer.json.
func (v *vocabulary) tokenizer() object {
	var added []object
	for _, id := range v.added {
		added = append(added, v.addedToken(id, member{"id", id}))
	}
	ids := make(object, len(v.tokens))
	for id, token := range v.tokens {
		ids[id] = member{token, id}
	}
	split := object{
		{"type", "Split"},
		{"pattern", object{{"Regex", tokenizer.PatternO200K}}},
		{"behavior", "Removed"},
		{"invert", true},
	}
	return object{
		{"version", "1.0"},
		{"truncation", nil},
		{"padding", nil},
		{"added_tokens", added},
		{"normalizer", nil},
		{"pre_tokenizer", object{
			{"type", "Sequence"},
			{"pretokenizers", []object{split, byteLevel(false, true, false)}},
		}},
		{"post_processor", byteLevel(true, false, true)},
		{"decoder", byteLevel(true, true, true)},
		{"model", object{
			{"type", "BPE"},
			{"dropout", nil},
			{"unk_token", nil},
			{"continuing_subword_prefix", nil},
			{"end_of_word_suffix", nil},
			{"fuse_unk", false},
			{"byte_fallback", false},
			{"ignore_merges", false},
			{"vocab", ids},
			{"merges", v.merges},
		}},
	}
}

// tokenizerConfig returns tokenizer_config.json.
func (v *vocabulary) tokenizerConfig(template string) object {
	var added object
	for _, id := range v.added {
		added = append(added, member{strconv.Itoa(id), v.addedToken(id)})
	}
	return object{
		{"tokenizer_class", "GPT2Tokenizer"},
		{"bos_token", "<|im_start|>"},
		{"eos_token", "<|im_end|>"},
		{"unk_token", "<|endoftext|>"},
		{"pad_token", "<|im_end|>"},
		{"add_prefix_space", false},
		{"clean_up_tokenization_spaces", false},
		{"model_max_length", 8192},
		{"chat_template", template},
		{"added_tokens_decoder", added},
	}
}
