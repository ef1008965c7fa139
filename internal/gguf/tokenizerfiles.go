package gguf

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"phi3/internal/tokenizer"
)

// tokenizerFiles makes the tokenizer's files, by their names in a Hugging Face checkpoint, from the metadata:
// tokenizer.json without vocabulary and merges, which [Checkpoint.Vocabulary] returns, and
// tokenizer_config.json. There are none if the file has no tokenizer.
func tokenizerFiles(m *Metadata) (map[string][]byte, error) {
	v, err := readVocabulary(m)
	if err != nil || v == nil {
		return nil, err
	}
	names, err := v.names()
	if err != nil {
		return nil, err
	}
	added, err := v.added()
	if err != nil {
		return nil, err
	}
	process, err := v.postProcessor(names)
	if err != nil {
		return nil, err
	}
	file := tokenizerJSON{Added: added, PostProcessor: process, Model: map[string]any{"type": "BPE"}}
	if err := v.describeKind(&file); err != nil {
		return nil, err
	}
	config := map[string]any{
		// a class that changes nothing of tokenizer.json and has no names of its own
		"tokenizer_class":      "PreTrainedTokenizerFast",
		"added_tokens_decoder": map[string]any{},
	}
	for _, n := range nameKeys {
		config[n.name] = nil
		if id, ok := names[n.name]; ok {
			config[n.name] = v.tokens[id]
		}
	}
	if config["chat_template"], err = templates(m); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, content := range map[string]any{"tokenizer.json": file, "tokenizer_config.json": config} {
		if files[name], err = json.Marshal(content); err != nil {
			return nil, m.Errorf(modelKey, "cannot be used: %w", err)
		}
	}
	return files, nil
}

// tokenizerJSON is tokenizer.json.
type tokenizerJSON struct {
	Added         []tokenizer.AddedToken `json:"added_tokens"`
	Normalizer    any                    `json:"normalizer"`
	PreTokenizer  any                    `json:"pre_tokenizer"`
	PostProcessor any                    `json:"post_processor"`
	Decoder       any                    `json:"decoder"`
	Model         map[string]any         `json:"model"`
}

// object is a JSON object that has a type.
type object map[string]any

// describeKind sets what depends on the kind of vocabulary.
func (v *vocabulary) describeKind(file *tokenizerJSON) error {
	if v.byteLevel {
		pre := preTokenizers[v.pre]
		file.Model["ignore_merges"] = pre.ignoreMerges
		file.Decoder = object{"type": "ByteLevel"}
		if pre.pattern == tokenizer.PatternGPT2 {
			file.PreTokenizer = object{"type": "ByteLevel", "add_prefix_space": false}
			return nil
		}
		file.PreTokenizer = object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": pre.pattern}, "behavior": "Isolated"},
			{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		}}
		return nil
	}
	prefix, err := v.meta.Bool(prefixKey, true)
	if err != nil {
		return err
	}
	file.Model["byte_fallback"] = true
	normalizers := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}}
	decoders := []object{
		{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "},
		{"type": "ByteFallback"},
		{"type": "Fuse"},
	}
	if prefix {
		normalizers = slices.Insert(normalizers, 0, object{"type": "Prepend", "prepend": "▁"})
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	file.Normalizer = object{"type": "Sequence", "normalizers": normalizers}
	file.Decoder = object{"type": "Sequence", "decoders": decoders}
	return nil
}

// names returns the ids of the named special tokens. Names that the file lacks are those that the class of
// the kind's tokenizers in Hugging Face has, if there is such an added token.
func (v *vocabulary) names() (map[string]int, error) {
	names := map[string]int{}
	defaults := map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
	for _, n := range nameKeys {
		if !v.meta.Has(n.key) {
			text, ok := defaults[n.name]
			if ok && v.byteLevel {
				text = "<|endoftext|>"
			}
			if id := slices.Index(v.tokens, text); ok && id >= 0 && v.isAdded(id) {
				names[n.name] = id
			}
			continue
		}
		id, err := v.meta.Int(n.key, 0)
		if err == nil && (id < 0 || id >= int64(len(v.tokens))) {
			err = v.meta.Errorf(n.key, "is %d, not in 0 … %d, the ids of %s", id, len(v.tokens)-1, tokensKey)
		}
		if err != nil {
			return nil, err
		}
		names[n.name] = int(id)
	}
	for _, id := range names {
		if !v.isAdded(id) { // to name a token makes it special, as in transformers
			v.types[id] = controlToken
		}
	}
	return names, nil
}

// postProcessor returns what puts BOS before a text and EOS after it.
func (v *vocabulary) postProcessor(names map[string]int) (any, error) {
	single := []object{{"Sequence": object{"id": "A"}}}
	special := object{}
	for _, k := range []struct {
		key, name string
		otherwise bool
	}{
		{addBOSKey, "bos_token", !v.byteLevel || preTokenizers[v.pre].addBOS},
		{addEOSKey, "eos_token", false},
	} {
		id, ok := names[k.name]
		add, err := v.meta.Bool(k.key, k.otherwise && ok)
		if err != nil {
			return nil, err
		}
		if !add {
			continue
		}
		if !ok {
			return nil, v.meta.Errorf(k.key, "is true, but the file does not have such a token")
		}
		token := object{"SpecialToken": object{"id": k.name}}
		special[k.name] = object{"ids": []int{id}}
		if k.name == "bos_token" {
			single = slices.Insert(single, 0, token)
		} else {
			single = append(single, token)
		}
	}
	return object{"type": "TemplateProcessing", "single": single, "special_tokens": special}, nil
}

// namedTemplate is an entry of chat_template in tokenizer_config.json.
type namedTemplate struct {
	Name     string `json:"name"`
	Template string `json:"template"`
}

// templates returns the chat templates: nil, one as a string, or a list of named ones.
func templates(m *Metadata) (any, error) {
	var list []namedTemplate
	for _, key := range m.Keys() {
		name, ok := strings.CutPrefix(key, templateKey+".")
		if key == templateKey {
			name, ok = "default", true
		}
		if !ok {
			continue
		}
		text, err := m.Text(key, "")
		if err != nil {
			return nil, err
		}
		if len(text) > tokenizer.MaxChatTemplate {
			return nil, m.Errorf(key, "has %d bytes, more than %d", len(text), tokenizer.MaxChatTemplate)
		}
		list = append(list, namedTemplate{name, text})
	}
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) == 1 && list[0].Name == "default":
		return list[0].Template, nil
	}
	return list, nil
}

// templateName is a template's name as GGUF's keys have it.
func templateName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '_'
	}, name)
}
