package gguf

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/tokenizer"
)

// The scores that llama.cpp's converter gives to tokens that no merge makes.
const (
	addedScore  = -1000
	fillerScore = -10000
)

// preNames are the values of tokenizer.ggml.pre that are written, by the pattern.
var preNames = map[string]string{
	tokenizer.PatternCL100K: "dbrx",
	tokenizer.PatternO200K:  "gpt-4o",
	tokenizer.PatternGPT2:   "gpt-2",
}

// TokenizerMetadata returns the metadata of the tokenizer in fsys, the directory of a checkpoint: the same
// keys and values as llama.cpp's converter. vocabSize is the number of rows of the embedding table.
//
// Two keys, which llama.cpp ignores, keep what would be lost. tokenizer.ggml.merges is beside the scores of a
// tokenizer of the SentencePiece kind if its merges do not follow from the scores.
// tokenizer.added_tokens_decoder has the added tokens whose flags are not those that phi3's rules give.
//
// The metadata is read again and compared. An error names the property of a tokenizer that GGUF cannot hold.
func TokenizerMetadata(fsys fs.FS, vocabSize int) ([]KV, error) {
	t, err := tokenizer.Load(fsys)
	if err != nil {
		return nil, err
	}
	d := t.Describe()
	if len(d.Pieces) > vocabSize {
		return nil, fmt.Errorf("the tokenizer has ids up to %d, but the embedding table has %d rows",
			len(d.Pieces)-1, vocabSize)
	}
	w := tokenizerWriter{d: d, size: vocabSize}
	if err := w.lists(fsys); err != nil {
		return nil, err
	}
	if err := w.ids(fsys); err != nil {
		return nil, err
	}
	w.put(addBOSKey, d.AddBOS)
	w.put(addEOSKey, d.AddEOS)
	w.templates()
	for _, extra := range []func() error{w.flags, w.merges} {
		if err := extra(); err != nil {
			return nil, err
		}
	}
	read, err := w.read()
	if err != nil {
		return nil, fmt.Errorf("a GGUF file cannot hold this tokenizer: %w", err)
	}
	if err := t.Difference(read); err != nil {
		return nil, fmt.Errorf("a GGUF file cannot hold this tokenizer: it has no room for %w", err)
	}
	return w.metadata, nil
}

var phi3Name = regexp.MustCompile(`(?i)(phi)-?3`)

// ModelName returns a general.name for a file with this metadata: title, or title with another spelling of
// "Phi-3". llama.cpp swallows the white space after special tokens if the name contains "phi-3" or "phi3",
// which is right for Phi-3 and nothing else. It then needs four tokens by name, and does not load a file
// without them.
func ModelName(title string, metadata []KV) (string, error) {
	c, err := (&tokenizerWriter{metadata: metadata}).checkpoint()
	if err != nil {
		return "", err
	}
	v, err := readVocabulary(&c.Meta)
	if err != nil || v == nil {
		return title, err
	}
	added, err := v.added()
	if err != nil {
		return "", err
	}
	swallows := slices.ContainsFunc(added, func(a tokenizer.AddedToken) bool { return a.Rstrip })
	for _, text := range []string{"<unk>", "<s>", "</s>", "<|endoftext|>"} {
		swallows = swallows && slices.Contains(v.tokens, text)
	}
	switch named := phi3Name.MatchString(title); {
	case swallows && !named:
		return title + " (Phi-3)", nil
	case !swallows && named:
		return phi3Name.ReplaceAllString(title, "$1 3"), nil
	}
	return title, nil
}

// tokenizerWriter makes the metadata of a tokenizer.
type tokenizerWriter struct {
	d        *tokenizer.Description
	size     int // ids
	metadata []KV
}

func (w *tokenizerWriter) put(key string, value any) { w.metadata = append(w.metadata, KV{key, value}) }

// checkpoint is a checkpoint with the metadata so far.
func (w *tokenizerWriter) checkpoint() (*Checkpoint, error) {
	head, _, err := makeHeader(w.metadata, nil)
	if err != nil {
		return nil, err
	}
	h, err := parse("the GGUF file", head)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{Meta: h.meta}
	c.view.tokenizer = sync.OnceValues(func() (map[string][]byte, error) { return tokenizerFiles(&c.Meta) })
	return c, nil
}

// read reads the tokenizer back.
func (w *tokenizerWriter) read() (*tokenizer.Tokenizer, error) {
	c, err := w.checkpoint()
	if err != nil {
		return nil, err
	}
	return tokenizer.Load(c)
}

// lists writes the vocabulary.
func (w *tokenizerWriter) lists(fsys fs.FS) error {
	tokens, types := w.tokens()
	if w.d.ByteLevel {
		pre, ok := preNames[w.d.Pattern]
		if ok && w.d.IgnoreMerges {
			pre, ok = "llama-bpe", w.d.Pattern == tokenizer.PatternCL100K
		}
		if !ok {
			return fmt.Errorf("llama.cpp has no name for the way in which this tokenizer cuts text into "+
				"words: %q", show.Brief(w.d.Pattern))
		}
		w.put(modelKey, bpeModel)
		w.put(preKey, pre)
		w.put(tokensKey, tokens)
		w.put(tokenTypeKey, types)
		w.putMerges()
		return nil
	}
	w.put(modelKey, spmModel)
	w.put(preKey, "default")
	w.put(tokensKey, tokens)
	w.put(scoresKey, w.scores(fsys, types))
	w.put(tokenTypeKey, types)
	if !w.d.SpacePrefix {
		w.put(prefixKey, false)
	}
	return nil
}

// tokens returns the texts and types of all tokens.
func (w *tokenizerWriter) tokens() (tokens []string, types []int32) {
	tokens, types = make([]string, w.size), make([]int32, w.size)
	for id := range tokens {
		tokens[id], types[id] = filler(id), unusedToken
		if id < len(w.d.Pieces) && w.d.Pieces[id] != "" {
			tokens[id], types[id] = w.d.Pieces[id], normalToken
		}
		if !w.d.ByteLevel && isByte(tokens[id]) {
			types[id] = byteToken
		}
	}
	for _, a := range w.d.Added {
		types[a.ID] = userToken
		if a.Special || w.d.ByteLevel && looksSpecial(a.Content) {
			types[a.ID] = controlToken
		} else if w.d.ByteLevel {
			tokens[a.ID] = strings.ReplaceAll(a.Content, "▁", " ")
		}
	}
	return tokens, types
}

// isByte reports whether a piece is the token of a byte, such as <0x0A>.
func isByte(piece string) bool {
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(piece, "<0x"), ">"), 16, 8)
	return err == nil && piece == fmt.Sprintf("<0x%02X>", n)
}

// scores returns the scores of all tokens: those of tokenizer.model, or else some from which the merges
// follow.
func (w *tokenizerWriter) scores(fsys fs.FS, types []int32) []float32 {
	pieces, scores, err := tokenizer.ModelScores(fsys)
	if err != nil || len(pieces) > len(w.d.Pieces) || !slices.Equal(pieces, w.d.Pieces[:len(pieces)]) {
		scores = w.ranked(types)
	}
	scores = append(scores, make([]float32, w.size-len(scores))...)
	for id, kind := range types {
		switch kind {
		case controlToken, userToken:
			scores[id] = addedScore
		case unusedToken:
			scores[id] = fillerScore
		}
	}
	return scores
}

// ranked returns scores as SentencePiece has them: 0 for the piece that the first merge makes, -1 for the
// next, and so on down to the pieces that none makes.
func (w *tokenizerWriter) ranked(types []int32) []float32 {
	next := float32(0)
	given := map[string]float32{}
	for _, m := range w.d.Merges {
		if _, ok := given[m[0]+m[1]]; !ok {
			given[m[0]+m[1]] = next
			next--
		}
	}
	scores := make([]float32, w.size)
	for id, kind := range types {
		if kind != normalToken {
			continue
		}
		score, ok := given[w.d.Pieces[id]]
		if !ok {
			score = next
			next--
		}
		scores[id] = score
	}
	return scores
}

// ids writes the ids of the named tokens: those that the tokenizer's files name, and else config.json's.
func (w *tokenizerWriter) ids(fsys fs.FS) error {
	var config map[string]json.RawMessage
	raw, err := fs.ReadFile(fsys, "config.json")
	if err == nil {
		if err := strictjson.Unmarshal(raw, &config); err != nil {
			return fmt.Errorf("config.json: %w", err)
		}
	}
	for _, n := range nameKeys {
		if text := w.d.Names[n.name]; text != "" {
			if id := slices.Index(w.d.Pieces, text); id >= 0 {
				w.put(n.key, uint32(id))
				continue
			}
		}
		var id int
		raw, ok := config[n.name+"_id"]
		if ok && json.Unmarshal(raw, &id) == nil && string(raw) != "null" && id >= 0 && id < w.size {
			w.put(n.key, uint32(id))
		}
	}
	return nil
}

// templates writes the chat templates.
func (w *tokenizerWriter) templates() {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(w.d.Templates)) {
		if key := templateName(name); name != "default" {
			names = append(names, key)
			w.put(templateKey+"."+key, w.d.Templates[name])
		}
	}
	if names != nil {
		w.put("tokenizer.chat_templates", names)
	}
	if text, ok := w.d.Templates["default"]; ok {
		w.put(templateKey, text)
	}
}

// flags writes the flags of the added tokens for which the rules give others.
func (w *tokenizerWriter) flags() error {
	c, err := w.checkpoint()
	if err != nil {
		return err
	}
	v, err := readVocabulary(&c.Meta)
	if err != nil {
		return err
	}
	given, err := v.added()
	if err != nil {
		return err
	}
	differ := map[string]tokenizer.AddedToken{}
	for _, a := range w.d.Added {
		if !slices.Contains(given, a) {
			differ[strconv.Itoa(int(a.ID))] = a
		}
	}
	if len(differ) == 0 {
		return nil
	}
	text, err := json.Marshal(differ)
	w.put(flagsKey, string(text))
	return err
}

// merges writes the merges beside the scores if they do not follow from these.
func (w *tokenizerWriter) merges() error {
	if w.d.ByteLevel {
		return nil
	}
	c, err := w.checkpoint()
	if err != nil {
		return err
	}
	_, merges, err := c.Vocabulary()
	if err != nil || slices.Equal(merges, w.d.Merges) {
		return err
	}
	w.putMerges()
	return nil
}

// putMerges writes all merges, each as its two parts with a space between.
func (w *tokenizerWriter) putMerges() {
	list := make([]string, len(w.d.Merges))
	for i, m := range w.d.Merges {
		list[i] = m[0] + " " + m[1]
	}
	w.put(mergesKey, list)
}
