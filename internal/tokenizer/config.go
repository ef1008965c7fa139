package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"phi3/internal/strictjson"
)

// configJSON is tokenizer_config.json, as far as it matters here.
type configJSON struct {
	Class        string `json:"tokenizer_class"`
	AddBOS       *bool  `json:"add_bos_token"`
	AddEOS       *bool  `json:"add_eos_token"`
	ChatTemplate entry  `json:"chat_template"` // a string, or a list of {name, template}
}

// specialKeys are the named special tokens that a chat template may use.
var specialKeys = []string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}

// readConfig reads the files around tokenizer.json: the names of special tokens, the BOS/EOS rule, the chat template.
func (t *Tokenizer) readConfig(fsys fs.FS) error {
	var config configJSON
	// tokenizer_config.json wins over the older special_tokens_map.json.
	if err := t.readJSON(fsys, "special_tokens_map.json", nil); err != nil {
		return err
	}
	if err := t.readJSON(fsys, "tokenizer_config.json", &config); err != nil {
		return err
	}
	if strings.HasPrefix(config.Class, "LlamaTokenizer") {
		// The class has these defaults (spec 5.1).
		for key, content := range map[string]string{"bos_token": "<s>", "eos_token": "</s>"} {
			if _, ok := t.specialNames[key]; !ok {
				t.specialNames[key] = content
			}
		}
	}
	if id, ok := t.ID(t.specialNames["bos_token"]); ok {
		t.bos = id
	}
	if id, ok := t.ID(t.specialNames["eos_token"]); ok {
		t.eos = id
	}
	if err := t.applyClass(config); err != nil {
		return fmt.Errorf("tokenizer_config.json: %w", err)
	}
	return t.readChatTemplate(fsys, config.ChatTemplate)
}

// applyClass replaces the post-processor where Hugging Face does: the Llama class rebuilds it from add_bos_token (by default true)
// and add_eos_token (by default false) and ignores the one in tokenizer.json. Other classes ignore these two settings.
func (t *Tokenizer) applyClass(config configJSON) error {
	if !strings.HasPrefix(config.Class, "LlamaTokenizer") {
		return nil
	}
	t.before, t.after = nil, nil
	if config.AddBOS == nil || *config.AddBOS {
		if t.bos < 0 {
			return fmt.Errorf("a BOS is to be added, but bos_token %q is no token", t.specialNames["bos_token"])
		}
		t.before = []int32{t.bos}
	}
	if config.AddEOS != nil && *config.AddEOS {
		if t.eos < 0 {
			return fmt.Errorf("an EOS is to be added, but eos_token %q is no token", t.specialNames["eos_token"])
		}
		t.after = []int32{t.eos}
	}
	return nil
}

// readJSON reads the special-token names of a file, and the rest into config unless that is nil. A missing file is no error.
func (t *Tokenizer) readJSON(fsys fs.FS, name string, config *configJSON) error {
	raw, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if config != nil {
		if err := strictjson.Unmarshal(raw, config); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var all map[string]json.RawMessage
	if err := strictjson.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, key := range specialKeys {
		value, ok := all[key]
		if !ok || string(value) == "null" {
			continue
		}
		// A token is a string, or an object with its flags.
		var content string
		if json.Unmarshal(value, &content) != nil {
			var token struct {
				Content string `json:"content"`
			}
			if err := strictjson.Unmarshal(value, &token); err != nil {
				return fmt.Errorf("%s: %s: %w", name, key, err)
			}
			content = token.Content
		}
		if len(content) > maxAddedContent {
			return fmt.Errorf("%s: %s has %d bytes, more than %d", name, key, len(content), maxAddedContent)
		}
		t.specialNames[key] = content
	}
	return nil
}

// readChatTemplate finds the chat template: chat_template.jinja, which newer checkpoints have, wins over the entry of
// tokenizer_config.json. Of a list of named templates, "default" is the one.
func (t *Tokenizer) readChatTemplate(fsys fs.FS, e entry) error {
	raw, err := readFile(fsys, "chat_template.jinja")
	if err == nil {
		t.chatTemplate, t.chatTemplateFile = string(raw), "chat_template.jinja"
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if e.absent() {
		return nil
	}
	t.chatTemplateFile = "tokenizer_config.json"
	if json.Unmarshal(e, &t.chatTemplate) == nil {
		return nil
	}
	named, err := readList[struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}](e, maxSteps)
	if err != nil {
		return fmt.Errorf("tokenizer_config.json: chat_template is neither a string nor a list of named templates: %w", err)
	}
	for _, n := range named {
		if n.Name == "default" {
			t.chatTemplate = n.Template
			return nil
		}
	}
	return errors.New(`tokenizer_config.json: chat_template is a list without one named "default"`)
}
