//go:build cuda && linux && cgo

package cuda

import (
	"context"
	"iter"
	"slices"

	"phi3/internal/engine"
	"phi3/internal/inspect"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// sequence is a sequence of ids that its model continues with the most probable ones, as [engine.Engine] does
// for a single request. The engine owns its model. Here a test may use the model, and change the ids, between
// two tokens.
type sequence struct {
	m       *model.Model
	cache   *kvcache.Cache
	ids     []int32
	out     model.Output
	cached  int // tokens that the last next found in the cache
	changes int // calls of add and cut
}

func newSequence(m *model.Model, ids ...int32) *sequence {
	return &sequence{m: m, cache: m.NewCache(), ids: slices.Clone(ids), out: model.Output{Greedy: true}}
}

// add appends ids. Nothing is computed yet.
func (s *sequence) add(ids ...int32) {
	s.ids = append(s.ids, ids...)
	s.changes++
}

// cut drops all ids from length on.
func (s *sequence) cut(length int) {
	s.ids = s.ids[:length]
	s.changes++
	s.cache.Truncate(length)
}

// close gives the cache's blocks back.
func (s *sequence) close() { s.cache.Reset() }

func (s *sequence) input() model.Input { return model.Input{IDs: s.ids, Cache: s.cache} }

// next computes the ids that are not in the cache, and returns the most probable id after them.
func (s *sequence) next(ctx context.Context) (id int32, err error) {
	if s.cached, err = s.m.Feed(ctx, s.input(), &s.out); err != nil {
		return 0, err
	}
	return s.finite(ctx, s.out.Next[0])
}

// finite returns the error that a negative id means.
func (s *sequence) finite(ctx context.Context, id int32) (int32, error) {
	if id < 0 {
		return 0, inspect.TokenNotFinite(ctx, s.m, s.input(), ^id)
	}
	return id, nil
}

// token is an id that continues a text.
type token struct {
	id          int32
	cached, fed int           // ids before it that were in the cache, and that were computed for it
	finish      engine.Finish // why no token follows
}

// write continues the text with up to most tokens, the first of which [model.Model.Feed] computes, and the
// others [model.Model.Decode]. It adds each before it yields it.
func (s *sequence) write(ctx context.Context, most int) iter.Seq2[token, error] {
	return func(yield func(token, error) bool) {
		// put adds a token and yields it. It returns false if no token follows.
		put := func(id int32, cached int, err error) bool {
			if err != nil {
				yield(token{}, err)
				return false
			}
			t := token{id: id, cached: cached, fed: len(s.ids) - cached}
			s.add(id)
			switch most--; {
			case most == 0:
				t.finish = engine.FinishLength
			case len(s.ids) > s.m.Context:
				t.finish = engine.FinishContext
			}
			return yield(t, nil) && t.finish == ""
		}
		for more := most > 0; more; {
			id, err := s.next(ctx)
			more = put(id, s.cached, err)
			if more && s.cache.Len() == len(s.ids)-1 {
				more = s.decode(ctx, most, put)
			}
		}
	}
}

// decode continues the text, whose ids but the last are in the cache, with [model.Model.Decode]. It returns
// what the last put returned, or true if the next token needs [model.Model.Feed].
func (s *sequence) decode(ctx context.Context, most int, put func(int32, int, error) bool) (more bool) {
	last := []model.Sequence{{IDs: s.ids[len(s.ids)-1:], Cache: s.cache}}
	notFinite := int32(0)
	for next, err := range s.m.Decode(ctx, last, most) {
		if err != nil {
			return put(0, 0, err)
		}
		if notFinite = next[0]; notFinite < 0 {
			break
		}
		changes := s.changes
		if !put(next[0], len(s.ids)-1, nil) {
			return false
		}
		if s.changes != changes+1 {
			return true // the test has changed the text
		}
	}
	if notFinite < 0 { // only after Decode: it has dropped the step that it had begun
		_, err := s.finite(ctx, notFinite)
		return put(0, 0, err)
	}
	return true
}
