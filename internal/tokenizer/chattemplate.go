package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"phi3/internal/strictjson"
)

// chatTemplate is a template and the file it came from, for errors.
type chatTemplate struct{ file, source string }

// The names of templates that transformers chooses from: tool_use where there are tools, else default.
const (
	defaultTemplate = "default"
	toolTemplate    = "tool_use"
)

// Where templates are, beside tokenizer_config.json.
const (
	templateFile   = "chat_template.jinja"
	templateFolder = "additional_chat_templates"
	oldFile        = "chat_template.json" // of transformers' processors
)

// chooseTemplate is the template to use.
func (t *Tokenizer) chooseTemplate() (chatTemplate, error) {
	if len(t.chatTemplates) == 0 {
		return chatTemplate{}, ErrNoChatTemplate
	}
	if t.templateVariables != nil && t.templateVariables.Has("tools") {
		if chosen, ok := t.chatTemplates[toolTemplate]; ok {
			return chosen, nil
		}
	}
	if chosen, ok := t.chatTemplates[defaultTemplate]; ok {
		return chosen, nil
	}
	var names []string
	for name := range t.chatTemplates {
		names = append(names, fmt.Sprintf("%.40q", name))
	}
	slices.Sort(names)
	return chatTemplate{}, fmt.Errorf("the checkpoint's chat templates are %s, and none is the default; "+
		"give one by --chat-template FILE",
		strings.Join(names[:min(len(names), 10)], ", "))
}

// readChatTemplate finds the chat templates as transformers does. Those in files of their own,
// chat_template.jinja and additional_chat_templates/NAME.jinja, win over the entry of tokenizer_config.json,
// e: a string, or a list of named templates.
func (t *Tokenizer) readChatTemplate(fsys fs.FS, e entry) error {
	t.chatTemplates = map[string]chatTemplate{}
	if err := t.readTemplateFiles(fsys); err != nil || len(t.chatTemplates) > 0 {
		return err
	}
	if e.absent() {
		return t.readOldFile(fsys)
	}
	file := configFile
	if made, ok := fsys.(Source); ok {
		file = made.NameOf(templateFile)
	}
	var source string
	if json.Unmarshal(e, &source) == nil {
		t.chatTemplates[defaultTemplate] = chatTemplate{file, source}
		return nil
	}
	named, err := readList[struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}](e, maxSteps)
	if err != nil {
		return fmt.Errorf("%s: chat_template is neither a string nor a list of named templates: %w", file,
			err)
	}
	for _, n := range named {
		t.chatTemplates[n.Name] = chatTemplate{file, n.Template}
	}
	return nil
}

func (t *Tokenizer) readTemplateFiles(fsys fs.FS) error {
	files := map[string]string{defaultTemplate: templateFile}
	entries, err := fs.ReadDir(fsys, templateFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", templateFolder, err)
	}
	for _, e := range entries[:min(len(entries), maxSteps)] {
		if name, ok := strings.CutSuffix(e.Name(), ".jinja"); ok {
			files[name] = templateFolder + "/" + e.Name()
		}
	}
	for name, file := range files {
		raw, err := readFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		t.chatTemplates[name] = chatTemplate{file, string(raw)}
	}
	return nil
}

// readOldFile reads chat_template.json, where older multimodal checkpoints have their template.
func (t *Tokenizer) readOldFile(fsys fs.FS) error {
	raw, err := readFile(fsys, oldFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old struct {
		Template string `json:"chat_template"`
	}
	if err := strictjson.Unmarshal(raw, &old); err != nil {
		return fmt.Errorf("%s: %w", oldFile, err)
	}
	if old.Template != "" {
		t.chatTemplates[defaultTemplate] = chatTemplate{oldFile, old.Template}
	}
	return nil
}
