package generate

import (
	"context"
	"iter"
	"slices"
	"time"

	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// Sampler chooses the token after ids from its logits [vocab]. It changes neither.
type Sampler interface {
	Sample(logits []float32, ids []int32) (int32, error)
}

// Options say how [Session.Tokens] continues a sequence.
type Options struct {
	MaxNewTokens int
	Stop         []int32 // ids that end the text; such an id is the last token
	Sampler      Sampler // nil: the most probable token
	// Logits asks for Token.Logits. Without it and without a Sampler, the device chooses the token, and the
	// logits are not copied from the device.
	Logits bool
}

// Token is one token that continues a sequence.
type Token struct {
	ID     int32
	Logits []float32     // [vocab] that ID was chosen from, if Options.Logits; valid until the next token
	Cached int           // tokens before it whose keys and values were in the KV cache
	Fed    int           // tokens before it that were computed for it
	Time   time.Duration // to compute and to choose it
	Finish Finish        // why no token follows; "" if one does
}

// Finish says why a text ended.
type Finish string

// The reasons to end.
const (
	FinishStop    Finish = "stop"    // the token is one of Options.Stop, or the caller wanted no more
	FinishLength  Finish = "length"  // Options.MaxNewTokens were generated
	FinishContext Finish = "context" // the model's context is full
)

// Tokens continues the sequence token by token. It appends each token before it yields it. Finish of the last
// one says why the text ended; if MaxNewTokens is 0, there is none.
//
// An error ends the loop. After an error, or after a break in the caller's loop, the session can continue
// from the tokens that it has.
func (s *Session) Tokens(ctx context.Context, o Options) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		if s.Len() > s.model.Context {
			yield(Token{}, &model.TooLongError{Text: "prompt", Tokens: s.Len(), Context: s.model.Context})
			return
		}
		left := o.MaxNewTokens
		// add appends a token and yields it. It returns false if no token follows.
		add := func(token Token, err error) bool {
			if err != nil {
				yield(Token{}, err)
				return false
			}
			s.Append(token.ID)
			left--
			switch {
			case slices.Contains(o.Stop, token.ID):
				token.Finish = FinishStop
			case left == 0:
				token.Finish = FinishLength
			case s.Len() > s.model.Context:
				token.Finish = FinishContext
			}
			return yield(token, nil) && token.Finish == ""
		}
		for more := left > 0; more; {
			more = add(s.choose(ctx, &o))
			if more && o.greedy() && !s.noCache && s.cache.Len() == s.Len()-1 {
				more = s.decode(ctx, left, add)
			}
		}
	}
}

// greedy reports whether the device can choose the tokens.
func (o *Options) greedy() bool { return o.Sampler == nil && !o.Logits }

// decode continues the sequence, whose tokens but the last are in the cache, with up to most tokens that the
// device chooses. It calls add for each, and returns what the last call returned. It returns true early where
// the next token needs more than one step, or the caller of Tokens has changed the sequence.
func (s *Session) decode(ctx context.Context, most int, add func(Token, error) bool) (more bool) {
	last := []model.Sequence{{IDs: s.ids[s.Len()-1:], Cache: s.cache}}
	notFinite := int32(0)
	start := time.Now()
	for next, err := range s.model.Decode(ctx, last, most) {
		if err != nil {
			return add(Token{}, err)
		}
		if notFinite = next[0]; notFinite < 0 {
			break
		}
		token := Token{ID: next[0], Cached: s.Len() - 1, Fed: 1, Time: time.Since(start)}
		changes := s.changes
		if !add(token, nil) {
			return false
		}
		if s.changes != changes+1 {
			return true
		}
		start = time.Now()
	}
	if notFinite < 0 {
		return add(Token{}, inspect.TokenNotFinite(ctx, s.model, s.input(), ^notFinite))
	}
	return true
}

// choose computes the logits after the sequence and chooses a token.
func (s *Session) choose(ctx context.Context, o *Options) (t Token, err error) {
	start := time.Now()
	if o.greedy() {
		t.ID, err = s.Next(ctx)
	} else if t.Logits, err = s.Logits(ctx); err == nil {
		if o.Sampler == nil {
			t.ID = sampling.Greedy(t.Logits)
		} else {
			t.ID, err = o.Sampler.Sample(t.Logits, s.ids)
		}
	}
	t.Time = time.Since(start)
	t.Cached, t.Fed = s.reused, s.Len()-s.reused
	if !o.Logits {
		t.Logits = nil
	}
	return t, err
}

// Run continues a prompt in a new session. After an error, the result has the tokens before it.
func Run(ctx context.Context, m *model.Model, prompt []int32, o Options) (r Result, err error) {
	s := NewSession(m, false)
	defer s.Close()
	s.Append(prompt...)
	r.Finish = FinishLength // also of no tokens
	for token, err := range s.Tokens(ctx, o) {
		if err != nil {
			return r, err
		}
		r.Add(token)
	}
	return r, nil
}
