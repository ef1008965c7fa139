package openai

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
)

// base is a seeded request that the effects of parameters show in.
const base = `, "seed": 7, "max_tokens": 12, "temperature": 4`

// greedy and long are other bases.
const (
	greedy = `, "temperature": 0, "max_tokens": 20`
	long   = `, "temperature": 0, "max_tokens": 40, "ignore_eos": true`
)

// effects are parameters that change the answer to the request that they are added to.
var effects = map[string]struct{ to, parameters string }{
	"echo":                  {base, `, "echo": true`},
	"max_tokens":            {`, "seed": 7, "temperature": 4`, `, "max_tokens": 3`},
	"max_completion_tokens": {`, "seed": 7, "temperature": 4`, `, "max_completion_tokens": 3`},
	"min_tokens":            {greedy, `, "min_tokens": 18`},
	"stop":                  {greedy, `, "stop": "lin"`},
	"ignore_eos":            {greedy, `, "ignore_eos": true`},
	"temperature":           {`, "seed": 7, "max_tokens": 12`, `, "temperature": 4`},
	"top_p":                 {base, `, "top_p": 0.01`},
	"top_k":                 {base, `, "top_k": 1`},
	"min_p":                 {base, `, "min_p": 1`},
	"typical_p":             {base, `, "typical_p": 0.01`},
	"frequency_penalty":     {long, `, "frequency_penalty": 2`},
	"presence_penalty":      {long, `, "presence_penalty": 2`},
	"repetition_penalty":    {greedy, `, "repetition_penalty": 5`},
	"no_repeat_ngram_size":  {greedy, `, "no_repeat_ngram_size": 1`},
	"logit_bias":            {greedy, `, "logit_bias": {"5": 100}`},
	"seed":                  {`, "max_tokens": 12, "temperature": 4`, `, "seed": 8`},
	"n":                     {base, `, "n": 3`},
	"logprobs":              {base, ``}, // is different for each endpoint
	"top_logprobs":          {base + `, "logprobs": true`, `, "top_logprobs": 2`},
}

// elsewhere are parameters whose effects other tests show.
var elsewhere = []string{"model", "messages", "prompt", "stream", "stream_options"}

// choices is the JSON of a response's choices.
func (s *Service) choices(t *testing.T, where Endpoint, body string) string {
	t.Helper()
	r := s.whole(t, where, body)
	written, err := json.Marshal(r.Choices)
	require.NoError(t, err)
	return string(written)
}

// Every parameter of the table does what its Handling says, and its null does nothing.
func TestEveryParameter(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 100})
	tried := map[string]bool{}
	for _, p := range Parameters() {
		for _, where := range []Endpoint{Chat, Completion} {
			if p.Endpoint&where == 0 {
				_, err := s.read(t.Context(), where, ask(where, `, "`+p.Name+`": null`))
				require.Equal(t, "unknown_parameter", *AsError(err).Code, p.Name)
				continue
			}
			if p.Name != "messages" && p.Name != "prompt" {
				require.Equal(t, s.choices(t, where, ask(where, base)),
					s.choices(t, where, ask(where, base+nullOf(p.Name))), "%s: null", p.Name)
			}
			switch p.Handling {
			case Accepted:
				require.Equal(t, s.choices(t, where, ask(where, base)),
					s.choices(t, where, ask(where, base+`, "`+p.Name+`": `+acceptable[p.Name])), p.Name)
				_, err := s.read(t.Context(), where, ask(where, `, "`+p.Name+`": [5]`))
				require.Equal(t, 400, AsError(err).Status, p.Name)
			case Refused:
				asks := refusable[p.Name]
				require.NotEmpty(t, asks, p.Name)
				_, err := s.read(t.Context(), where, ask(where, base+`, "`+p.Name+`": `+asks[0]))
				require.Error(t, err, p.Name)
				require.Equal(t, 400, AsError(err).Status)
				require.Equal(t, p.Name, *AsError(err).Param)
				require.Contains(t, AsError(err).Message, p.Name)
				for _, nothing := range asks[1:] {
					require.Equal(t, s.choices(t, where, ask(where, base)),
						s.choices(t, where, ask(where, base+`, "`+p.Name+`": `+nothing)), p.Name)
				}
			case Honoured:
				e, ok := effects[p.Name]
				if !ok {
					require.Contains(t, elsewhere, p.Name)
					continue
				}
				if p.Name == "logprobs" {
					e.parameters = `, "logprobs": true`
					if where == Completion {
						e.parameters = `, "logprobs": 2`
					}
				}
				require.NotEqual(t, s.choices(t, where, ask(where, e.to)),
					s.choices(t, where, ask(where, e.to+e.parameters)), p.Name)
			}
			tried[p.Name] = true
		}
	}
	for name := range effects {
		require.True(t, tried[name], name)
	}
}

// nullOf is a parameter with null; "" if base has another value of it.
func nullOf(name string) string {
	if slices.Contains([]string{"seed", "max_tokens", "temperature"}, name) {
		return ""
	}
	return `, "` + name + `": null`
}

// acceptable are values of the parameters that change nothing.
var acceptable = map[string]string{
	"user": `"anna"`, "safety_identifier": `"x"`, "metadata": `{"a": "b"}`, "prompt_cache_key": `"x"`,
	"prompt_cache_retention": `"24h"`, "prompt_cache_options": `{"ttl": "30m"}`,
	"parallel_tool_calls": `true`,
	"service_tier":        `"auto"`,
}

// refusable are values of the parameters that are refused, and after the first one, values that ask for
// nothing.
var refusable = map[string][]string{
	"suffix": {`"."`, `""`}, "best_of": {`2`, `1`}, "store": {`true`, `false`},
	"tools": {`[{"type": "function", "function": {"name": "f"}}]`, `[]`}, "tool_choice": {`"auto"`, `"none"`},
	"functions": {`[{"name": "f"}]`, `[]`}, "function_call": {`"auto"`, `"none"`},
	"response_format":  {`{"type": "json_object"}`, `{"type": "text"}`},
	"modalities":       {`["text", "audio"]`, `["text"]`},
	"audio":            {`{"voice": "x", "format": "wav"}`},
	"prediction":       {`{"type": "content", "content": "a"}`},
	"reasoning_effort": {`"low"`}, "verbosity": {`"low"`, `"medium"`}, "web_search_options": {`{}`},
	"moderation": {`{"model": "x"}`},
}

// Without parameters a chat draws from the model's own distribution, as the protocol says, and temperature 0
// is greedy. A checkpoint's generation_config.json has other defaults, as in vLLM.
func TestDefaults(t *testing.T) {
	s := newParser(t)
	config := func(parameters string) *request {
		a, err := s.Chat(t.Context(), []byte(question(parameters)))
		require.NoError(t, err)
		return a.request
	}
	r := config("")
	require.True(t, r.config.DoSample)
	require.EqualValues(t, 1, r.config.Temperature)
	require.Equal(t, 0, r.config.TopK)
	require.EqualValues(t, 1, r.config.TopP)
	require.NotEqual(t, config("").seed, config("").seed)
	require.NotEqual(t, config(`, "seed": -1`).seed, config(`, "seed": -1`).seed)
	require.EqualValues(t, 5, config(`, "seed": 5`).seed)
	require.Equal(t, uint64(1<<63), config(`, "seed": -9223372036854775808`).seed)
	require.Equal(t, ^uint64(0), config(`, "seed": 18446744073709551615`).seed)
	require.False(t, config(`, "temperature": 0`).config.DoSample)
	require.Equal(t, 0, config(`, "top_k": -1`).config.TopK)

	s.Defaults.GivesTopK = true
	s.Defaults.Sampling.TopK, s.Defaults.Sampling.Temperature = 40, 0.5
	s.Defaults.Stops, s.Defaults.MaxNewTokens = []string{"END"}, 100
	a, err := s.Chat(t.Context(), []byte(question(`, "stop": "X"`)))
	require.NoError(t, err)
	require.Equal(t, 40, a.request.config.TopK)
	require.EqualValues(t, 0.5, a.request.config.Temperature)
	require.Equal(t, []string{"END", "X"}, a.request.stops)
	require.Equal(t, 100, a.prompts[0].most)
	require.EqualValues(t, 1, config(`, "temperature": 1`).config.Temperature)
	require.False(t, config(`, "temperature": 1e-320`).config.DoSample, "float32 rounds it to 0")
	require.Equal(t, []string{"END"}, s.Defaults.Stops)
}

// A chat without max_tokens may fill the context, a completion has 16 tokens, and both take less where the
// context has less room.
func TestLengths(t *testing.T) {
	s := newParser(t)
	for _, test := range []struct {
		where Endpoint
		body  string
		most  int
	}{
		{Chat, question(``), 503},
		{Chat, question(`, "max_tokens": 503`), 503},
		{Completion, continuation(``), 16},
		{Completion, continuation(`, "max_tokens": 508`), 508},
		{Completion, continuation(`, "max_tokens": 0, "echo": true`), 0},
		{Completion, `{"prompt": ` + ids(507) + `}`, 6},
		{Completion, `{"prompt": ` + ids(512) + `}`, 1},
		{Completion, `{"max_tokens": 1, "prompt": ` + ids(512) + `}`, 1},
	} {
		a, err := s.read(t.Context(), test.where, test.body)
		require.NoError(t, err)
		require.Equal(t, test.most, a.prompts[0].most)
	}
}

// ids is a list of n token ids.
func ids(n int) string {
	written, _ := json.Marshal(slices.Repeat([]int{300}, n))
	return string(written)
}
