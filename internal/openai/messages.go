package openai

import (
	"context"
	"encoding/json"
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
func readMessages(raw []json.RawMessage) ([]tokenizer.Message, error) {
	if len(raw) == 0 {
		return nil, invalid("messages", "missing_required_parameter", "messages is missing or empty. It "+
			"must have at least one message.")
	}
	if len(raw) > maxMessages {
		return nil, invalid("messages", "invalid_value", "messages has %d messages; this server takes up to "+
			"%d.", len(raw), maxMessages)
	}
	messages := make([]tokenizer.Message, len(raw))
	for i := range raw {
		var err error
		if messages[i], err = readMessage(value{fmt.Sprintf("messages[%d]", i), raw[i]}); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func readMessage(v value) (m tokenizer.Message, err error) {
	var all map[string]json.RawMessage
	if err := v.into(&all); err != nil {
		return m, err
	}
	member := func(name string) value {
		raw, ok := all[name]
		delete(all, name)
		if !ok {
			raw = json.RawMessage("null")
		}
		return value{v.name + "." + name, raw}
	}
	role := member("role")
	if err := role.into(&m.Role); err != nil {
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
	for name, why := range ofMessage {
		if v := member(name); !v.isNull() {
			if err := only(why, "", []any{})(nil, v); err != nil {
				return m, err
			}
		}
	}
	for name := range all {
		return m, unrecognized(map[string]json.RawMessage{v.name + "." + name: nil})
	}
	return m, nil
}

// readContent reads a text, or a list of texts. As in vLLM and llama-server, a newline separates the texts of
// a list.
func readContent(v value) (content string, err error) {
	if v.isNull() {
		return "", invalid(v.name, "missing_required_parameter", "%s is missing. It must be a text.", v.name)
	}
	content, list, err := v.textOrList()
	if list == nil {
		return content, err
	}
	texts := make([]string, len(list))
	for i, v := range list {
		var part map[string]json.RawMessage
		if err := v.into(&part); err != nil {
			return "", err
		}
		var kind string
		if err := (value{v.name + ".type", orNull(part["type"])}).into(&kind); err != nil {
			return "", err
		}
		if kind != "text" {
			return "", invalid(v.name+".type", "unsupported_value", "%s.type is %q: this model reads only "+
				"text.", v.name, brief(kind))
		}
		text := value{v.name + ".text", orNull(part["text"])}
		if text.isNull() {
			return "", invalid(text.name, "missing_required_parameter", "%s is missing.", text.name)
		}
		if err := text.into(&texts[i]); err != nil {
			return "", err
		}
		for member := range part {
			if !slices.Contains([]string{"type", "text", "prompt_cache_breakpoint"}, member) {
				return "", unrecognized(map[string]json.RawMessage{v.name + "." + member: nil})
			}
		}
	}
	return strings.Join(texts, "\n"), nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// render makes the prompt of a chat. Special tokens such as <|end|> in a message are ordinary characters, so
// that a message cannot end its turn and begin another one.
func (s *Service) render(ctx context.Context, messages []tokenizer.Message) (text.Prompt, error) {
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
