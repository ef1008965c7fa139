// Package generate reads the settings of a checkpoint for generating text ([ReadDefaults]). Its [Session] is
// a sequence that a caller continues token by token, to check a model. Package engine generates texts.
package generate

import (
	"context"
	"errors"

	"phi3/internal/inspect"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Session is a sequence of tokens that a model continues. Only one goroutine may use it.
type Session struct {
	model   *model.Model
	cache   *kvcache.Cache
	noCache bool
	ids     []int32
	out     model.Output
}

// NewSession starts an empty sequence. With noCache, the whole sequence is computed again for every token.
// The logits are the same, bit for bit.
func NewSession(m *model.Model, noCache bool) *Session {
	return &Session{model: m, cache: m.NewCache(), noCache: noCache}
}

// Append adds tokens to the end of the sequence. Nothing is computed yet.
func (s *Session) Append(ids ...int32) { s.ids = append(s.ids, ids...) }

// Len is the number of tokens in the sequence.
func (s *Session) Len() int { return len(s.ids) }

// IDs are the tokens of the sequence. The caller must not change them, and they are valid until the next
// change of the sequence.
func (s *Session) IDs() []int32 { return s.ids }

// Truncate drops all tokens from length on. The others stay in the cache.
func (s *Session) Truncate(length int) {
	s.ids = s.ids[:length]
	s.cache.Truncate(length)
}

// Close gives the cache's blocks back to the model.
func (s *Session) Close() { s.cache.Reset() }

// Logits returns the logits [vocab] of the token after the sequence, which must not be empty. They are valid
// until the next call. Logits first computes the tokens that are not in the cache.
//
// After an error the sequence is as it was, and the call can be repeated.
func (s *Session) Logits(ctx context.Context) ([]float32, error) {
	s.out.Greedy = false
	if err := s.feed(ctx); err != nil {
		return nil, err
	}
	return s.out.Logits, inspect.CheckLogits(ctx, s.model, s.input(), s.out.Logits)
}

// Next returns the most probable token after the sequence, and the lowest id of equally probable ones. It is
// the token that sampling.Greedy chooses from Logits. The device makes the choice, so it sends four bytes to
// the host and not the logits of the whole vocabulary.
func (s *Session) Next(ctx context.Context) (int32, error) {
	s.out.Greedy = true
	if err := s.feed(ctx); err != nil {
		return 0, err
	}
	id := s.out.Next[0]
	if id < 0 {
		return 0, inspect.TokenNotFinite(ctx, s.model, s.input(), ^id)
	}
	return id, nil
}

// feed computes the tokens that are not in the cache. s.out receives the result of the last one.
func (s *Session) feed(ctx context.Context) error {
	if len(s.ids) == 0 {
		return errors.New("the sequence is empty; there is nothing to predict from")
	}
	if s.noCache {
		s.cache.Reset()
	}
	_, err := s.model.Feed(ctx, s.input(), &s.out)
	return err
}

func (s *Session) input() model.Input { return model.Input{IDs: s.ids, Cache: s.cache} }
