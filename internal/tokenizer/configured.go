package tokenizer

import (
	"errors"
	"fmt"
	"slices"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/strictjson"
)

// contents are the named special tokens, as a chat template gets them.
func (c *configuration) contents() map[string]string {
	contents := map[string]string{}
	for _, key := range specialKeys {
		if token := c.name(key); token != nil {
			contents[key] = token.Content
		}
	}
	return contents
}

// addConfigured adds the tokens that the configuration has, or changes their flags, and notes the names.
//
// As transformers does, a token that tokenizer.json lacks gets the next free id, whatever the configuration
// says.
func (t *Tokenizer) addConfigured(c *configuration) error {
	add := func(a hf.TokenConfig, special bool) error {
		return t.addToken(&addedToken{
			id: t.nextID(a.Content), content: a.Content, special: special,
			lstrip: a.Lstrip, rstrip: a.Rstrip, singleWord: a.SingleWord, normalized: a.Normalized,
		})
	}
	// Names stand for the tokens that the files describe, and these become special.
	described := make(map[string]hf.TokenConfig, len(c.added))
	if c.legacy {
		for _, a := range t.added {
			described[a.content] = a.config()
		}
	} else {
		for _, a := range c.added {
			described[a.Content] = a
		}
	}
	specials := make(map[string]bool, len(c.others))
	for _, o := range c.others {
		specials[o.Content] = true
	}
	t.specialNames = c.contents()
	for _, content := range t.specialNames {
		specials[content] = true
	}
	// after the loop above: a template's name for a token takes nothing from the named ones
	for _, o := range c.others {
		if o.name == "" {
			t.additionalSpecial = append(t.additionalSpecial, o.Content)
		} else if _, taken := t.specialNames[o.name]; !taken {
			t.specialNames[o.name] = o.Content
		}
	}
	tokens := c.added
	if c.legacy { // tokenizer.json goes before added_tokens.json
		known := make(map[int64]bool, len(t.added))
		var all []hf.TokenConfig
		for _, a := range t.added {
			known[int64(a.id)] = true
			all = append(all, a.config())
		}
		for _, a := range c.added {
			if !known[a.Id] {
				all = append(all, a)
			}
		}
		tokens = all
	}
	slices.SortStableFunc(tokens, func(a, b hf.TokenConfig) int { return int(a.Id - b.Id) })
	for _, a := range tokens {
		if a.Content == "" { // tokenizers ignores it
			continue
		}
		if err := add(a, a.Special || specials[a.Content]); err != nil {
			return fmt.Errorf("%s: %w", c.addedSource(), err)
		}
	}
	addNamed := func(token *namedToken, given bool) error {
		config, ok := described[token.Content]
		switch {
		case given && ok:
		case token.object:
			config = token.TokenConfig
		case t.addedBy[token.Content] != nil:
			return nil
		default:
			config = hf.TokenConfig{Content: token.Content}
		}
		if err := add(config, true); err != nil {
			return fmt.Errorf("%s: %w", configFile, err)
		}
		return nil
	}
	for _, key := range specialKeys {
		_, given := c.names[key]
		if token := c.name(key); token != nil && token.Content != "" {
			if err := addNamed(token, given); err != nil {
				return err
			}
		}
	}
	for i := range c.others {
		if c.others[i].Content == "" {
			continue
		}
		if err := addNamed(&c.others[i], false); err != nil {
			return err
		}
	}
	if id, ok := t.ID(t.specialNames["bos_token"]); ok {
		t.bos = id
	}
	if id, ok := t.ID(t.specialNames["eos_token"]); ok {
		t.eos = id
	}
	return nil
}

func (c *configuration) addedSource() string {
	if c.legacy {
		return addedFile
	}
	return configFile + ": added_tokens_decoder"
}

// applyClass replaces the post-processor where Hugging Face does: the Llama class rebuilds it from
// add_bos_token (by default true) and add_eos_token (by default false) and ignores the one in tokenizer.json.
// Other classes ignore these two settings.
func (t *Tokenizer) applyClass(c *configuration) error {
	if c.addsBOS && t.bos >= 0 {
		t.before = []int32{t.bos}
	}
	if !c.isLlama() {
		return nil
	}
	t.before, t.after = nil, nil
	addBOS, err := c.AddBOS.boolean(true)
	if err != nil {
		return fmt.Errorf("add_bos_token %w", err)
	}
	addEOS, err := c.AddEOS.boolean(false)
	if err != nil {
		return fmt.Errorf("add_eos_token %w", err)
	}
	if addBOS {
		id, ok := t.around(c, "bos_token", t.bos)
		if !ok {
			return errors.New("a BOS is to be added, but there is no bos_token")
		}
		t.before = []int32{id}
	}
	if addEOS {
		id, ok := t.around(c, "eos_token", t.eos)
		if !ok {
			return errors.New("an EOS is to be added, but there is no eos_token")
		}
		t.after = []int32{id}
	}
	return nil
}

// around is the id that the Llama class puts around a text for a named token. An empty name stands for the
// unknown token.
func (t *Tokenizer) around(c *configuration, key string, id int32) (int32, bool) {
	if token := c.name(key); id < 0 && token != nil && token.Content == "" &&
		t.specialNames["unk_token"] != "" {
		return t.ID(t.specialNames["unk_token"])
	}
	return id, id >= 0
}

// boolean reads true, false or null, which is false; absent is what the entry is when it is not there.
func (e entry) boolean(absent bool) (bool, error) {
	switch string(e) {
	case "":
		return absent, nil
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, fmt.Errorf("is %s, not true or false", strictjson.Clip(string(e)))
}
