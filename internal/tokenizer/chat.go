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
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"

	jinja "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
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
	maxRange    = 10_000   // numbers that range() may give
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
// macro are unknown to it), and it is stopped after 5 s or 32 MB of output. What is not bounded is the memory of a
// template that doubles a string again and again.
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
	// The renderer cannot be told to stop, so it runs beside: at the deadline we leave it, and its next loop step or output ends it.
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("the template engine failed: %v", p)
			}
		}()
		done <- render(t.chatTemplate, variables, out)
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
		return "", fmt.Errorf("%s: chat template: %w", t.chatTemplateFile, err)
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

var (
	errStopped = errors.New("takes too long to render")
	errTooLong = fmt.Errorf("output exceeds %d MiB", maxRendered>>20)
)

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
func render(template string, variables map[string]any, out *limitedOutput) error {
	config := jinjaconfig.New()
	config.TrimBlocks, config.LeftStripBlocks = true, true

	// A loader that knows this one text: gonja's default one reads any file the template names.
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat_template": template})
	if err != nil {
		return err
	}
	environment := &exec.Environment{
		Context:           exec.NewContext(chatFunctions()),
		Filters:           builtins.Filters,
		Tests:             builtins.Tests,
		ControlStructures: chatStatements(out),
		Methods:           builtins.Methods,
	}
	parsed, err := exec.NewTemplate("/chat_template", config, loader, environment)
	if err != nil {
		// gonja quotes the whole source, thousands of bytes, before it says what is wrong.
		return errors.New(strings.Replace(err.Error(), "'"+template+"'", "it", 1))
	}
	return parsed.Execute(out, exec.NewContext(variables))
}

// chatFunctions are the global functions of a template: Jinja's that need no bound, a bounded range, and raise_exception.
func chatFunctions() map[string]any {
	functions := map[string]any{
		"range": boundedRange,
		"raise_exception": func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
			if len(args.Args) == 0 {
				return "", errors.New("the template refuses these messages")
			}
			return "", errors.New(args.Args[0].String())
		},
	}
	for _, name := range []string{"namespace", "dict", "joiner", "cycler"} {
		if f, ok := builtins.GlobalFunctions.Get(name); ok {
			functions[name] = f
		}
	}
	return functions
}

// boundedRange is Jinja's range([start, ]stop[, step]).
func boundedRange(_ *exec.Evaluator, args *exec.VarArgs) ([]int, error) {
	var start, stop int
	step := 1
	for _, a := range args.Args {
		if !a.IsInteger() {
			return nil, errors.New("range wants whole numbers")
		}
	}
	switch a := args.Args; len(a) {
	case 1:
		stop = a[0].Integer()
	case 2:
		start, stop = a[0].Integer(), a[1].Integer()
	case 3:
		start, stop, step = a[0].Integer(), a[1].Integer(), a[2].Integer()
	default:
		return nil, errors.New("range wants one to three numbers")
	}
	if step == 0 {
		return nil, errors.New("range with step 0 never ends")
	}
	numbers := []int{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(numbers) == maxRange {
			return nil, fmt.Errorf("range gives more than %d numbers", maxRange)
		}
		numbers = append(numbers, i)
	}
	return numbers, nil
}

// chatStatements are the statements a template may use. Those that load other templates or can call themselves are left out: a
// stack overflow could not be caught. Each step of a for loop looks whether time is up.
func chatStatements(out *limitedOutput) *exec.ControlStructureSet {
	allowed := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"if", "set", "with", "raw", "filter", "do", "break", "continue"} {
		if parse, ok := builtins.ControlStructures.Get(name); ok {
			allowed[name] = parse
		}
	}
	if parse, ok := builtins.ControlStructures.Get("for"); ok {
		allowed["for"] = func(p, args *parser.Parser) (nodes.ControlStructure, error) {
			statement, err := parse(p, args)
			if err != nil {
				return nil, err
			}
			loop, ok := statement.(*jinja.ForControlStructure)
			if !ok {
				return nil, errors.New("unexpected kind of for loop")
			}
			if loop.Recursive {
				return nil, errors.New("recursive loops are not supported")
			}
			check := &nodes.ControlStructureBlock{Location: loop.Position(), Name: "deadline", ControlStructure: &deadline{out, loop.Position()}}
			loop.BodyWrapper.Nodes = append([]nodes.Node{check}, loop.BodyWrapper.Nodes...)
			return loop, nil
		}
	}
	return exec.NewControlStructureSet(allowed)
}

// deadline is a statement that does nothing until time is up.
type deadline struct {
	out *limitedOutput
	at  *tokens.Token
}

func (d *deadline) Position() *tokens.Token { return d.at }
func (d *deadline) String() string          { return "deadline" }

// Execute ends the rendering once ApplyChatTemplate has given up on it.
func (d *deadline) Execute(*exec.Renderer, *nodes.ControlStructureBlock) error {
	if d.out.stop.Load() {
		return errStopped
	}
	return nil
}
