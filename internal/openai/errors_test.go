package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// Mistakes that testdata/mistakes.golden has no place for.
func TestMistakes(t *testing.T) {
	s := newParser(t)
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	for _, test := range []struct {
		where             Endpoint
		body, code, param string
		message           string
	}{
		{Chat, "{\"user\": \"\xff\"}", "invalid_json", "", "The body of the request is not valid UTF-8."},
		{Chat, `{"user": ` + deep + `}`, "invalid_json", "", "nested too deep"},
		{Chat, question(`, "stop": "` + strings.Repeat("x", 1025) + `"`), "invalid_value", "stop", "1025"},
		{
			Chat, `{"messages": [` + strings.Repeat(`1,`, 4096) + `1]}`, "invalid_value", "messages",
			"messages has more than 4096 entries.",
		},
		{
			Completion, `{"prompt": ` + ids(513) + `}`, "context_length_exceeded", "prompt", "This model's " +
				"maximum context length is 512 tokens. However, your prompt resulted in 513 tokens. Please " +
				"reduce the length of the prompt.",
		},
		{
			Completion, `{"prompt": "` + strings.Repeat("a b ", 1000) + `"}`, "context_length_exceeded",
			"prompt", "However, you sent more than 1024 tokens in the prompt. Please reduce the length.",
		},
	} {
		_, err := s.read(t.Context(), test.where, test.body)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 400, e.Status)
		require.Equal(t, test.code, *e.Code)
		require.Contains(t, e.Message, test.message)
		if test.param != "" {
			require.Equal(t, test.param, *e.Param)
		}
	}
}

// A body cannot take many times its size in memory.
func TestHostileBodies(t *testing.T) {
	s := newParser(t)
	many := func(piece string) string { return strings.Repeat(piece, 1<<20/len(piece)) }
	keys := strings.Builder{}
	for i := range 1 << 17 {
		fmt.Fprintf(&keys, `"%x":1,`, i)
	}
	for _, body := range []string{
		`{"prompt": [` + many(`5,`) + `5]}`,
		`{"prompt": [` + many(`"",`) + `""]}`,
		`{"prompt": [` + many(`[],`) + `[]]}`,
		`{"prompt": "` + many(`a `) + `"}`,
		`{` + keys.String() + `"prompt": ""}`,
		`{"prompt": "a", "logit_bias": {` + keys.String() + `"a": 1}}`,
		`{"messages": [` + many(`{},`) + `{}]}`,
		`{"messages": [{"role": "user", "content": [` + many(`{},`) + `{}]}]}`,
		`{"messages": [{` + keys.String() + `"role": "user"}]}`,
		`{"messages": [{"role": "user", "content": "` + many(`a `) + `"}]}`,
		`{"messages": [{"role": "user", "content": "` + many(`\n`) + `"}]}`,
		question(`, "tools": [` + many(`{},`) + `{}]`),
		question(`, "metadata": {` + keys.String() + `"a": 1}`),
		question(`, "prompt_cache_options": {"a": [` + many(`[],`) + `[]]}`),
		question(`, "stop": [` + many(`"",`) + `""]`),
	} {
		where := Completion
		if strings.Contains(body, "messages") {
			where = Chat
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.read(t.Context(), where, body)
		runtime.ReadMemStats(&after)
		if err != nil {
			require.Less(t, len(AsError(err).Message), 400)
		}
		times := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(body))
		require.Less(t, times, 32.0, body[:100]) // of all allocations together
	}
}

// Errors of the engine and the model have the protocol's status. Those that are not the client's fault tell
// it nothing.
func TestAsError(t *testing.T) {
	require.Nil(t, AsError(nil))
	secret := errors.New("/home/anna/model.safetensors is damaged")
	for _, test := range []struct {
		err        error
		status     int
		kind, code string
		says       string
	}{
		{engine.ErrBusy, 429, "rate_limit_error", "rate_limit_exceeded", "busy"},
		{fmt.Errorf("wrapped: %w", engine.ErrClosed), 503, "server_error", "shutting_down", "shutting down"},
		{
			&model.TooLongError{Text: "prompt", Tokens: 9, Context: 8}, 400, "invalid_request_error",
			"context_length_exceeded", "The prompt has 9 tokens, the context holds 8.",
		},
		{
			&sampling.RangeError{Field: "min_new_tokens", Value: -1, Range: "0 or more"}, 400,
			"invalid_request_error", "invalid_value", "min_tokens is -1, not 0 or more.",
		},
		{sampling.ErrNothingLeft, 400, "invalid_request_error", "invalid_value", "No token is left"},
		{context.Canceled, StatusClosed, "server_error", "", "cancelled"},
		{context.DeadlineExceeded, 504, "server_error", "", "too long"},
		{secret, 500, "server_error", "internal_error", "could not compute"},
		{
			fmt.Errorf("more: %w", invalid("n", "invalid_value", "n is wrong")), 400, "invalid_request_error",
			"invalid_value", "n is wrong",
		},
	} {
		e := AsError(test.err)
		require.Equal(t, test.status, e.Status)
		require.Equal(t, test.kind, e.Type)
		require.Contains(t, e.Message, test.says)
		require.NotContains(t, e.Message, "anna")
		if test.code != "" {
			require.Equal(t, test.code, *e.Code)
		}
		require.Equal(t, test.status == 429 || test.status == 503, e.RetryAfter > 0)
	}
	require.ErrorIs(t, AsError(secret), secret, "the log says it")
	written, err := json.Marshal(AsError(invalid("n", "invalid_value", "n is wrong")))
	require.NoError(t, err)
	require.JSONEq(t, `{"error": {"message": "n is wrong", "type": "invalid_request_error", "param": "n",
		"code": "invalid_value"}}`, string(written))
	written, err = json.Marshal(AsError(context.Canceled))
	require.NoError(t, err)
	require.Contains(t, string(written), `"param":null,"code":null`)
}

// Half of a surrogate pair is found among other escapes.
func TestLoneSurrogate(t *testing.T) {
	for text, want := range map[string]bool{
		`"plain"`: false, `"\n\\ud83d"`: false, `"😀"`: false, `"\ud83d\ude00"`: false,
		`"a\ud83d\ude00\u00e9"`: false,
		`"\ud83d"`:              true, `"\ud83d\n"`: true, `"\ude00"`: true,
		`"\ud83d\ud83d\ude00"`: true, `"\\\ud83d"`: true,
		`"\uD83D\uDE00"`: false, `"\uDBFF"`: true,
	} {
		require.Equal(t, want, loneSurrogate([]byte(text)), text)
	}
}
