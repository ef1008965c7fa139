// Package generate is the autoregressive loop: a prompt's ids go in, the model's next-token logits come out,
// a sampler picks an id, and the id goes back in, until something says stop.
//
// [Session] is one sequence and its KV cache; [Run] is the loop around it.
package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"phi3/internal/kvcache"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// Session is a sequence of tokens that a model is extending.
type Session struct {
	model   *model.Model
	cache   *kvcache.Cache
	noCache bool
	ids     []int32
	out     model.Output
	// onFeed, if set, is told after every step how many of the tokens that were not in the cache have been
	// fed, and of how many, if it is more than one.
	onFeed func(fed, of int)
	reused int                               // tokens that the last feed found in the cache
	lens   func(layer int, logits []float32) // for the last token of the sequence alone
}

// NewSession starts an empty sequence. With noCache, every call of Logits recomputes the whole sequence; the
// logits are the same, bit for bit.
func NewSession(m *model.Model, noCache bool) *Session {
	return &Session{model: m, cache: m.NewCache(), noCache: noCache}
}

// Append adds tokens to the end of the sequence. Nothing is computed yet.
func (s *Session) Append(ids ...int32) { s.ids = append(s.ids, ids...) }

// Len is the number of tokens in the sequence.
func (s *Session) Len() int { return len(s.ids) }

// IDs are the tokens of the sequence: read them, don't keep them.
func (s *Session) IDs() []int32 { return s.ids }

// Truncate forgets all tokens from length on; what the cache holds of the others stays in it.
func (s *Session) Truncate(length int) {
	s.ids = s.ids[:length]
	s.cache.Truncate(length)
}

// Close gives the cache's blocks back to the model.
func (s *Session) Close() { s.cache.Reset() }

// Logits returns the logits [vocab] of the token after the sequence, valid until the next call. Tokens that
// are not in the cache are fed first, in steps that the model has room for. The sequence must not be empty.
//
// An error leaves the sequence as it was: the call can be repeated.
func (s *Session) Logits(ctx context.Context) ([]float32, error) {
	s.out.AllHidden, s.out.Greedy = false, false
	if _, err := s.feed(ctx); err != nil {
		return nil, err
	}
	return s.out.Logits, s.checkLogits(ctx)
}

// Next returns the most probable token after the sequence, of equal ones the lowest id: the greedy choice
// from Logits, made on the device, which then sends four bytes and not the whole vocabulary's logits.
func (s *Session) Next(ctx context.Context) (int32, error) {
	s.out.AllHidden, s.out.Greedy = false, true
	if _, err := s.feed(ctx); err != nil {
		return 0, err
	}
	id := s.out.Next[0]
	if id < 0 {
		return 0, s.damaged(ctx, ^id)
	}
	return id, nil
}

// Look says what [Session.Inspect] shows besides the logits.
type Look struct {
	Hidden    bool  // the last hidden state of every token
	Attention []int // layers, from 1, whose attention to show
	// EachLens, if set, sees the logits [vocab] after the sequence as they would be if the model ended after
	// layer 0 (the embeddings), 1, 2, …; the last are the logits themselves.
	EachLens func(layer int, logits []float32)
}

// View is what [Session.Inspect] saw.
type View struct {
	Logits []float32 // [vocab] of the token after the sequence, valid until the next call
	Hidden []float32 // [tokens, hidden] after the final norm
	// of each layer in Look.Attention: [heads][tokens], what the last position looks at
	Attention [][][]float64
}

// Inspect shows more of the sequence than the logits. What concerns every token, it computes anew; EachLens
// needs the last one only.
func (s *Session) Inspect(ctx context.Context, look Look) (View, error) {
	if look.Hidden || len(look.Attention) > 0 {
		s.cache.Reset()
	}
	s.out.AllHidden, s.out.Greedy = look.Hidden, false
	s.lens = look.EachLens
	watch := newAttentionWatch(s.model, look.Attention)
	if len(look.Attention) > 0 {
		s.out.EachQKV = watch.see
	}
	hidden, err := s.feed(ctx)
	s.lens, s.out.EachLens, s.out.EachQKV = nil, nil, nil
	if err != nil {
		return View{}, err
	}
	return View{Logits: s.out.Logits, Hidden: hidden, Attention: watch.weights()}, s.checkLogits(ctx)
}

// checkLogits refuses logits that are no numbers.
func (s *Session) checkLogits(ctx context.Context) error {
	for id, l := range s.out.Logits {
		if notFinite(l) {
			return s.damaged(ctx, int32(id))
		}
	}
	return nil
}

// damaged says why a token's logit is no number.
func (s *Session) damaged(ctx context.Context, id int32) error {
	err := fmt.Errorf("the logit of token %d after %d tokens is NaN or infinite", id, len(s.ids))
	if found := s.model.FindNotFinite(ctx); found != nil {
		return fmt.Errorf("%w: the checkpoint is damaged: %w", err, found)
	}
	where, overflowErr := s.firstOverflow(ctx)
	if overflowErr != nil {
		return overflowErr
	}
	return fmt.Errorf("%w: no weight is, but the numbers overflow %s: the checkpoint is damaged, or made "+
		"for wider numbers", err, where)
}

// firstOverflow runs the sequence again and says where its residual stream ceases to be numbers.
func (s *Session) firstOverflow(ctx context.Context) (where string, err error) {
	where = "after the last layer"
	seen := false
	s.cache.Reset()
	s.out.EachLayer = func(layer int, x []float32) {
		if seen || !slices.ContainsFunc(x, notFinite) {
			return
		}
		seen = true
		if where = fmt.Sprintf("in layer %d", layer); layer == 0 {
			where = "in the embeddings"
		}
	}
	defer func() { s.out.EachLayer = nil }()
	_, err = s.feed(ctx)
	return where, err
}

func notFinite(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }

// feed runs the tokens that are not in the cache through the model; s.out receives what it asks for of the
// last. It returns the hidden states of all that it fed, if s.out wants them.
func (s *Session) feed(ctx context.Context) (hidden []float32, err error) {
	if len(s.ids) == 0 {
		return nil, errors.New("the sequence is empty; there is nothing to predict from")
	}
	if len(s.ids) > s.model.Context {
		return nil, &model.TooLongError{Text: "sequence", Tokens: len(s.ids), Context: s.model.Context}
	}
	if s.noCache {
		s.cache.Reset()
	}
	in := model.Input{IDs: s.ids, Cache: s.cache, Progress: s.progress}
	s.out.EachLens = s.lens
	s.reused, err = s.model.Feed(ctx, in, &s.out)
	return s.out.Hidden, err
}

// progress tells onFeed of the steps of a feed of more than one token.
func (s *Session) progress(fed, total int) {
	if s.onFeed != nil && total > 1 {
		s.onFeed(fed, total)
	}
}

// Sampler picks the token after ids from its logits [vocab], and changes neither.
type Sampler interface {
	Sample(logits []float32, ids []int32) (int32, error)
}

// Options steer [Run] and [Session.Generate].
type Options struct {
	MaxNewTokens int
	// recompute the whole sequence for every token; for Run, as a session has been told by NewSession
	NoCache bool
	Stop    []int32 // ids that end the text; they are part of the result
	Sampler Sampler // nil: greedy
	// OnLogits, if set, sees the logits [vocab] that every new token was chosen from. Without it and without
	// a sampler, logits never leave the device.
	OnLogits func(logits []float32) error
	// OnToken, if set, sees every new token as soon as it is chosen, and whether no other will follow. It may
	// return ErrStop.
	OnToken func(id int32, last bool) error
	// OnPrefill, if set, is told after every step how many tokens have been fed and of how many, wherever a
	// token's computation begins with more than one: the first token's with the prompt, and any other's where
	// the text grows beyond what the short RoPE factors serve and all of it is computed anew (or always,
	// without the cache).
	OnPrefill func(fed, of int)
}

// ErrStop is what OnToken returns to end the text with the token it was given, as a stop id would.
var ErrStop = errors.New("stop")

// Finish says why generation ended.
type Finish string

// The reasons to end.
const (
	FinishStop    Finish = "stop"    // a stop id was generated, or OnToken said so
	FinishLength  Finish = "length"  // MaxNewTokens were generated
	FinishContext Finish = "context" // the model's context is full
)

// Result is what was generated.
type Result struct {
	IDs    []int32 // new tokens, a stop id included
	Finish Finish
	// Cached tokens of the prompt were in the KV cache already; the first token's computation fed the others.
	Cached int
	// Prefill is the time to the first token's choice, Steps[i] the time from token i's choice to that of
	// token i+1.
	Prefill time.Duration
	Steps   []time.Duration
}

// Run extends prompt by up to MaxNewTokens tokens. On an error, a cancelled ctx among them, the result holds
// the tokens so far.
func Run(ctx context.Context, m *model.Model, prompt []int32, o Options) (Result, error) {
	if len(prompt) > m.Context {
		return Result{}, &model.TooLongError{Text: "prompt", Tokens: len(prompt), Context: m.Context}
	}
	s := NewSession(m, o.NoCache)
	defer s.Close()
	s.Append(prompt...)
	return s.Generate(ctx, o)
}

// Generate extends the sequence by up to MaxNewTokens tokens, which it appends. On an error, a cancelled ctx
// among them, the result holds the tokens so far, and the session can go on.
func (s *Session) Generate(ctx context.Context, o Options) (Result, error) {
	if s.Len() > s.model.Context {
		return Result{}, &model.TooLongError{Text: "prompt", Tokens: s.Len(), Context: s.model.Context}
	}
	r := Result{Finish: FinishLength}
	s.onFeed = o.OnPrefill
	defer func() { s.onFeed = nil }()
	for len(r.IDs) < o.MaxNewTokens {
		if s.Len() > s.model.Context {
			r.Finish = FinishContext
			break
		}
		start := time.Now()
		id, logits, err := s.choose(ctx, &o)
		if err != nil {
			return r, err
		}
		if elapsed := time.Since(start); len(r.IDs) == 0 {
			r.Prefill, r.Cached = elapsed, s.reused
		} else {
			r.Steps = append(r.Steps, elapsed)
		}
		if o.OnLogits != nil {
			if err := o.OnLogits(logits); err != nil {
				return r, err
			}
		}
		s.Append(id)
		r.IDs = append(r.IDs, id)
		stopped := slices.Contains(o.Stop, id)
		if o.OnToken != nil {
			err = o.OnToken(id, stopped || len(r.IDs) == o.MaxNewTokens || s.Len() > s.model.Context)
		}
		if errors.Is(err, ErrStop) || err == nil && stopped {
			r.Finish = FinishStop
			break
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// choose picks the token after the sequence. It returns the logits where they have left the device.
func (s *Session) choose(ctx context.Context, o *Options) (id int32, logits []float32, err error) {
	if o.Sampler == nil && o.OnLogits == nil {
		id, err = s.Next(ctx)
		return id, nil, err
	}
	if logits, err = s.Logits(ctx); err != nil {
		return 0, nil, err
	}
	if o.Sampler == nil {
		return sampling.Greedy(logits), logits, nil
	}
	id, err = o.Sampler.Sample(logits, s.ids)
	return id, logits, err
}
