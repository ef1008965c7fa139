//go:build !race

// The client is a large package, which takes long to compile for the race detector. The other tests have the
// same races.

package serve

import (
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/stretchr/testify/require"

	"phi3/internal/demo"
)

// OpenAI's own client for Go understands every answer.
func TestOpenAIClient(t *testing.T) {
	s := start(t, setup{Options: Options{Key: "secret"}})
	options := []option.RequestOption{
		option.WithBaseURL(s.url + "/v1"), option.WithHTTPClient(s.client), option.WithMaxRetries(0),
	}
	client := openai.NewClient(append(options, option.WithAPIKey("secret"))...)
	chat := openai.ChatCompletionNewParams{
		Model: demo.Name,
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.UserMessage("What is the capital of Germany?"),
		},
		Temperature: openai.Float(0), Logprobs: openai.Bool(true), TopLogprobs: openai.Int(2),
	}

	whole, err := client.Chat.Completions.New(t.Context(), chat)
	require.NoError(t, err)
	require.Equal(t, "The capital of Germany is Berlin.", whole.Choices[0].Message.Content)
	require.Equal(t, "stop", whole.Choices[0].FinishReason)
	require.Len(t, whole.Choices[0].Logprobs.Content[0].TopLogprobs, 2)
	require.Equal(t, whole.Usage.PromptTokens+whole.Usage.CompletionTokens, whole.Usage.TotalTokens)

	chat.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), chat)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		require.True(t, all.AddChunk(stream.Current()))
	}
	require.NoError(t, stream.Err())
	require.Equal(t, whole.Choices[0].Message.Content, all.Choices[0].Message.Content)
	require.Equal(t, "stop", all.Choices[0].FinishReason)
	require.Equal(t, whole.Usage.TotalTokens, all.Usage.TotalTokens)
	require.Equal(t, len(whole.Choices[0].Logprobs.Content), len(all.Choices[0].Logprobs.Content))

	text, err := client.Completions.New(t.Context(), openai.CompletionNewParams{
		Model:  demo.Name,
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("The capital of Germany is")},
		N:      openai.Int(2), MaxTokens: openai.Int(2), Temperature: openai.Float(0),
	})
	require.NoError(t, err)
	require.Len(t, text.Choices, 2)
	require.Equal(t, " Berlin.", text.Choices[1].Text)

	models, err := client.Models.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, demo.Name, models.Data[0].ID)
	model, err := client.Models.Get(t.Context(), demo.Name)
	require.NoError(t, err)
	require.Equal(t, models.Data[0].Created, model.Created)
}

// The client knows the errors by their status and code, also one in the middle of a stream.
func TestOpenAIClientErrors(t *testing.T) {
	s := start(t, setup{context: 1 << 20, Options: Options{Key: "secret"}})
	options := []option.RequestOption{
		option.WithBaseURL(s.url + "/v1"), option.WithHTTPClient(s.client), option.WithMaxRetries(0),
	}
	client := openai.NewClient(append(options, option.WithAPIKey("secret"))...)
	completion := openai.CompletionNewParams{
		Model:  demo.Name,
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Hello")},
	}
	fails := func(status int, code, param string, err error) {
		t.Helper()
		var known *openai.Error
		require.ErrorAs(t, err, &known)
		require.Equal(t, status, known.StatusCode)
		require.Equal(t, code, known.Code)
		require.Equal(t, param, known.Param)
		require.NotEmpty(t, known.Message)
	}

	stranger := openai.NewClient(append(options, option.WithAPIKey("wrong"))...)
	_, err := stranger.Models.List(t.Context())
	fails(http.StatusUnauthorized, "invalid_api_key", "", err)

	wrong := completion
	wrong.Model = "gpt-4o"
	_, err = client.Completions.New(t.Context(), wrong)
	fails(http.StatusNotFound, "model_not_found", "model", err)

	wrong = completion
	wrong.Temperature = openai.Float(-1)
	_, err = client.Completions.New(t.Context(), wrong)
	fails(http.StatusBadRequest, "invalid_value", "temperature", err)

	wrong = completion
	wrong.Prompt.OfString = openai.String(strings.Repeat("a b ", 1<<20))
	_, err = client.Completions.New(t.Context(), wrong)
	fails(http.StatusBadRequest, "context_length_exceeded", "prompt", err)

	long := completion
	long.MaxTokens = openai.Int(1_000_000)
	stream := client.Completions.NewStreaming(t.Context(), long, option.WithJSONSet("ignore_eos", true))
	require.True(t, stream.Next())
	s.engine.Close()
	for stream.Next() {
	}
	require.ErrorContains(t, stream.Err(), "The server is shutting down.")
}
