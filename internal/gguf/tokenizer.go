package gguf

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"phi3/internal/show"
	"phi3/internal/tokenizer"
)

// The keys of a tokenizer, besides those in endtokens.go.
const (
	modelKey    = "tokenizer.ggml.model"
	preKey      = "tokenizer.ggml.pre"
	scoresKey   = "tokenizer.ggml.scores"
	mergesKey   = "tokenizer.ggml.merges"
	addBOSKey   = "tokenizer.ggml.add_bos_token"
	addEOSKey   = "tokenizer.ggml.add_eos_token"
	prefixKey   = "tokenizer.ggml.add_space_prefix"
	templateKey = "tokenizer.chat_template"

	// phi3's own: the flags of added tokens that the rules of tokenizerflags.go do not give, as JSON in the
	// form of added_tokens_decoder in tokenizer_config.json.
	flagsKey = "tokenizer.added_tokens_decoder"
)

// The values of tokenizer.ggml.model.
const (
	spmModel = "llama" // the SentencePiece kind
	bpeModel = "gpt2"  // the byte-level kind
)

// The types of a token, besides controlToken. They are SentencePiece's.
const (
	normalToken  = 1
	unknownToken = 2
	userToken    = 4 // found in the text itself, as control tokens are, but not hidden from the user
	unusedToken  = 5 // fills the embedding table
	byteToken    = 6
)

// Bounds on a tokenizer. Package tokenizer has narrower ones, but checks them only after the lists are read.
const (
	maxTokens = 1 << 20 // Phi-4-mini has 200,064
	maxMerges = 1 << 22 // Phi-4-mini has 199,742
	maxAdded  = 1 << 16 // phi-4 has 96
)

// preTokenizers are the values of tokenizer.ggml.pre whose word patterns package tokenizer has.
var preTokenizers = map[string]struct {
	pattern      string
	ignoreMerges bool
	addBOS       bool // where the file does not say
}{
	"dbrx":      {pattern: tokenizer.PatternCL100K}, // phi-4
	"smaug-bpe": {pattern: tokenizer.PatternCL100K},
	"llama-bpe": {pattern: tokenizer.PatternCL100K, ignoreMerges: true, addBOS: true},
	"llama-v3":  {pattern: tokenizer.PatternCL100K, ignoreMerges: true, addBOS: true},
	"llama3":    {pattern: tokenizer.PatternCL100K, ignoreMerges: true, addBOS: true},
	"gpt-4o":    {pattern: tokenizer.PatternO200K}, // Phi-4-mini
	"gpt-2":     {pattern: tokenizer.PatternGPT2},
	"phi-2":     {pattern: tokenizer.PatternGPT2},
}

// nameKeys pairs the names of special tokens with their keys.
var nameKeys = [...]struct{ name, key string }{
	{"bos_token", "tokenizer.ggml.bos_token_id"},
	{"eos_token", "tokenizer.ggml.eos_token_id"},
	{"unk_token", "tokenizer.ggml.unknown_token_id"},
	{"sep_token", "tokenizer.ggml.seperator_token_id"}, // GGUF's spelling
	{"pad_token", "tokenizer.ggml.padding_token_id"},
	{"cls_token", "tokenizer.ggml.cls_token_id"},
	{"mask_token", "tokenizer.ggml.mask_token_id"},
}

// A vocabulary is what the metadata says of the tokenizer.
type vocabulary struct {
	meta      *Metadata
	byteLevel bool
	pre       string // byte-level: a key of preTokenizers
	tokens    []string
	types     []int32
	scores    []float32 // SentencePiece
	merges    []string  // byte-level; of the other kind only where the scores do not tell
}

// readVocabulary reads and checks the lists of the tokenizer. It returns nil if the file has no tokenizer.
func readVocabulary(m *Metadata) (*vocabulary, error) {
	model, err := m.Text(modelKey, "none")
	if err != nil {
		return nil, err
	}
	v := &vocabulary{meta: m, byteLevel: model == bpeModel}
	switch model {
	case "none", "no_vocab":
		return nil, nil
	case spmModel:
	case bpeModel:
		if v.pre, err = m.Text(preKey, ""); err != nil {
			return nil, err
		}
		if _, ok := preTokenizers[v.pre]; !ok {
			return nil, m.Errorf(preKey, "is %q; phi3 knows how these cut text into words: %s",
				show.Brief(v.pre), strings.Join(slices.Sorted(maps.Keys(preTokenizers)), ", "))
		}
	default:
		return nil, m.Errorf(modelKey, "is %q; phi3 reads tokenizers of the kinds %q and %q",
			show.Brief(model), spmModel, bpeModel)
	}
	for key, limit := range map[string]int{tokensKey: maxTokens, mergesKey: maxMerges} {
		if n := m.values[key].n; n > limit {
			return nil, m.Errorf(key, "has %d elements, over the limit of %d", n, limit)
		}
	}
	if v.tokens, err = m.Texts(tokensKey); err == nil {
		v.types, err = m.Ints(tokenTypeKey)
	}
	if err == nil {
		v.merges, err = m.Texts(mergesKey)
	}
	if err == nil && !v.byteLevel {
		v.scores, err = m.Floats(scoresKey)
	}
	if err != nil {
		return nil, err
	}
	return v, v.check()
}

// check compares the lists with each other.
func (v *vocabulary) check() error {
	m := v.meta
	need := []string{tokensKey, scoresKey}
	if v.byteLevel {
		need = []string{tokensKey, mergesKey}
	}
	for _, key := range need {
		if !m.Has(key) {
			return m.Errorf(key, "is missing, and a tokenizer of this kind needs it")
		}
	}
	if v.types == nil {
		v.types = slices.Repeat([]int32{normalToken}, len(v.tokens))
	}
	if len(v.types) != len(v.tokens) {
		return m.Errorf(tokenTypeKey, "has %d elements, but %s has %d", len(v.types), tokensKey,
			len(v.tokens))
	}
	if !v.byteLevel && len(v.scores) != len(v.tokens) {
		return m.Errorf(scoresKey, "has %d elements, but %s has %d", len(v.scores), tokensKey, len(v.tokens))
	}
	for id, score := range v.scores {
		if math.IsNaN(float64(score)) {
			return m.Errorf(scoresKey, "has NaN for token %d (%q)", id, show.Brief(v.tokens[id]))
		}
	}
	added := 0
	for id, text := range v.tokens {
		if v.isAdded(id) {
			added++
		}
		if text == "" {
			return m.Errorf(tokensKey, "has an empty token: number %d", id)
		}
		if k := v.types[id]; k < 0 || k > byteToken {
			return m.Errorf(tokenTypeKey, "has the type %d for token %d (%q), which GGUF does not have",
				k, id, show.Brief(text))
		}
	}
	if added > maxAdded {
		return m.Errorf(tokenTypeKey, "has %d tokens that were added to the vocabulary, over the limit of %d",
			added, maxAdded)
	}
	return nil
}

// isFiller reports whether a token only fills the embedding table. Hugging Face's tokenizer does not have
// such tokens.
func (v *vocabulary) isFiller(id int) bool {
	return v.types[id] == unusedToken && v.tokens[id] == filler(id)
}

// filler is the name that converters give the token that fills row id of the embedding table.
func filler(id int) string { return fmt.Sprintf("[PAD%d]", id) }

// isAdded reports whether a token is found in the text itself, before any merge.
func (v *vocabulary) isAdded(id int) bool {
	return v.types[id] == controlToken || v.types[id] == userToken || v.types[id] == unknownToken
}

// size returns the number of tokens of the vocabulary proper: without those at its end that were added to it.
func (v *vocabulary) size() int {
	n := len(v.tokens)
	for n > 0 && (v.isAdded(n-1) || v.isFiller(n-1)) {
		n--
	}
	return n
}

// Vocabulary returns the vocabulary and the merges. It makes a Checkpoint a [tokenizer.Source].
func (c *Checkpoint) Vocabulary() (map[string]int32, [][2]string, error) {
	m := &c.Meta
	v, err := readVocabulary(m)
	if err != nil || v == nil {
		return nil, nil, err
	}
	n := v.size()
	vocab := make(map[string]int32, n)
	for id, text := range v.tokens[:n] {
		if v.isFiller(id) || v.byteLevel && v.isAdded(id) {
			continue
		}
		if other, ok := vocab[text]; ok {
			return nil, nil, m.Errorf(tokensKey, "has %q twice, as tokens %d and %d", show.Brief(text),
				other, id)
		}
		vocab[text] = int32(id)
	}
	if v.merges != nil {
		merges, err := v.splitMerges()
		return vocab, merges, err
	}
	merges, err := tokenizer.MergesOf(v.tokens[:n], v.scores[:n], vocab)
	if err != nil {
		err = m.Errorf(tokensKey, "cannot be used: %w", err)
	}
	return vocab, merges, err
}

// splitMerges returns the merges that the file lists.
func (v *vocabulary) splitMerges() ([][2]string, error) {
	merges := make([][2]string, len(v.merges))
	for i, text := range v.merges {
		left, right, ok := strings.Cut(text, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return nil, v.meta.Errorf(mergesKey, "has %q as number %d, which is not two parts with a space "+
				"between", show.Brief(text), i)
		}
		merges[i] = [2]string{left, right}
	}
	return merges, nil
}

// NameOf returns the keys that a file was made from, for errors.
func (c *Checkpoint) NameOf(file string) string {
	switch file {
	case "tokenizer.json":
		return c.Meta.file + ": keys tokenizer.ggml.*"
	case "chat_template.jinja":
		return c.Meta.file + ": key " + templateKey
	}
	return c.Meta.file + ": " + file
}
