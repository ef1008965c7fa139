package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Request is a prompt, and how to continue it.
type Request struct {
	IDs          []int32 // the prompt: at least one id
	MaxNewTokens int     // 0: none
	Stop         []int32 // ids that end the text; such an id is the last token
	Sampler      Sampler // nil: the most probable token, which the device chooses
	LogProbs     bool    // Token.LogProb
	Top          int     // with LogProbs: the number of entries of Token.Top
	// PromptLogProbs asks for Token.Prompt of the first token. The prompt is then computed without the prefix
	// cache. If MaxNewTokens is 0, the only token has the ID -1.
	PromptLogProbs bool
	NoCache        bool // compute the whole sequence again for every token; the bits are the same
	// Alone asks for steps that compute nothing else. Token.Time is then the time of these steps. They take
	// turns with the steps of the other requests.
	Alone bool
	// Watch, if set, looks inside the computation of the prompt; Alone is then implied. Without a token, and
	// without PromptLogProbs, nothing is computed.
	Watch *Watch
	// Progress, if set, is called after every step of a computation of more than one token, with the number
	// of tokens computed so far and the number to compute. The prompt is such a computation. Each later token
	// needs only itself, unless the sequence grows beyond the short RoPE factors and is computed again.
	// Progress runs on the engine's goroutine, before the token that the computation is for.
	Progress func(fed, of int)
}

// Watch looks inside the computation of a prompt.
type Watch struct {
	// the first position that is watched, one of the prompt; the steps before it are not watched, and neither
	// are those after the first token
	From   int
	Tokens int // the most new tokens of a watched step; 0: as for other prompts
	// Begin is called on the engine's goroutine before each watched step, whose new tokens begin at the
	// position first. It may wrap the model's backend ([model.Model.Watch]); stop is called after the step,
	// also after one that has failed. If the sequence gives its blocks back before its first token, the same
	// positions are watched again later.
	Begin func(m *model.Model, first int) (stop func())
}

// check returns what is wrong with a watch of a prompt.
func (w *Watch) check(prompt []int32) error {
	switch {
	case w == nil:
		return nil
	case w.From < 0 || w.From >= len(prompt):
		return fmt.Errorf("position %d cannot be watched: the prompt has %d tokens", w.From, len(prompt))
	case w.Tokens < 0 || w.Begin == nil:
		return errors.New("a watch needs a function, and steps of 0 tokens or more")
	}
	return nil
}

// Sampler chooses the token after ids from its logits [vocab]. It changes neither.
type Sampler interface {
	Sample(logits []float32, ids []int32) (int32, error)
}

// Token is one token that continues a prompt.
type Token struct {
	ID int32
	// natural logarithm of its probability in the model's own distribution, before any step of sampling
	LogProb float64
	Top     []LogProb     // the most probable tokens at its place
	Prompt  [][]LogProb   // [ids of the prompt but the first]: that id, and then the Top most probable ones
	Cached  int           // tokens before it whose keys and values were in the KV cache
	Fed     int           // tokens before it that were computed for it
	Queued  time.Duration // of the first token: how long the request waited for its first step
	Time    time.Duration // to compute and to choose it; with Alone: in the request's own steps
	Finish  Finish        // why no token follows; "" if one does
}

// LogProb is a token and the natural logarithm of its probability.
type LogProb struct {
	ID      int32
	LogProb float64
}

// Finish says why a text ended.
type Finish string

// The reasons to end.
const (
	FinishStop    Finish = "stop"    // the token is one of Request.Stop, or the caller wanted no more
	FinishLength  Finish = "length"  // Request.MaxNewTokens were generated
	FinishContext Finish = "context" // the model's context is full
)

// tokenBuffer is how many tokens a sequence may have that its consumer has not taken. A step can make one
// token, and a consumer is seldom behind.
const tokenBuffer = 32

// sequence is a request in the engine. The engine's goroutine owns it, except where a comment says more.
type sequence struct {
	Request
	number uint64 // in the order of arrival
	ctx    context.Context
	cancel context.CancelCauseFunc // any goroutine
	forget func() bool             // stops the notice that ctx is done
	tokens chan Token              // closed at the end
	paused atomic.Bool             // the consumer has not taken a buffer of tokens; any goroutine may read it
	err    error                   // valid after tokens is closed

	ids    []int32 // the prompt's, and those of the tokens so far
	cache  *kvcache.Cache
	cached int         // positions in the cache when the computation of the next token began
	fed    bool        // a step has computed a part of it
	scores [][]LogProb // see Token.Prompt; complete or not

	finished bool // has its last token, see sweep

	arrived time.Time
	queued  time.Duration // before the first step
	begun   time.Time     // of the computation of the next token; zero: the sequence never ran

	// Of a sequence that is computed alone:
	turn  uint64        // when it had its last step, see Engine.nextAlone
	spent time.Duration // in the steps for the next token so far
}

func newSequence(ctx context.Context, r Request, cache *kvcache.Cache) *sequence {
	s := &sequence{
		Request: r, tokens: make(chan Token, tokenBuffer), cache: cache, arrived: now(),
		ids: append(make([]int32, 0, len(r.IDs)+min(r.MaxNewTokens, 1024)), r.IDs...),
	}
	s.Alone = s.Alone || s.Watch != nil
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// greedy reports whether the device chooses the token. For a sequence that is computed alone, the host does:
// Engine.decode, which begins steps ahead, would be the wrong path for it.
func (s *sequence) greedy() bool {
	return s.Sampler == nil && !s.LogProbs && !s.Alone && s.MaxNewTokens > 0
}

// watched reports whether positions are watched from Watch.From on. That ends with the first token.
func (s *sequence) watched() bool { return s.Watch != nil && s.generated() == 0 }

// generated is the number of tokens so far.
func (s *sequence) generated() int { return len(s.ids) - len(s.IDs) }

// pending is the number of ids that are not in the cache.
func (s *sequence) pending() int { return len(s.ids) - s.cache.Len() }

// scoring reports whether log probabilities of the prompt are missing.
func (s *sequence) scoring() bool { return s.PromptLogProbs && len(s.scores) < len(s.IDs)-1 }

// full reports whether there is no room for a token.
func (s *sequence) full() bool { return len(s.tokens) == cap(s.tokens) }

// ready reports whether a waiting sequence can run. One that was paused waits until there is room for several
// tokens, because it may have to be computed again.
func (s *sequence) ready() bool { return !s.paused.Load() || len(s.tokens) <= cap(s.tokens)/2 }

// done returns why the sequence must end early, or nil.
func (s *sequence) done() error {
	err := s.ctx.Err()
	if err == nil {
		return nil
	}
	if cause := context.Cause(s.ctx); errors.Is(cause, ErrClosed) {
		return ErrClosed
	}
	return err
}
