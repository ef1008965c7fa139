// Package generate is the autoregressive loop: the ids of a prompt go in, the model computes the logits of
// the next token, a sampler chooses an id, and that id goes back in, until the text ends.
//
// [Session] is one sequence of tokens and its KV cache. [Session.Tokens] is the loop.
package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Session is a sequence of tokens that a model is extending.
type Session struct {
	model   *model.Model
	cache   *kvcache.Cache
	noCache bool
	ids     []int32
	out     model.Output
	// Progress, if set, is called after every step of a computation that takes more than one token, with the
	// number of tokens computed so far and the number to compute. That is the prompt; later tokens take one
	// each, unless the sequence grows beyond the short RoPE factors and is computed again.
	Progress func(fed, of int)
	reused   int                               // tokens that the last feed found in the cache
	lens     func(layer int, logits []float32) // for the last token of the sequence alone
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

// progress calls s.Progress for the steps of a computation of more than one token.
func (s *Session) progress(fed, of int) {
	if s.Progress != nil && of > 1 {
		s.Progress(fed, of)
	}
}
