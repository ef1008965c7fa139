package tokenizer

import (
	"errors"
	"fmt"
	"slices"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/show"
)

// contents returns the content of each named special token. A chat template gets these.
func (c *configuration) contents() map[string]string {
	contents := map[string]string{}
	for _, key := range specialKeys {
		if token := c.name(key); token != nil {
			contents[key] = token.Content
		}
	}
	return contents
}

// addConfigured adds the tokens of the configuration, or changes their flags, and records the names of
// special tokens.
//
// A token that tokenizer.json lacks gets the next free id, whatever the configuration says: transformers does
// the same.
func (t *Tokenizer) addConfigured(c *configuration) error {
	t.addNames(c)
	described, specials := t.described(c), t.specials(c)
	tokens := c.added
	if c.legacy {
		tokens = t.withAdded(c.added)
	}
	slices.SortStableFunc(tokens, func(a, b hf.TokenConfig) int { return int(a.Id - b.Id) })
	for _, a := range tokens {
		if a.Content == "" { // tokenizers ignores it
			continue
		}
		if err := t.addConfig(a, a.Special || specials[a.Content]); err != nil {
			return fmt.Errorf("%s: %w", c.addedSource(), err)
		}
	}
	if err := t.addNamed(c, described); err != nil {
		return err
	}
	if id, ok := t.ID(t.specialNames["bos_token"]); ok {
		t.bos = id
	}
	if id, ok := t.ID(t.specialNames["eos_token"]); ok {
		t.eos = id
	}
	return nil
}

// addConfig adds one token, or changes its flags.
func (t *Tokenizer) addConfig(a hf.TokenConfig, special bool) error {
	return t.addToken(&addedToken{
		id: t.nextID(a.Content), content: a.Content, special: special,
		lstrip: a.Lstrip, rstrip: a.Rstrip, singleWord: a.SingleWord, normalized: a.Normalized,
	})
}

// addNames records the names of special tokens. A name from extra_special_tokens never replaces one of
// specialKeys.
func (t *Tokenizer) addNames(c *configuration) {
	t.specialNames = c.contents()
	for _, o := range c.others {
		if o.name == "" {
			t.additionalSpecial = append(t.additionalSpecial, o.Content)
		} else if _, taken := t.specialNames[o.name]; !taken {
			t.specialNames[o.name] = o.Content
		}
	}
}

// described returns the tokens that the files describe with flags, by content. A name without flags stands
// for one of these.
func (t *Tokenizer) described(c *configuration) map[string]hf.TokenConfig {
	described := make(map[string]hf.TokenConfig, len(c.added))
	if c.legacy {
		for _, a := range t.added {
			described[a.content] = a.config()
		}
		return described
	}
	for _, a := range c.added {
		described[a.Content] = a
	}
	return described
}

// specials returns the contents that a name makes special.
func (t *Tokenizer) specials(c *configuration) map[string]bool {
	specials := make(map[string]bool, len(c.others))
	for _, o := range c.others {
		specials[o.Content] = true
	}
	for _, content := range c.contents() {
		specials[content] = true
	}
	return specials
}

// withAdded returns the added tokens of tokenizer.json, then those of added_tokens.json whose ids are free.
func (t *Tokenizer) withAdded(added []hf.TokenConfig) []hf.TokenConfig {
	known := make(map[int64]bool, len(t.added))
	var all []hf.TokenConfig
	for _, a := range t.added {
		known[int64(a.id)] = true
		all = append(all, a.config())
	}
	for _, a := range added {
		if !known[a.Id] {
			all = append(all, a)
		}
	}
	return all
}

// addNamed adds the named special tokens, in transformers' order, and then the others.
func (t *Tokenizer) addNamed(c *configuration, described map[string]hf.TokenConfig) error {
	add := func(token *namedToken, given bool) error {
		if token.Content == "" {
			return nil
		}
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
		if err := t.addConfig(config, true); err != nil {
			return fmt.Errorf("%s: %w", configFile, err)
		}
		return nil
	}
	for _, key := range specialKeys {
		_, given := c.names[key]
		if token := c.name(key); token != nil {
			if err := add(token, given); err != nil {
				return err
			}
		}
	}
	for i := range c.others {
		if err := add(&c.others[i], false); err != nil {
			return err
		}
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
	return false, fmt.Errorf("is %s, not true or false", show.Brief(string(e)))
}
