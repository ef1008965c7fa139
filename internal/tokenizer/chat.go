package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"phi3/internal/jinja"
)

// Message is one turn of a conversation. Roles are the checkpoint's own: "system", "user" and "assistant" in
// all of the family.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// MaxChatTemplate is the largest size of a template in bytes.
const MaxChatTemplate = jinja.MaxSource

// maxRendered is how many bytes a template may write, besides 4 times the conversation.
const maxRendered = 8 << 20

// ErrNoChatTemplate says that the checkpoint has no chat template: it is a base model, or an incomplete
// download.
var ErrNoChatTemplate = errors.New("this checkpoint has no chat template (chat_template in " +
	"tokenizer_config.json, or chat_template.jinja)")

// RefusedError is a template's refusal of a conversation, in the template's own words: its raise_exception.
type RefusedError struct{ message string }

// Error is one line, so that a template cannot imitate other lines of phi3's output.
func (e *RefusedError) Error() string {
	return "the chat template refuses this conversation: " + oneLine(e.message)
}

// oneLine escapes newlines and other characters that are not shown.
func oneLine(s string) string {
	var b strings.Builder
	for _, c := range s {
		if unicode.IsPrint(c) {
			b.WriteRune(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		}
	}
	return b.String()
}

// HasChatTemplate reports whether there is a chat template: the checkpoint's, or one of
// [Tokenizer.SetChatTemplate].
func (t *Tokenizer) HasChatTemplate() bool { return len(t.chatTemplates) > 0 }

// SetChatTemplate replaces the checkpoint's template. file is its name in errors.
func (t *Tokenizer) SetChatTemplate(file, source string) error {
	if _, err := jinja.Parse(source); err != nil {
		return fmt.Errorf("%s: chat template: %w", file, err)
	}
	t.chatTemplates = map[string]chatTemplate{defaultTemplate: {file, source}}
	return nil
}

// SetTemplateVariable gives the chat template a variable, from JSON, like a keyword argument of Hugging
// Face's apply_chat_template: it replaces a special token of that name, and tools, documents and
// add_generation_prompt.
func (t *Tokenizer) SetTemplateVariable(name, text string) error {
	if name == "messages" {
		return errors.New("the variable messages is the conversation and cannot be set")
	}
	value, err := jinja.FromJSON(text)
	if err != nil {
		return fmt.Errorf("the value of %s: %w", name, err)
	}
	if t.templateVariables == nil {
		t.templateVariables = jinja.NewDict()
	}
	t.templateVariables.Set(name, value)
	return nil
}

// ApplyChatTemplate renders the chat template as Hugging Face's apply_chat_template(tokenize=False) does
// (spec 5.3). The result is to be encoded with EncodeOptions.NoBOS: a BOS that the template writes is the
// only one. addGenerationPrompt opens the assistant's turn, in templates that know the variable.
//
// The contents of messages are not changed, so a content with "<|end|>" ends the turn, as in Hugging Face.
//
// The template is an untrusted program. It sees the messages, the special tokens and the variables that were
// set, no files; package jinja bounds its time and memory. It stops when ctx is done. The error is a
// [*RefusedError] if the template refuses the messages.
func (t *Tokenizer) ApplyChatTemplate(
	ctx context.Context, msgs []Message, addGenerationPrompt bool,
) (string, error) {
	chosen, err := t.chooseTemplate()
	if err != nil {
		return "", err
	}
	messages := &jinja.List{}
	size := 0
	for _, m := range msgs {
		d := jinja.NewDict()
		d.Set("role", ValidUTF8(m.Role))
		d.Set("content", ValidUTF8(m.Content))
		messages.Items = append(messages.Items, d)
		size += len(m.Role) + len(m.Content)
	}
	variables := jinja.NewDict()
	for key, content := range t.specialNames {
		if content != "" {
			variables.Set(key, content)
		}
	}
	if len(t.additionalSpecial) > 0 {
		list := &jinja.List{}
		for _, content := range t.additionalSpecial {
			list.Items = append(list.Items, content)
		}
		variables.Set("additional_special_tokens", list)
	}
	variables.Set("tools", nil)
	variables.Set("documents", nil)
	variables.Set("add_generation_prompt", addGenerationPrompt)
	if t.templateVariables != nil {
		variables.Update(t.templateVariables)
	}
	variables.Set("messages", messages)

	template, err := jinja.Parse(chosen.source)
	if err != nil {
		return "", fmt.Errorf("%s: chat template: %w", chosen.file, err)
	}
	text, err := template.Render(ctx, variables, jinja.Options{MaxOutput: maxRendered + 4*size})
	var raised *jinja.Raised
	switch {
	case errors.As(err, &raised):
		return "", &RefusedError{raised.Message}
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("%s: chat template: %w", chosen.file, err)
	}
	return text, nil
}
