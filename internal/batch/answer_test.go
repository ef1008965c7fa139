package batch

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/openai"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// newService is a service of the built-in checkpoint.
func newService(t *testing.T) *openai.Service {
	t.Helper()
	backend, err := cpu.New(cpu.Options{Threads: 1})
	require.NoError(t, err)
	m, err := model.Load(t.Context(), demo.FS(), backend, model.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	defaults, err := generate.ReadDefaults(demo.FS(), true)
	require.NoError(t, err)
	return &openai.Service{
		Engine: engine.New(m, engine.Options{}), Codec: &text.Codec{Tokenizer: tok}, Config: &m.Config,
		Context: m.Context, Name: demo.Name, Defaults: defaults,
	}
}

// A refusal that the next run would repeat is a response. What another run may answer is an error, and so the
// request has no line.
func TestAnswers(t *testing.T) {
	s := newService(t)
	answer := Answers(s)
	r := &Request{CustomID: "1", URL: CompletionURL}
	ask := func(ctx context.Context, body string) (*Response, error) {
		r.Body = json.RawMessage(body)
		return answer(ctx, r)
	}
	const good = `{"prompt": "Hello", "max_tokens": 3, "temperature": 0, "ignore_eos": true}`
	a, err := ask(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, 200, a.Status)
	require.Equal(t, 3, a.Generated)
	body, err := json.Marshal(a.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"id":"cmpl-`+r.Name()+`"`)

	for _, refused := range []string{`{}`, `{"prompt": "x", "n": 0}`, `{"prompt": "x", "stream": true}`} {
		a, err = ask(t.Context(), refused)
		require.NoError(t, err)
		require.Equal(t, 400, a.Status, refused)
	}
	a, err = ask(t.Context(), `{"prompt": "x", "model": "other"}`)
	require.NoError(t, err)
	require.Equal(t, 404, a.Status)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ask(ctx, good)
	require.ErrorIs(t, err, context.Canceled)
	s.Engine.Close()
	_, err = ask(t.Context(), good)
	require.ErrorIs(t, err, engine.ErrClosed)
}
