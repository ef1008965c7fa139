package gguf

import (
	"slices"
	"strconv"
	"strings"

	"phi3/internal/show"
	"phi3/internal/strictjson"
	"phi3/internal/tokenizer"
)

// A GGUF file has a type for each token: a control token, a user-defined one, or one of the vocabulary. It
// does not say whether a token swallows the white space beside it, and its converters make a control token of
// everything that looks like "<|end|>". So these two flags are lost. phi3 restores them for the tokens of the
// family, by the rules below. llama.cpp has another rule: see [ModelName].

// Tokens of Phi-3, Phi-3.5 and Phi-4-mini after which white space is swallowed, besides <|placeholder1|> and
// so on.
var swallowing = []string{
	"<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|tag|>", "<|tool|>", "<|/tool|>", "<|tool_call|>",
	"<|/tool_call|>", "<|tool_response|>",
}

// Tokens of Phi-4-mini that are not special.
var visible = []string{"<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"}

// added returns the added tokens with the flags that Hugging Face's tokenizers of the family have:
//
//	Phi-3, 3.5   white space is swallowed after the tokens of the list swallowing, and after </s>, which is
//	             not special. In the first upload, of April 2024, no token swallows it; there </s> is
//	             special, a control token.
//	Phi-4-mini   the same without </s>; the tokens for tools are not special, although the file says so
//	phi-4        white space before and after every token is swallowed
//	others       nothing is swallowed
func (v *vocabulary) added() ([]tokenizer.AddedToken, error) {
	firstUpload := !v.byteLevel && v.typeOf("</s>") == controlToken
	phi4 := v.byteLevel && v.typeOf("<|im_sep|>") == controlToken
	phi4mini := v.byteLevel && v.typeOf("<|/tool_call|>") == controlToken
	var added []tokenizer.AddedToken
	for id, text := range v.tokens {
		if !v.isAdded(id) {
			continue
		}
		a := tokenizer.AddedToken{ID: int32(id), Content: text}
		a.Special = v.types[id] != userToken || looksSpecial(text)
		switch {
		case phi4:
			a.Lstrip, a.Rstrip = true, true
		case firstUpload:
		case slices.Contains(swallowing, text) || isPlaceholder(text):
			a.Rstrip = true
		case text == "</s>":
			a.Rstrip = !v.byteLevel
		}
		if phi4mini && slices.Contains(visible, text) {
			a.Special = false
		}
		added = append(added, a)
	}
	return added, v.readFlags(added)
}

// typeOf returns the type of a token, 0 if there is none.
func (v *vocabulary) typeOf(text string) int32 {
	if id := slices.Index(v.tokens, text); id >= 0 {
		return v.types[id]
	}
	return 0
}

// looksSpecial reports whether converters make a control token of such a token.
func looksSpecial(text string) bool {
	return strings.HasPrefix(text, "<|") && strings.HasSuffix(text, "|>")
}

// isPlaceholder reports whether a token is "<|placeholder7|>" or another of these.
func isPlaceholder(text string) bool {
	number, ok := strings.CutPrefix(text, "<|placeholder")
	if !ok {
		return false
	}
	_, err := strconv.Atoi(strings.TrimSuffix(number, "|>"))
	return err == nil
}

// readFlags replaces the flags of tokens by those that the file has, if phi3 wrote it.
func (v *vocabulary) readFlags(added []tokenizer.AddedToken) error {
	text, err := v.meta.Text(flagsKey, "{}")
	if err != nil {
		return err
	}
	var flags map[string]tokenizer.AddedToken
	if err := strictjson.Unmarshal([]byte(text), &flags); err != nil {
		return v.meta.Errorf(flagsKey, "cannot be read: %w", err)
	}
	for i := range added {
		a := &added[i]
		key := strconv.Itoa(int(a.ID))
		f, ok := flags[key]
		if !ok {
			continue
		}
		if f.Content != a.Content {
			return v.meta.Errorf(flagsKey, "has %q as token %d, but %s has %q", show.Brief(f.Content), a.ID,
				tokensKey, show.Brief(a.Content))
		}
		f.ID = a.ID
		*a = f
		delete(flags, key)
	}
	for key := range flags {
		return v.meta.Errorf(flagsKey, "has the key %q, which is not the id of an added token",
			show.Brief(key))
	}
	return nil
}
