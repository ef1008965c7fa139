package openai

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/cpu"
	"phi3/internal/demo"
	"phi3/internal/engine"
	"phi3/internal/generate"
	"phi3/internal/model"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// loadDemo loads the built-in checkpoint. The model is never closed, because one engine after the other owns
// it.
var loadDemo = sync.OnceValues(func() (*model.Model, error) {
	backend, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		return nil, err
	}
	return model.Load(context.Background(), demo.FS(), backend, model.Options{Sequences: 4})
})

// newService is a service of the built-in checkpoint.
func newService(t *testing.T, o engine.Options) *Service {
	t.Helper()
	m, err := loadDemo()
	require.NoError(t, err)
	s := newParser(t)
	s.Engine = engine.New(m, o)
	t.Cleanup(s.Engine.Close)
	return s
}

// newParser is a service without an engine.
func newParser(t testing.TB) *Service {
	t.Helper()
	config, err := model.ReadConfig(demo.FS())
	require.NoError(t, err)
	tok, err := tokenizer.Load(demo.FS())
	require.NoError(t, err)
	defaults, err := generate.ReadDefaults(demo.FS(), true)
	require.NoError(t, err)
	return &Service{
		Codec: &text.Codec{Tokenizer: tok}, Config: config, Context: config.MaxPositions,
		Name: demo.Name, Created: 1700000000, Defaults: defaults,
	}
}

// read reads the body of a request to an endpoint.
func (s *Service) read(ctx context.Context, where Endpoint, body string) (*Answer, error) {
	if where == Chat {
		return s.Chat(ctx, []byte(body))
	}
	return s.Completion(ctx, []byte(body))
}

// whole is the response to a request, without what differs from run to run.
func (s *Service) whole(t *testing.T, where Endpoint, body string) wholeResponse {
	t.Helper()
	a, err := s.read(t.Context(), where, body)
	require.NoError(t, err, body)
	response, err := a.Whole(t.Context())
	require.NoError(t, err, body)
	return decode[wholeResponse](t, response)
}

// wholeResponse is a response, or a chunk, of either endpoint.
type wholeResponse struct {
	ID      string
	Object  string
	Choices []struct {
		Index        int
		Text         string
		Message      struct{ Role, Content string }
		Delta        struct{ Role, Content *string }
		LogProbs     json.RawMessage
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
		Details    struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

// texts are the texts of a response's choices.
func (r wholeResponse) texts() (all []string) {
	for _, c := range r.Choices {
		all = append(all, c.Text+c.Message.Content)
	}
	return all
}

// decode turns a value into JSON and the JSON into a T.
func decode[T any](t *testing.T, from any) (to T) {
	t.Helper()
	written, err := json.Marshal(from)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(written, &to), string(written))
	return to
}

// question is the body of a chat with the demo model, whose other parameters begin with a comma.
func question(parameters string) string {
	return `{"messages": [{"role": "user", "content": "What is the capital of Germany?"}]` + parameters + `}`
}

// continuation is the body of a completion.
func continuation(parameters string) string {
	return `{"prompt": "The capital of Germany is"` + parameters + `}`
}

// ask is the body of a request without other parameters.
func ask(where Endpoint, parameters string) string {
	if where == Chat {
		return question(parameters)
	}
	return continuation(parameters)
}

func TestModels(t *testing.T) {
	s := newParser(t)
	const object = `{"id":"phi3-demo","object":"model","created":1700000000,"owned_by":"phi3","max_model_len":512}`
	list, err := json.Marshal(s.Models())
	require.NoError(t, err)
	require.JSONEq(t, `{"object":"list","data":[`+object+`]}`, string(list))
	one, err := s.Model("phi3-demo")
	require.NoError(t, err)
	written, err := json.Marshal(one)
	require.NoError(t, err)
	require.JSONEq(t, object, string(written))
	_, err = s.Model("gpt-4")
	require.Equal(t, 404, AsError(err).Status)
	require.Equal(t, "model_not_found", *AsError(err).Code)
}

// Ids of responses are long and random.
func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID("cmpl-")
		require.True(t, strings.HasPrefix(id, "cmpl-") && len(id) >= 25)
		require.False(t, seen[id])
		seen[id] = true
	}
}
