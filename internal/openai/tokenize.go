package openai

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"phi3/internal/tokenizer"
)

// tokenized is vLLM's response to POST /tokenize. Clients of llama-server find its tokens there too.
type tokenized struct {
	Count       int      `json:"count"`
	MaxModelLen int      `json:"max_model_len"`
	Tokens      any      `json:"tokens"` // ids; with with_pieces, objects as in llama-server
	TokenStrs   []string `json:"token_strs"`
}

// Tokenize reads the body of POST /tokenize and returns the response. The body has vLLM's parameters (prompt
// or messages) or llama-server's (content). The error is an [*Error].
func (s *Service) Tokenize(ctx context.Context, body []byte) (any, error) {
	var given struct {
		prompt, content            *string
		messages                   json.RawMessage
		bos, special, strs, pieces *bool
	}
	err := s.Fields(body, map[string]any{
		"prompt": &given.prompt, "messages": &given.messages, "content": &given.content,
		// vLLM's, and llama-server's
		"add_special_tokens": &given.bos, "return_token_strs": &given.strs,
		"add_special": &given.bos, "parse_special": &given.special, "with_pieces": &given.pieces,
	})
	if err != nil {
		return nil, err
	}
	is := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	var ids []int32
	plain := func(param, content string, bos bool) {
		ids, err = s.Codec.Tokenizer.Encode(ctx, content, tokenizer.EncodeOptions{
			NoBOS: !is(given.bos, bos), SpecialAsText: !is(given.special, !s.Codec.Literal),
			Max: maxIDs,
		})
		err = encodeError(ctx, param, err)
	}
	switch {
	case given.prompt != nil && given.content == nil && given.messages == nil:
		plain("prompt", *given.prompt, true)
	case given.content != nil && given.prompt == nil && given.messages == nil:
		plain("content", *given.content, false)
	case given.messages != nil && given.prompt == nil && given.content == nil:
		ids, err = s.tokenizeChat(ctx, value{"messages", given.messages})
	default:
		err = invalid("prompt", "missing_required_parameter", "Give one of prompt, content and messages.")
	}
	if err != nil {
		return nil, err
	}
	t := tokenized{Count: len(ids), MaxModelLen: s.Context, Tokens: append([]int32{}, ids...)}
	if is(given.strs, false) {
		t.TokenStrs = []string{}
		for _, id := range ids {
			t.TokenStrs = append(t.TokenStrs, s.Codec.Tokenizer.Piece(id))
		}
	}
	if is(given.pieces, false) {
		t.Tokens = s.pieces(ids)
	}
	return t, nil
}

func (s *Service) tokenizeChat(ctx context.Context, v value) ([]int32, error) {
	messages, err := readMessages(v)
	if err != nil {
		return nil, err
	}
	rendered, err := s.Render(ctx, messages)
	if err != nil {
		return nil, err
	}
	ids, err := s.Codec.Encode(ctx, rendered, maxIDs)
	return ids, encodeError(ctx, "messages", err)
}

// pieces are tokens as llama-server writes them: with a text, or with the bytes of a part of a character.
func (s *Service) pieces(ids []int32) []any {
	type piece struct {
		ID    int32 `json:"id"`
		Piece any   `json:"piece"`
	}
	all := make([]any, len(ids))
	for i, id := range ids {
		bytes := s.Codec.Tokenizer.Bytes(id)
		if utf8.Valid(bytes) {
			all[i] = piece{id, string(bytes)}
		} else {
			all[i] = piece{id, numbers(bytes)}
		}
	}
	return all
}

// Detokenize reads the body of POST /detokenize and returns the text that the tokens stand for, under the
// names that vLLM and llama-server give it. The error is an [*Error].
func (s *Service) Detokenize(_ context.Context, body []byte) (any, error) {
	var ids []int32
	if err := s.Fields(body, map[string]any{"tokens": &ids}); err != nil {
		return nil, err
	}
	if ids == nil {
		return nil, invalid("tokens", "missing_required_parameter", "tokens is missing. It must be a list "+
			"of token ids.")
	}
	decoded := s.Codec.Tokenizer.Decode(ids, false)
	return struct {
		Prompt  string `json:"prompt"`
		Content string `json:"content"`
	}{decoded, decoded}, nil
}

// Fields reads the members of a body into variables by their names. A *[]int32 takes a list of the model's
// token ids, and a map the members of an object. There may be a model too. null is the same as leaving a
// member out. Any other member is an error, as is a key that occurs twice. The error is an [*Error].
func (s *Service) Fields(body []byte, into map[string]any) error {
	all, err := members(body)
	if err != nil {
		return err
	}
	name := s.Name
	into["model"] = &name
	if err := s.take(all, into); err != nil {
		return err
	}
	return s.checkModel(name)
}

// take reads members into variables by their names, as Fields does.
func (s *Service) take(all map[string]value, into map[string]any) error {
	for _, member := range slices.Sorted(maps.Keys(into)) {
		v, given := all[member]
		delete(all, member)
		if !given || v.isNull() {
			continue
		}
		if err := s.readInto(v, into[member]); err != nil {
			return err
		}
	}
	return unrecognized(all)
}

// readInto reads a value into a variable, as Fields does.
func (s *Service) readInto(v value, variable any) (err error) {
	switch variable := variable.(type) {
	case *[]int32:
		*variable, err = v.ids(s.Config.VocabSize)
		return err
	case map[string]any:
		all, err := v.object()
		if err != nil {
			return err
		}
		return s.take(all, variable)
	}
	return v.into(variable)
}

// encodeError translates an error of encoding the text of a parameter.
func encodeError(ctx context.Context, param string, err error) error {
	var tooMany *tokenizer.TooManyError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return AsError(ctx.Err())
	case errors.As(err, &tooMany):
		return invalid(param, "invalid_value", "%s has more than %d tokens.", param, tooMany.Max)
	}
	return invalid(param, "invalid_value", "%s: %s.", param, brief(err.Error()))
}
