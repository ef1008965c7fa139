package openai

import (
	"context"
	"iter"
	"strings"
	"sync"
	"time"
)

// Answer is a request that was understood. Chunks or Whole generates the response, once.
type Answer struct {
	service *Service
	request *request
	prompts []prompt
	shape   shape
	id      string
	created int64
	stats   Stats
}

// Stats is what an answer took. After an error, or a break in the caller's loop, it has what was generated
// until then.
type Stats struct {
	Choices   int
	Prompt    int             // tokens of the prompts
	Cached    int             // those of them that were in the KV cache
	Generated int             // tokens of all choices, with those that ended them
	Queued    time.Duration   // the longest wait of a choice for its first step
	First     time.Duration   // to the first token
	Steps     []time.Duration // for each later token of every choice: the time to compute it
	Finish    []string        // of each choice: stop or length; "" if it did not end
}

// Chat reads the body of POST /v1/chat/completions. The error is an [*Error].
func (s *Service) Chat(ctx context.Context, body []byte) (*Answer, error) {
	return s.answer(ctx, Chat, body)
}

// Completion reads the body of POST /v1/completions. The error is an [*Error].
func (s *Service) Completion(ctx context.Context, body []byte) (*Answer, error) {
	return s.answer(ctx, Completion, body)
}

func (s *Service) answer(ctx context.Context, where Endpoint, body []byte) (*Answer, error) {
	r, err := parse(where, body, s.Defaults)
	if err != nil {
		return nil, err
	}
	if r.model == "" {
		r.model = s.Name
	}
	if err := s.checkModel(r.model); err != nil {
		return nil, err
	}
	for id := range r.config.LogitBias {
		if int(id) >= s.Config.VocabSize {
			return nil, invalid("logit_bias", "invalid_value", "logit_bias has the token id %d; the model's "+
				"ids are 0 … %d.", id, s.Config.VocabSize-1)
		}
	}
	a := &Answer{service: s, request: r, created: time.Now().Unix()}
	if a.prompts, err = s.prompts(ctx, r); err != nil {
		return nil, err
	}
	for i := range a.prompts {
		if err := s.limit(r, &a.prompts[i]); err != nil {
			return nil, err
		}
		a.stats.Prompt += len(a.prompts[i].ids)
	}
	a.stats.Choices = len(a.prompts) * r.n
	a.stats.Finish = make([]string, a.stats.Choices)
	if where == Chat {
		a.shape, a.id = chatShape{r.logProbs}, newID("chatcmpl-")
	} else {
		a.shape, a.id = completionShape{r.logProbs}, newID("cmpl-")
	}
	return a, nil
}

// Stream reports whether the request asks for Chunks; otherwise it asks for Whole.
func (a *Answer) Stream() bool { return a.request.stream }

// Name puts a text in place of the random part of the response's id. Call it before Chunks and Whole.
func (a *Answer) Name(name string) {
	prefix, _, _ := strings.Cut(a.id, "-")
	a.id = prefix + "-" + name
}

// Stats returns what the answer took, after Chunks or Whole.
func (a *Answer) Stats() Stats { return a.stats }

// Chunks generates the response in pieces: the JSON objects of the events, without the last "[DONE]". The
// first one comes with the first token, so that an error before it can still have a status. An error is an
// [*Error] and ends the loop.
func (a *Answer) Chunks(ctx context.Context) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		begun := make([]bool, a.stats.Choices)
		for e := range a.events(ctx) {
			if e.err != nil {
				yield(nil, AsError(e.err))
				return
			}
			at := e.choice.index
			for _, c := range a.shape.chunks(&e, !begun[at]) {
				begun[at] = true
				if !yield(a.response(true, []any{c}, nil), nil) {
					return
				}
			}
		}
		if ctx.Err() != nil {
			yield(nil, AsError(ctx.Err()))
		} else if a.request.usage {
			yield(a.response(true, []any{}, a.usage()), nil)
		}
	}
}

// Whole generates the whole response. The error is an [*Error].
func (a *Answer) Whole(ctx context.Context) (any, error) {
	type collected struct {
		text   strings.Builder
		tokens []tokenLogProb
	}
	all := make([]collected, a.stats.Choices)
	for e := range a.events(ctx) {
		if e.err != nil {
			return nil, AsError(e.err)
		}
		c := &all[e.choice.index]
		c.text.WriteString(e.text)
		c.tokens = append(c.tokens, e.tokens...)
	}
	if ctx.Err() != nil {
		return nil, AsError(ctx.Err())
	}
	choices := make([]any, len(all))
	for i := range all {
		choices[i] = a.shape.whole(i, all[i].text.String(), all[i].tokens, a.stats.Finish[i])
	}
	return a.response(false, choices, a.usage()), nil
}

// events generates all choices at once. It ends after the last event of each, after an error, or when ctx is
// done.
func (a *Answer) events(ctx context.Context) iter.Seq[event] {
	return func(yield func(event) bool) {
		ctx, cancel := context.WithCancel(ctx)
		events := make(chan event)
		send := func(e event) bool {
			select {
			case events <- e:
				return true
			case <-ctx.Done():
				return false
			}
		}
		var running sync.WaitGroup
		for _, c := range a.choices() {
			running.Go(func() { c.run(ctx, send) })
		}
		go func() {
			running.Wait()
			close(events)
		}()
		defer running.Wait()
		defer cancel()
		start := time.Now()
		for e := range events {
			a.count(&e, time.Since(start))
			if !yield(e) || e.err != nil {
				return
			}
		}
	}
}

// count adds an event to the stats.
func (a *Answer) count(e *event, since time.Duration) {
	s := &a.stats
	if s.Finish[e.choice.index] = e.finish; e.token == nil {
		return
	}
	if e.token.ID >= 0 {
		s.Generated++
	}
	switch {
	case !e.first:
		s.Steps = append(s.Steps, e.token.Time)
		return
	case s.First == 0:
		s.First = since
	}
	s.Queued = max(s.Queued, e.token.Queued)
	if e.choice.number == 0 {
		s.Cached += min(e.token.Cached, len(e.choice.prompt.ids))
	}
}

// shape makes the choices of the responses of an endpoint.
type shape interface {
	object(chunk bool) string // of the response
	// chunks are the choices of the chunks for an event, of which there may be none.
	chunks(e *event, first bool) []any
	whole(index int, text string, tokens []tokenLogProb, finish string) any
}

// response is a response of both endpoints, and a chunk of one.
type response struct {
	ID                string  `json:"id"`
	Object            string  `json:"object"`
	Created           int64   `json:"created"`
	Model             string  `json:"model"`
	Choices           []any   `json:"choices"`
	Usage             any     `json:"usage,omitempty"` // a *usage; a chunk that is not the last may have null
	SystemFingerprint *string `json:"system_fingerprint"`
	ServiceTier       string  `json:"service_tier,omitempty"`
}

func (a *Answer) response(chunk bool, choices []any, u *usage) response {
	r := response{
		ID: a.id, Object: a.shape.object(chunk), Created: a.created, Model: a.service.Name, Choices: choices,
		ServiceTier: a.request.serviceTier,
	}
	if a.service.Fingerprint != "" {
		r.SystemFingerprint = &a.service.Fingerprint
	}
	if u != nil || a.request.usage && chunk {
		r.Usage = u
	}
	return r
}

// usage counts tokens. A prompt counts once, however many choices continue it.
type usage struct {
	Prompt     int           `json:"prompt_tokens"`
	Completion int           `json:"completion_tokens"`
	Total      int           `json:"total_tokens"`
	Details    promptDetails `json:"prompt_tokens_details"`
}

type promptDetails struct {
	Cached int `json:"cached_tokens"`
}

func (a *Answer) usage() *usage {
	s := &a.stats
	return &usage{s.Prompt, s.Generated, s.Prompt + s.Generated, promptDetails{s.Cached}}
}
