package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	hf "github.com/sugarme/tokenizer"

	"phi3/internal/show"
	"phi3/internal/strictjson"
)

// configJSON holds the settings of tokenizer_config.json that phi3 uses. The named special tokens are read
// separately.
type configJSON struct {
	Class        string `json:"tokenizer_class"`
	AddBOS       entry  `json:"add_bos_token"` // a boolean; null is false, and absent what the class has
	AddEOS       entry  `json:"add_eos_token"`
	AddPrefix    *bool  `json:"add_prefix_space"`
	Legacy       *bool  `json:"legacy"`
	FromSlow     bool   `json:"from_slow"`
	SplitSpecial bool   `json:"split_special_tokens"`
	ChatTemplate entry  `json:"chat_template"`             // a string, or a list of {name, template}
	Added        entry  `json:"added_tokens_decoder"`      // id -> token
	Additional   entry  `json:"additional_special_tokens"` // a list of names or tokens
	Extra        entry  `json:"extra_special_tokens"`      // the same, or name -> token
}

// specialKeys are the named special tokens, in transformers' order.
var specialKeys = []string{
	"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
	"mask_token",
}

// specialMap holds the named tokens of a file. A token that is there and null is nil.
type specialMap map[string]*namedToken

// tokenJSON is a token with its flags. tokenizer.json has all of them.
type tokenJSON struct {
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	Lstrip     bool   `json:"lstrip"`
	Rstrip     bool   `json:"rstrip"`
	Normalized *bool  `json:"normalized"` // absent: for tokens that are not special
	Special    bool   `json:"special"`
}

func (t *tokenJSON) config(id int64) hf.TokenConfig {
	return hf.TokenConfig{
		Id: id, Content: t.Content, Special: t.Special, Lstrip: t.Lstrip, Rstrip: t.Rstrip,
		SingleWord: t.SingleWord,
		Normalized: t.Normalized == nil && !t.Special || t.Normalized != nil && *t.Normalized,
	}
}

// namedToken is a token of a configuration: its content, or an object with its flags.
type namedToken struct {
	hf.TokenConfig
	object bool
	name   string // a key of extra_special_tokens, such as image_token
}

// UnmarshalJSON reads either.
func (n *namedToken) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &n.Content) != nil {
		n.object = true
		var token tokenJSON
		if err := strictjson.Unmarshal(raw, &token); err != nil {
			return err
		}
		n.TokenConfig = token.config(0)
	}
	if len(n.Content) > maxAddedContent {
		return fmt.Errorf("has %d bytes, more than %d", len(n.Content), maxAddedContent)
	}
	return nil
}

// configuration holds the settings of the files beside tokenizer.json, with the precedence of transformers
// 4.57. If tokenizer_config.json has added_tokens_decoder, only that file counts. Otherwise
// special_tokens_map.json goes before it, and added_tokens.json has the tokens.
type configuration struct {
	configJSON
	names  specialMap
	others []namedToken // special tokens without a name
	added  []hf.TokenConfig
	legacy bool // without added_tokens_decoder

	addsBOS bool // the tokenizer is made of vocab.json, and add_bos_token is true
}

const (
	configFile  = "tokenizer_config.json"
	specialFile = "special_tokens_map.json"
	addedFile   = "added_tokens.json"
)

// readConfig reads the files beside tokenizer.json. Each may be missing.
func readConfig(fsys fs.FS) (*configuration, error) {
	c := &configuration{names: specialMap{}}
	if err := c.read(fsys, configFile, &c.configJSON); err != nil {
		return nil, err
	}
	if c.legacy = c.Added == nil; c.legacy {
		var special configJSON
		if err := c.read(fsys, specialFile, &special); err != nil {
			return nil, err
		}
		if err := c.readAdded(fsys); err != nil {
			return nil, err
		}
	} else if err := c.readDecoder(); err != nil {
		return nil, fmt.Errorf("%s: added_tokens_decoder: %w", configFile, err)
	}
	if c.Class == "" {
		return c, c.readClass(fsys)
	}
	return c, nil
}

// read reads a file's settings, and the named tokens that it has.
func (c *configuration) read(fsys fs.FS, name string, into *configJSON) error {
	raw, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := strictjson.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var all map[string]json.RawMessage
	if err := strictjson.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, key := range specialKeys {
		value, ok := all[key]
		if !ok {
			continue
		}
		c.names[key] = nil
		if string(value) == "null" {
			continue
		}
		token := &namedToken{}
		if err := token.UnmarshalJSON(value); err != nil {
			return fmt.Errorf("%s: %s: %w", name, key, err)
		}
		c.names[key] = token
	}
	for i, e := range []entry{into.Additional, into.Extra} { // in a fixed order: templates see it
		tokens, err := readTokens(e)
		if err != nil {
			key := []string{"additional_special_tokens", "extra_special_tokens"}[i]
			return fmt.Errorf("%s: %s: %w", name, key, err)
		}
		c.others = append(c.others, tokens...)
	}
	return nil
}

// readTokens reads a list of tokens, or an object whose values are tokens.
func readTokens(e entry) ([]namedToken, error) {
	if e.absent() {
		return nil, nil
	}
	s := strictjson.NewScanner(e)
	if !s.Take('{') {
		return readList[namedToken](e, maxAdded)
	}
	var tokens []namedToken
	for !s.Take('}') {
		key, err := s.Str()
		if err != nil {
			return nil, err
		}
		s.Take(':')
		var token namedToken
		if err := token.UnmarshalJSON([]byte(s.Raw())); err != nil {
			return nil, fmt.Errorf("%q: %w", show.Brief(key), err)
		}
		token.name = key
		if tokens = append(tokens, token); len(tokens) > maxAdded {
			return nil, fmt.Errorf("has more than %d entries", maxAdded)
		}
		s.Take(',')
	}
	return tokens, nil
}

// readDecoder reads added_tokens_decoder: id -> token.
func (c *configuration) readDecoder() error {
	if c.Added.absent() {
		return nil
	}
	s := strictjson.NewScanner(c.Added)
	if !s.Take('{') {
		return errors.New("is not an object")
	}
	for !s.Take('}') {
		key, err := s.Str()
		if err != nil {
			return err
		}
		var id int64
		if json.Unmarshal([]byte(key), &id) != nil || id < 0 || id >= maxIDs {
			return fmt.Errorf("%q is not an id, a whole number in 0..%d", show.Brief(key), maxIDs-1)
		}
		s.Take(':')
		var token tokenJSON
		if err := strictjson.Unmarshal([]byte(s.Raw()), &token); err != nil {
			return fmt.Errorf("id %d: %w", id, err)
		}
		if c.added = append(c.added, token.config(id)); len(c.added) > maxAdded {
			return fmt.Errorf("has more than %d entries", maxAdded)
		}
		s.Take(',')
	}
	return nil
}

// readAdded reads added_tokens.json: token -> id, without flags.
func (c *configuration) readAdded(fsys fs.FS) error {
	raw, err := readFile(fsys, addedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var ids vocabulary
	if err := strictjson.Unmarshal(raw, &ids); err != nil {
		return fmt.Errorf("%s: %w", addedFile, err)
	}
	if len(ids) > maxAdded {
		return fmt.Errorf("%s: has more than %d entries", addedFile, maxAdded)
	}
	for content, id := range ids {
		if id < 0 || id >= maxIDs {
			return fmt.Errorf("%s: token %q has id %d, outside 0..%d", addedFile, show.Brief(content),
				id, maxIDs-1)
		}
		special := c.named(content)
		c.added = append(c.added, hf.TokenConfig{
			Id: int64(id), Content: content, Special: special,
			Normalized: !special,
		})
	}
	return nil
}

// readClass finds the class that transformers takes where tokenizer_config.json names none: config.json's, or
// Llama's for a Phi-3.
func (c *configuration) readClass(fsys fs.FS) error {
	raw, err := readFile(fsys, "config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var model struct {
		Class string `json:"tokenizer_class"`
		Type  string `json:"model_type"`
	}
	if err := strictjson.Unmarshal(raw, &model); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if c.Class = model.Class; c.Class == "" && model.Type == "phi3" {
		c.Class = "LlamaTokenizer"
	}
	return nil
}

func (c *configuration) isLlama() bool { return strings.HasPrefix(c.Class, "LlamaTokenizer") }
func (c *configuration) isGPT2() bool  { return strings.HasPrefix(c.Class, "GPT2Tokenizer") }

// likeGPT2: a class whose vocab.json and merges.txt are read as GPT-2's are.
func (c *configuration) likeGPT2() bool {
	return c.isGPT2() || strings.HasPrefix(c.Class, "CodeGenTokenizer")
}

// prefixSpace reports whether a ByteLevel that stands alone puts a space before a text.
func (c *configuration) prefixSpace() bool { return c.AddPrefix != nil && *c.AddPrefix }

// name returns the special token of a name; the class's default if no file has the name; else nil.
func (c *configuration) name(key string) *namedToken {
	if token, ok := c.names[key]; ok {
		return token
	}
	content := ""
	switch {
	case c.isLlama():
		content = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}[key]
	case c.likeGPT2() && (key == "bos_token" || key == "eos_token" || key == "unk_token"):
		content = "<|endoftext|>"
	}
	if content == "" {
		return nil
	}
	return &namedToken{TokenConfig: hf.TokenConfig{Content: content}}
}

// named reports whether a token is one of the special tokens.
func (c *configuration) named(content string) bool {
	for _, key := range specialKeys {
		if token := c.name(key); token != nil && token.Content == content {
			return true
		}
	}
	return slices.ContainsFunc(c.others, func(o namedToken) bool { return o.Content == content })
}
