package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	jinjaconfig "github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a conversation. Roles are the checkpoint's own: "system", "user" and "assistant" in all of the family.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Bounds on a chat template, which is a program that comes with the checkpoint. Real ones: 4 KB, well under a millisecond.
const (
	maxTemplate = 64 << 10 // bytes of source
	maxBrackets = 8 << 10  // of ( [ { in it: the parser's stack takes up to 16 KB for each that is nested, and dies at 512 MB
	maxRendered = 32 << 20 // bytes of output
	maxLoop     = 10_000   // items of a loop, and numbers that range() may give
)

// maxRenderTime is a variable so that tests need not wait for it.
var maxRenderTime = 5 * time.Second

// ErrNoChatTemplate says that the checkpoint has no chat template: it is a base model, or an incomplete download.
var ErrNoChatTemplate = errors.New("this checkpoint has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja)")

// HasChatTemplate tells whether the checkpoint brings a chat template.
func (t *Tokenizer) HasChatTemplate() bool { return t.chatTemplateFile != "" }

// ApplyChatTemplate renders the checkpoint's chat template as Hugging Face's apply_chat_template(tokenize=False) does (spec 5.3). The
// result is to be encoded with EncodeOptions.NoBOS: a BOS that the template writes is the only one.
// addGenerationPrompt opens the assistant's turn, in templates that know the variable.
//
// Contents go in untouched, so a content that spells "<|end|>" ends the turn, as in Hugging Face.
//
// The template is a stranger's program. It sees nothing but the messages and the special tokens (no files: include, import and
// macro are unknown to it), it is stopped after 5 s or 32 MB of output, and its values are bounded in size (sandbox.go).
func (t *Tokenizer) ApplyChatTemplate(msgs []Message, addGenerationPrompt bool) (string, error) {
	if t.chatTemplateFile == "" {
		return "", ErrNoChatTemplate
	}
	if len(t.chatTemplate) > maxTemplate {
		return "", fmt.Errorf("%s: chat template has %d bytes, more than %d", t.chatTemplateFile, len(t.chatTemplate), maxTemplate)
	}
	if n := countBrackets(t.chatTemplate); n > maxBrackets {
		return "", fmt.Errorf("%s: chat template has %d opening brackets, more than %d", t.chatTemplateFile, n, maxBrackets)
	}
	messages := make(turns, len(msgs))
	for i, m := range msgs {
		messages[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	variables := map[string]any{"messages": messages, "add_generation_prompt": addGenerationPrompt}
	for key, content := range t.specialNames {
		variables[key] = content
	}

	out := &limitedOutput{}
	limits := &budget{stop: &out.stop}
	for _, m := range msgs {
		limits.turns += len(m.Role) + len(m.Content) + 8*elementBytes
	}
	limits.value = maxValue + 2*limits.turns
	// The renderer cannot be told to stop, so it runs beside: at the deadline we leave it, and its next loop step or output ends it.
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("the template engine failed: %v", p)
			}
		}()
		done <- render(t.chatTemplate, variables, out, limits)
	}()
	timer := time.NewTimer(maxRenderTime)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		out.stop.Store(true)
		err = errStopped
	}
	if err != nil {
		return "", fmt.Errorf("%s: chat template: %w", t.chatTemplateFile, shortened{err})
	}
	return out.text.String(), nil
}

// turns is the list of messages as a template sees it.
type turns []map[string]any

// GetItem makes messages[-1] work in a conversation of one message: gonja 2.9.1 finds the first of n items at index -n to be out
// of range (exec/value.go:1129), and templates do ask for the last role.
func (t turns) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if ok && i < 0 {
		i += len(t)
	}
	if !ok || i < 0 || i >= len(t) {
		return exec.AsValue(nil), false
	}
	return exec.AsValue(t[i]), true
}

// countBrackets counts opening brackets of all kinds.
func countBrackets(template string) int {
	return strings.Count(template, "(") + strings.Count(template, "[") + strings.Count(template, "{")
}

// shortened keeps an error that quotes a template's values to a few lines.
type shortened struct{ error }

func (s shortened) Error() string {
	const limit = 400
	text := s.error.Error()
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

func (s shortened) Unwrap() error { return s.error }

var errTooLong = fmt.Errorf("output exceeds %d MiB", maxRendered>>20)

// limitedOutput collects the rendered text, and ends rendering by an error.
type limitedOutput struct {
	text strings.Builder
	stop atomic.Bool
}

func (o *limitedOutput) Write(p []byte) (int, error) {
	if o.stop.Load() {
		return 0, errStopped
	}
	if o.text.Len()+len(p) > maxRendered {
		return 0, errTooLong
	}
	return o.text.Write(p)
}

// render runs the template with Hugging Face's settings: trim_blocks and lstrip_blocks on, and a function raise_exception.
func render(template string, variables map[string]any, out *limitedOutput, limits *budget) error {
	config := jinjaconfig.New()
	config.TrimBlocks, config.LeftStripBlocks = true, true
	if err := checkSource(template, config); err != nil {
		return err
	}

	// A loader that knows this one text: gonja's default one reads any file the template names.
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat_template": template})
	if err != nil {
		return err
	}
	environment := &exec.Environment{
		Context:           exec.NewContext(limits.functions()),
		Filters:           limits.filters(),
		Tests:             builtins.Tests,
		ControlStructures: limits.statements(),
		Methods:           limits.methods(),
	}
	parsed, err := exec.NewTemplate("/chat_template", config, loader, environment)
	if err != nil {
		// gonja quotes the whole source, thousands of bytes, before it says what is wrong.
		return errors.New(strings.Replace(err.Error(), "'"+template+"'", "it", 1))
	}
	return parsed.Execute(out, exec.NewContext(variables))
}
