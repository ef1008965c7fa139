package gguf

import (
	"fmt"
	"slices"
)

// The keys of special tokens. Those of tokenizer.ggml.token_type are SentencePiece's: 3 is a control token.
const (
	tokensKey    = "tokenizer.ggml.tokens"
	tokenTypeKey = "tokenizer.ggml.token_type"
	controlToken = 3
)

// endTexts are the tokens that end an answer in the models of the family. A GGUF file has room for one
// eos_token_id, and for an eot_token_id and an eom_token_id that most converters do not write. Hugging Face
// has a list.
var endTexts = []string{"<|end|>", "<|endoftext|>", "<|im_end|>"}

// endTokens reads the special ids into made, and returns the ids that end generation: the file's own, then
// the control tokens with one of the endTexts.
func (c *Checkpoint) endTokens(made *config) (ends []int32, err error) {
	tokens, err := c.Meta.Texts(tokensKey)
	if err != nil {
		return nil, err
	}
	types, err := c.Meta.Ints(tokenTypeKey)
	if err != nil {
		return nil, err
	}
	if types != nil && len(types) != len(tokens) {
		return nil, c.Meta.Errorf(tokenTypeKey, "has %d elements, but %s has %d", len(types), tokensKey,
			len(tokens))
	}
	if int64(len(tokens)) > made.VocabSize {
		return nil, c.Meta.Errorf(tokensKey, "has %d elements, but the embedding table has %d rows",
			len(tokens), made.VocabSize)
	}
	var eot, eom *int32
	for _, k := range []struct {
		name string
		id   **int32
	}{{"bos", &made.BOS}, {"eos", &made.EOS}, {"padding", &made.Pad}, {"eot", &eot}, {"eom", &eom}} {
		if *k.id, err = c.tokenID("tokenizer.ggml."+k.name+"_token_id", made.VocabSize); err != nil {
			return nil, err
		}
	}
	add := func(id int32) {
		if !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	for _, id := range []*int32{made.EOS, eot, eom} {
		if id != nil {
			add(*id)
		}
	}
	for _, text := range endTexts {
		id := slices.Index(tokens, text)
		if id >= 0 && (types == nil || types[id] == controlToken) {
			add(int32(id))
		}
	}
	if len(ends) == 0 {
		return nil, fmt.Errorf("%s: has no key tokenizer.ggml.eos_token_id and no token %s: phi3 would not "+
			"know where an answer ends", c.Meta.file, endTexts[0])
	}
	return ends, nil
}

// tokenID reads the id of a special token, nil if the file does not have the key.
func (c *Checkpoint) tokenID(key string, vocabulary int64) (*int32, error) {
	if !c.Meta.Has(key) {
		return nil, nil
	}
	n, err := c.Meta.Int(key, 0)
	if err == nil && (n < 0 || n >= vocabulary) {
		err = c.Meta.Errorf(key, "is %d, not in 0 … %d, the rows of the embedding table", n, vocabulary-1)
	}
	id := int32(n)
	return &id, err
}
