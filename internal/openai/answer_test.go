package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/sampling"
	"phi3/internal/text"
	"phi3/internal/tokenizer"
)

// The text of a response is that of phi3 generate for the same prompt and seed: the engine's tokens, decoded,
// up to a stop text.
func TestTextIsTheEngines(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 100})
	for seed := range uint64(8) {
		config := sampling.Defaults()
		config.DoSample, config.TopK, config.Temperature, config.EOS = true, 0, 3, s.Config.EOS
		for where, prompt := range map[Endpoint]text.Prompt{
			Completion: s.Codec.Plain("The capital of Germany is"),
			Chat:       chatPrompt(t, s.Codec, "What is the capital of Germany?"),
		} {
			ids, err := s.Codec.Encode(t.Context(), prompt, 0)
			require.NoError(t, err)
			want := s.Codec.Answer(ids, []string{"qu"})
			for token, err := range s.Engine.Generate(t.Context(), engine.Request{
				IDs: ids, MaxNewTokens: 30, Stop: s.Config.EOS, Sampler: sampling.New(config, seed),
			}) {
				require.NoError(t, err)
				if want.Push(token.ID); want.Stop() != "" {
					break
				}
			}
			want.End()
			got := s.whole(t, where, ask(where,
				fmt.Sprintf(`, "seed": %d, "temperature": 3, "max_tokens": 30, "stop": "qu"`, seed)))
			if where == Chat {
				// SentencePiece's mark before the first word is not a part of the message.
				require.Equal(t, strings.TrimLeft(want.Text(), " "), got.Choices[0].Message.Content)
			} else {
				require.Equal(t, want.Text(), got.Choices[0].Text)
			}
		}
	}
}

func chatPrompt(t *testing.T, c *text.Codec, content string) text.Prompt {
	t.Helper()
	p, err := c.Chat(t.Context(), []tokenizer.Message{{Role: "user", Content: content}})
	require.NoError(t, err)
	return p
}

// What is streamed is what comes whole.
func TestStreamIsWhole(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 100})
	for _, parameters := range []string{
		``,
		`, "temperature": 0`,
		`, "n": 3, "temperature": 4`,
		`, "n": 2, "temperature": 4, "ignore_eos": true`,
		`, "stop": ["lin", "Ber"], "temperature": 0`,
		`, "stop": [" ", "e"], "temperature": 3, "n": 4`,
		`, "logprobs": true, "top_logprobs": 2, "temperature": 4`,
		`, "logprobs": true, "stop": ["rli", "in B"], "temperature": 0, "n": 2`,
		`, "echo": true`,
		`, "echo": true, "logprobs": 2, "n": 2`,
		`, "echo": true, "logprobs": 0, "max_tokens": 0, "n": 2`,
		`, "echo": true, "max_tokens": 0`,
	} {
		for _, where := range []Endpoint{Chat, Completion} {
			all := `, "seed": 3` + parameters
			if !strings.Contains(parameters, "max_tokens") {
				all += `, "max_tokens": 30`
			}
			if where == Completion {
				all = strings.ReplaceAll(all, `"logprobs": true`, `"logprobs": 2`)
				all = strings.ReplaceAll(all, `, "top_logprobs": 2`, ``)
			} else if strings.Contains(all, "echo") {
				continue
			}
			whole := s.whole(t, where, ask(where, all))
			for _, usage := range []bool{false, true} {
				body := ask(where, fmt.Sprintf(`%s, "stream": true, "stream_options": {"include_usage": %v}`, all, usage))
				got := s.join(t, where, body, usage)
				if usage {
					require.Equal(t, whole.Usage.Completion, got.Usage.Completion)
					require.Equal(t, whole.Usage.Total, got.Usage.Total)
				}
				require.Len(t, got.Choices, len(whole.Choices))
				for i, want := range whole.Choices {
					require.Equal(t, want.Text+want.Message.Content, got.Choices[i].Text, body)
					require.Equal(t, want.FinishReason, got.Choices[i].FinishReason, body)
					if len(want.LogProbs) > 0 && string(want.LogProbs) != "null" {
						require.JSONEq(t, string(want.LogProbs), string(got.Choices[i].LogProbs), body)
					}
				}
			}
		}
	}
}

// join puts the chunks of a response together, and checks their order.
func (s *Service) join(t *testing.T, where Endpoint, body string, usage bool) (r wholeResponse) {
	t.Helper()
	a, err := s.read(t.Context(), where, body)
	require.NoError(t, err)
	require.True(t, a.Stream())
	n := a.Stats().Choices
	texts, logs := make([]string, n), make([]map[string][]any, n)
	begun, ended := make([]bool, n), make([]*string, n)
	for chunk, err := range a.Chunks(t.Context()) {
		require.NoError(t, err)
		require.Nil(t, r.Usage, "the usage is last")
		written, err := json.Marshal(chunk)
		require.NoError(t, err)
		require.Equal(t, usage, strings.Contains(string(written), `"usage":`), "null, if it is wanted")
		one := decode[wholeResponse](t, chunk)
		if r.Usage = one.Usage; r.Usage != nil {
			require.Empty(t, one.Choices)
			continue
		}
		require.Len(t, one.Choices, 1)
		c := one.Choices[0]
		require.Nil(t, ended[c.Index], "nothing follows the reason to end")
		if where == Chat && !begun[c.Index] {
			require.Equal(t, "assistant", *c.Delta.Role)
			require.Empty(t, *c.Delta.Content)
		} else {
			require.Nil(t, c.Delta.Role)
		}
		begun[c.Index] = true
		texts[c.Index] += c.Text
		if c.Delta.Content != nil {
			texts[c.Index] += *c.Delta.Content
		}
		if ended[c.Index] = c.FinishReason; c.FinishReason != nil {
			require.Empty(t, c.Text)
			require.Nil(t, c.Delta.Content)
		}
		if string(c.LogProbs) != "null" {
			var more map[string][]any
			require.NoError(t, json.Unmarshal(c.LogProbs, &more))
			if logs[c.Index] == nil {
				logs[c.Index] = map[string][]any{}
			}
			for name, list := range more {
				logs[c.Index][name] = append(logs[c.Index][name], list...)
			}
		}
	}
	if usage {
		require.NotNil(t, r.Usage)
	}
	r.Choices = decode[wholeResponse](t, map[string]any{"choices": make([]struct{}, n)}).Choices
	for i := range n {
		r.Choices[i].Text, r.Choices[i].FinishReason = texts[i], ended[i]
		require.NotNil(t, ended[i])
		r.Choices[i].LogProbs, err = json.Marshal(logs[i])
		require.NoError(t, err)
	}
	return r
}

// Choice i uses the seed + i, whatever else is generated.
func TestChoices(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 2, Queue: 100})
	const hot = `, "temperature": 4, "max_tokens": 10, "seed": %d, "n": %d`
	three := s.whole(t, Chat, question(fmt.Sprintf(hot, 5, 3)))
	for i, want := range three.texts() {
		one := s.whole(t, Chat, question(fmt.Sprintf(hot, 5+i, 1)))
		require.Equal(t, want, one.texts()[0])
	}
	require.Equal(t, 10, three.Usage.Prompt, "the prompt counts once")

	several := s.whole(t, Completion, `{"prompt": ["The capital of Germany is", "The capital of France is"],
		"n": 2, "temperature": 4, "max_tokens": 10, "seed": 5}`)
	require.Len(t, several.Choices, 4)
	for i, prompt := range []string{"The capital of Germany is", "The capital of France is"} {
		alone := s.whole(t, Completion, fmt.Sprintf(
			`{"prompt": %q, "n": 2, "temperature": 4, "max_tokens": 10, "seed": 5}`, prompt))
		require.Equal(t, alone.texts(), several.texts()[2*i:2*i+2])
	}
	ids := s.whole(t, Completion, `{"prompt": [[303, 288], [303]], "temperature": 0}`).texts()
	for _, prompt := range []string{`"The capital"`, `[303, 288]`, `["The capital"]`} {
		require.Equal(t, ids[:1], s.whole(t, Completion, `{"prompt": `+prompt+`, "temperature": 0}`).texts())
	}
}

// A response does not depend on the requests beside it.
func TestTogether(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 200})
	type asked struct {
		where Endpoint
		body  string
	}
	var all []asked
	for i := range 12 {
		seed := fmt.Sprintf(`, "temperature": 4, "max_tokens": %d, "seed": %d`, 1+3*i, i)
		all = append(all, asked{Chat, question(seed + `, "logprobs": true, "top_logprobs": 3`)},
			asked{Chat, question(seed + `, "n": 2, "stop": "a"`)},
			asked{Completion, continuation(seed + `, "logprobs": 1, "echo": true`)},
			asked{Completion, `{"prompt": [` + ids(130+i) + `, [5]]` + seed + `}`})
	}
	want := make([]string, len(all))
	for i, a := range all {
		want[i] = s.choices(t, a.where, a.body)
	}
	got := make([]string, len(all))
	var running sync.WaitGroup
	for i, a := range all {
		running.Go(func() { got[i] = s.choices(t, a.where, a.body) })
	}
	running.Wait()
	require.Equal(t, want, got)
}

// If the engine is busy, a request is refused before its first chunk. The later choices of one that
// runs wait.
func TestBusy(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 1})
	const many = `, "temperature": 4, "max_tokens": 5, "seed": 1, "n": 4`
	require.Len(t, s.whole(t, Chat, question(many)).Choices, 4)

	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for _, err := range s.Engine.Generate(ctx, engine.Request{IDs: []int32{5}, MaxNewTokens: 400}) {
			if err != nil {
				break
			}
			close(running)
			<-ctx.Done()
			break
		}
	})
	<-running
	a, err := s.Chat(ctx, []byte(question(``)))
	require.NoError(t, err)
	_, err = a.Whole(ctx)
	require.Equal(t, 429, AsError(err).Status)
	require.ErrorIs(t, err, engine.ErrBusy)
	for chunk, err := range a.Chunks(ctx) {
		require.Nil(t, chunk)
		require.Equal(t, 429, AsError(err).Status)
	}
	cancel()
	done.Wait()
}

// The choices of one request leave the queue to others.
func TestManyChoicesDoNotFillTheQueue(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 2, Queue: 3})
	body := continuation(`, "n": 20, "max_tokens": 40, "ignore_eos": true`)
	a, err := s.Completion(t.Context(), []byte(body))
	require.NoError(t, err)
	begun := map[int]bool{}
	for e := range a.events(t.Context()) {
		require.NoError(t, e.err)
		stats := s.Engine.Stats()
		require.LessOrEqual(t, stats.Running+stats.Waiting, 2+2, "2, and those that have just ended")
		if begun[e.choice.index] = true; e.first && len(begun) == 10 {
			require.Len(t, s.whole(t, Completion, continuation(``)).Choices, 1)
		}
	}
	require.Len(t, begun, 20)
}

// A caller that stops, or whose context is done, frees the engine.
func TestCancel(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 8})
	free := func() bool {
		stats := s.Engine.Stats()
		return stats.Running == 0 && stats.Waiting == 0
	}
	body := question(`, "stream": true, "n": 6, "ignore_eos": true, "temperature": 1`)
	a, err := s.Chat(t.Context(), []byte(body))
	require.NoError(t, err)
	for _, err := range a.Chunks(t.Context()) {
		require.NoError(t, err)
		break
	}
	require.Eventually(t, free, 2*time.Minute, time.Millisecond)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, err = s.Chat(ctx, []byte(body))
	require.NoError(t, err)
	chunks := 0
	var last error
	for _, err := range a.Chunks(ctx) {
		if chunks++; chunks == 5 {
			cancel()
		}
		last = err
	}
	require.Equal(t, StatusClosed, AsError(last).Status)
	require.True(t, errors.Is(last, context.Canceled))
	require.Less(t, a.Stats().Generated, 200)
	_, err = a.Whole(ctx)
	require.Equal(t, StatusClosed, AsError(err).Status)
	require.Eventually(t, free, 2*time.Minute, time.Millisecond)
}

// The stats count what the usage counts.
func TestStats(t *testing.T) {
	s := newService(t, engine.Options{Parallel: 4, Queue: 8})
	a, err := s.Chat(t.Context(), []byte(question(`, "n": 2, "max_tokens": 4, "temperature": 0`)))
	require.NoError(t, err)
	require.False(t, a.Stream())
	response, err := a.Whole(t.Context())
	require.NoError(t, err)
	u := decode[wholeResponse](t, response).Usage
	stats := a.Stats()
	require.Equal(t, 2, stats.Choices)
	require.Equal(t, 10, stats.Prompt)
	require.Equal(t, 8, stats.Generated)
	require.Equal(t, []int{u.Prompt, u.Completion, u.Total}, []int{10, 8, 18})
	require.Equal(t, u.Details.Cached, stats.Cached)
	require.Len(t, stats.Steps, 6)
	require.Positive(t, stats.First)
	require.Equal(t, []string{"length", "length"}, stats.Finish)

	long := `{"prompt": ` + ids(200) + `, "n": 2, "max_tokens": 1}`
	require.Equal(t, 0, s.whole(t, Completion, long).Usage.Details.Cached)
	require.Equal(t, 128, s.whole(t, Completion, long).Usage.Details.Cached, "a block of the prompt is known")
}
