package explore

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/openai"
)

// tokenize is the response to a request about tokens.
func (e *Explorer) tokenize(t testing.TB, request map[string]any) Tokens {
	t.Helper()
	body, err := json.Marshal(request)
	require.NoError(t, err)
	answer, err := e.Tokenize(t.Context(), body)
	require.NoError(t, err)
	return answer.(Tokens)
}

func ids(tokens []Token) []int32 {
	all := make([]int32, len(tokens))
	for i, t := range tokens {
		all[i] = t.ID
	}
	return all
}

func TestTokenize(t *testing.T) {
	e := newParser(t)
	const sentence = "The capital of Germany is <|end|>"
	plain := e.tokenize(t, map[string]any{"text": sentence})
	require.Equal(t, sentence, plain.Text)
	want, err := e.Codec.Encode(t.Context(), e.Codec.Plain(sentence), 0)
	require.NoError(t, err)
	require.Equal(t, want, ids(plain.Tokens))
	last := plain.Tokens[len(plain.Tokens)-1]
	require.Equal(t, "<|end|>", last.Piece)
	require.Equal(t, "3c7c656e647c3e", last.Bytes)
	require.True(t, last.Special)

	// A chat is read as the protocol reads it: what the user wrote cannot end the turn.
	chat := e.tokenize(t, map[string]any{"text": sentence, "chat": true})
	require.Equal(t, "<|user|>\n"+sentence+"<|end|>\n<|assistant|>\n", chat.Text)
	served, err := e.Service.Tokenize(t.Context(),
		[]byte(`{"messages": [{"role": "user", "content": "`+sentence+`"}]}`))
	require.NoError(t, err)
	body, err := json.Marshal(served)
	require.NoError(t, err)
	var protocol struct{ Tokens []int32 }
	require.NoError(t, json.Unmarshal(body, &protocol))
	require.Equal(t, protocol.Tokens, ids(chat.Tokens))

	// Ids have the same tokens.
	again := e.tokenize(t, map[string]any{"ids": ids(plain.Tokens)})
	require.Equal(t, plain.Tokens, again.Tokens)
	require.Equal(t, sentence, strings.TrimSpace(again.Text))

	for _, empty := range []map[string]any{{"text": ""}, {"ids": []int32{}}} {
		body, err := json.Marshal(e.tokenize(t, empty))
		require.NoError(t, err)
		require.JSONEq(t, `{"text": "", "tokens": []}`, string(body))
	}
}

func TestTokenizeErrors(t *testing.T) {
	e := newParser(t)
	_, err := e.Tokenize(t.Context(), []byte(`{"text": "`+strings.Repeat("a b ", 600)+`"}`))
	var known *openai.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, 400, known.Status)
	require.Equal(t, "text has more than 512 tokens, which is the model's context. Shorten the text.",
		known.Message)

	require.NoError(t, e.Codec.Tokenizer.SetChatTemplate("x.jinja", `{{ raise_exception("no") }}`))
	_, err = e.Tokenize(t.Context(), []byte(`{"text": "a", "chat": true}`))
	require.ErrorAs(t, err, &known)
	require.Equal(t, 400, known.Status)
	require.Contains(t, known.Message, "no")
}
