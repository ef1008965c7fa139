package openai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// maxMessages bounds a conversation, because every message takes the template some time.
const maxMessages = 4096

// ofMessage are the members of a message that this server cannot honour, with the reason. null, "" and [] ask
// for nothing: official clients send them when an earlier answer becomes a message.
var ofMessage = map[string]string{
	"name":          "chat templates have no place for a name; write it into the content",
	"refusal":       "this server knows no refusals; write the text into the content",
	"audio":         "this server reads only text",
	"tool_calls":    "this server does not call tools yet",
	"function_call": "this server does not call functions",
	"tool_call_id":  "this server does not call tools yet",
	"annotations":   "this server reads only text",
}

// readMessages reads the messages of a chat.
func readMessages(v value) ([]tokenizer.Message, error) {
	if v.raw == nil {
		return nil, invalid("messages", "missing_required_parameter", "messages is missing.")
	}
	list, err := v.list(maxMessages)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, v.wrong(" is empty. It must have at least one message.")
	}
	messages := make([]tokenizer.Message, len(list))
	for i := range list {
		if messages[i], err = readMessage(list[i]); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func readMessage(v value) (m tokenizer.Message, err error) {
	all, err := v.object()
	if err != nil {
		return m, err
	}
	member := func(name string) value { return take(all, v.name, name) }
	role := member("role")
	if err := cmp.Or(role.required(), role.into(&m.Role)); err != nil {
		return m, err
	}
	switch m.Role {
	case "system", "user", "assistant":
	case "developer":
		m.Role = "system" // OpenAI's newer name
	case "tool", "function":
		return m, invalid(role.name, "unsupported_value", "%s is %q: this server does not call tools yet.",
			role.name, m.Role)
	default:
		return m, role.wrong(" is %q, not system, developer, user or assistant.", brief(m.Role))
	}
	if m.Content, err = readContent(member("content")); err != nil {
		return m, err
	}
	if kind := member("type"); !kind.isNull() { // lm-eval sends it
		if err := only("a message is a text", "text")(nil, kind); err != nil {
			return m, err
		}
	}
	for name, why := range ofMessage {
		if v := member(name); !v.isNull() {
			if err := only(why, "", []any{})(nil, v); err != nil {
				return m, err
			}
		}
	}
	return m, unrecognized(all)
}

// readContent reads a text, or a list of texts. As in vLLM and llama-server, a newline separates the texts of
// a list.
func readContent(v value) (content string, err error) {
	if err := v.required(); err != nil {
		return "", err
	}
	content, list, err := v.textOrList(maxMessages)
	if list == nil {
		return content, err
	}
	texts := make([]string, len(list))
	for i, v := range list {
		if texts[i], err = readPart(v); err != nil {
			return "", err
		}
	}
	return strings.Join(texts, "\n"), nil
}

// readPart reads an entry of a list of texts: {"type": "text", "text": …}.
func readPart(v value) (content string, err error) {
	part, err := v.object()
	if err != nil {
		return "", err
	}
	kind, given := take(part, v.name, "type"), take(part, v.name, "text")
	if err := cmp.Or(kind.required(), kind.into(&content)); err != nil {
		return "", err
	}
	if content != "text" {
		return "", invalid(kind.name, "unsupported_value", "%s is %q: this model reads only text.", kind.name,
			brief(content))
	}
	if err := cmp.Or(given.required(), given.into(&content)); err != nil {
		return "", err
	}
	delete(part, "prompt_cache_breakpoint") // changes nothing of the answer
	return content, unrecognized(part)
}

// Render makes the prompt of a chat. Special tokens such as <|end|> in a message are ordinary characters, so
// that a message cannot end its turn and begin another one. The error is an [*Error].
func (s *Service) Render(ctx context.Context, messages []tokenizer.Message) (text.Prompt, error) {
	instructs := func(m tokenizer.Message) bool {
		return m.Role == "system" && strings.TrimSpace(m.Content) != ""
	}
	if slices.ContainsFunc(messages, instructs) && s.leavesSystemOut() {
		return text.Prompt{}, invalid("messages", "unsupported_value", "This model's chat template leaves "+
			"system messages out. Write the instruction into the user's first message.")
	}
	codec := text.Codec{Tokenizer: s.Codec.Tokenizer, Literal: true}
	p, err := codec.Chat(ctx, messages)
	if errors.Is(err, text.ErrRewritten) {
		// The template does not just insert the messages. Without special tokens in them, they can be read as
		// they are.
		if err := s.refuseSpecial(ctx, messages); err != nil {
			return p, err
		}
		codec.Literal = false
		p, err = codec.Chat(ctx, messages)
	}
	switch {
	case err == nil:
		return p, nil
	case ctx.Err() != nil:
		return p, AsError(ctx.Err())
	case errors.Is(err, tokenizer.ErrNoChatTemplate):
		return p, invalid("messages", "unsupported_value", "This model has no chat template, so it cannot "+
			"read messages. Use /v1/completions.")
	}
	return p, invalid("messages", "invalid_value", "%s.", upper(brief(err.Error())))
}

// leavesSystemOut reports whether the chat template leaves system messages out.
func (s *Service) leavesSystemOut() bool {
	s.once.Do(func() { s.dropsSystem = s.Codec.DropsSystem(context.Background(), "Be brief.") })
	return s.dropsSystem
}

// refuseSpecial returns an error if a message has a special token.
func (s *Service) refuseSpecial(ctx context.Context, messages []tokenizer.Message) error {
	t := s.Codec.Tokenizer
	for i, m := range messages {
		param := fmt.Sprintf("messages[%d].content", i)
		ids, err := t.Encode(ctx, m.Content, tokenizer.EncodeOptions{NoBOS: true})
		if err != nil {
			return encodeError(ctx, param, err)
		}
		if slices.ContainsFunc(ids, t.IsSpecial) {
			return invalid(param, "unsupported_value", "%s has a special token such as <|end|>. This "+
				"model's chat template does more than insert the messages, so the token cannot be read as "+
				"ordinary characters. Remove it.", param)
		}
	}
	return nil
}
