package openai

import (
	"context"
	"errors"
	"fmt"

	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// defaultMaxTokens is how many tokens a completion has if max_tokens is not given, as OpenAI documents it.
const defaultMaxTokens = 16

// prompt is a text that the model continues.
type prompt struct {
	text string // as it was given, for echo
	ids  []int32
	most int // tokens to generate
}

// prompts makes the prompts of a request.
func (s *Service) prompts(ctx context.Context, r *request) ([]prompt, error) {
	if r.where == Chat {
		messages, err := readMessages(r.messages)
		if err != nil {
			return nil, err
		}
		rendered, err := s.Render(ctx, messages)
		if err != nil {
			return nil, err
		}
		p, err := s.encode(ctx, "messages", rendered)
		return []prompt{p}, err
	}
	v := r.prompt
	if len(v.raw) == 0 {
		return nil, invalid("prompt", "missing_required_parameter", "prompt is missing. It must be a text, "+
			"a list of texts, a list of token ids, or a list of such lists.")
	}
	if first := v.firstOfList(); first != '"' && first != '[' { // one text, or one list of ids
		p, err := s.textOrIDs(ctx, v)
		return []prompt{p}, err
	}
	list, err := v.list(maxChoices)
	if err != nil {
		return nil, err
	}
	if len(list)*r.n > maxChoices {
		return nil, v.wrong(" has %d prompts, and n is %d; this server generates up to %d texts for a "+
			"request.", len(list), r.n, maxChoices)
	}
	prompts := make([]prompt, len(list))
	for i := range list {
		if prompts[i], err = s.textOrIDs(ctx, list[i]); err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

// textOrIDs reads one prompt. A text may have special tokens such as <|user|>, unlike a message.
func (s *Service) textOrIDs(ctx context.Context, v value) (prompt, error) {
	if v.isList() {
		ids, err := v.ids(s.Config.VocabSize)
		if err == nil && len(ids) == 0 {
			err = v.wrong(" is an empty list.")
		}
		p := prompt{ids: ids}
		if len(ids) <= s.Context { // limit refuses a longer list, so nobody sees its text
			p.text = s.Codec.Tokenizer.Decode(ids, false)
		}
		return p, err
	}
	if !v.isText() {
		return prompt{}, invalid(v.name, "invalid_type", "%s is neither a text nor a list.", v.name)
	}
	var given string
	if err := v.into(&given); err != nil {
		return prompt{}, err
	}
	return s.encode(ctx, v.name, s.Codec.Plain(given))
}

// encode turns a prompt into ids. param is its parameter.
func (s *Service) encode(ctx context.Context, param string, given text.Prompt) (prompt, error) {
	// Beyond twice the context it does not matter how long the prompt is.
	ids, err := s.Codec.Encode(ctx, given, 2*s.Context)
	var tooMany *tokenizer.TooManyError
	if errors.As(err, &tooMany) {
		return prompt{}, contextExceeded(param, fmt.Sprintf("This model's maximum context length is %d "+
			"tokens. However, you sent more than %d tokens in the %s. Please reduce the length.",
			s.Context, tooMany.Max, param))
	}
	if err != nil {
		return prompt{}, encodeError(ctx, param, err)
	}
	if err := s.Codec.Check(ids, s.Config.VocabSize); err != nil {
		return prompt{}, invalid(param, "invalid_value", "%s: %s.", param, brief(err.Error()))
	}
	return prompt{text: given.String(), ids: ids}, nil
}

// limit sets how many tokens may follow a prompt. A number that was asked for and does not fit is an error;
// a default is lowered to what fits. The last token need not be read, so it may lie beyond the context.
func (s *Service) limit(r *request, p *prompt) error {
	param := "prompt"
	if r.where == Chat {
		param = "messages"
	}
	const long = "This model's maximum context length is %d tokens. However, "
	room := s.Context - len(p.ids) + 1
	switch {
	case room <= 0:
		return contextExceeded(param, fmt.Sprintf(long+"your %s resulted in %d tokens. Please reduce the "+
			"length of the %[2]s.", s.Context, param, len(p.ids)))
	case r.maxTokens > room:
		return contextExceeded(param, fmt.Sprintf(long+"you requested %d tokens (%d in the %s, %d in the "+
			"completion). Please reduce the length of the %[4]s or the completion.",
			s.Context, len(p.ids)+r.maxTokens, len(p.ids), param, r.maxTokens))
	case r.maxTokens >= 0:
		p.most = r.maxTokens
	case r.where == Completion:
		p.most = min(defaultMaxTokens, room)
	default:
		p.most = room
		if n := s.Defaults.MaxNewTokens; n > 0 {
			p.most = min(n, p.most)
		}
	}
	return nil
}
