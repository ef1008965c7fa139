package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"phi3/internal/engine"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// manner is how a consumer takes an answer.
type manner int

const (
	whole     manner = iota
	breaks           // leaves the loop after some tokens
	cancels          // cancels the context after some tokens, and goes on
	cancelled        // somebody cancels the context at some time
	pauses           // takes no token for a while
	manners
)

// take asks the engine a question and compares what it answers with the answer alone.
func take(e *engine.Engine, q *question, how manner, random *rand.Rand) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	after := 0
	if how != whole {
		after = random.IntN(q.MaxNewTokens + 1)
	}
	if how == cancelled {
		timer := time.AfterFunc(time.Duration(random.IntN(200))*time.Millisecond, cancel)
		defer timer.Stop()
	}
	n, text := 0, ""
	answer := q.codec.Answer(q.IDs, nil)
	var err error
	r := q.request()
	seen := watch(&r)
	for token, failed := range e.Generate(ctx, r) {
		if err != nil {
			return errors.New("the loop goes on after an error")
		}
		if err = failed; err != nil {
			continue
		}
		if n == len(q.want) {
			return fmt.Errorf("token %d follows the end", token.ID)
		}
		// Cached and Fed depend on the others; their sum does not.
		if sum := len(q.IDs) + n; token.Cached+token.Fed != sum && token.ID >= 0 {
			return fmt.Errorf("token %d after %d tokens: %d cached, %d fed", n, sum, token.Cached, token.Fed)
		}
		if err := seen.all(); err != nil {
			return err
		}
		if q.NoCache && token.Cached > 0 {
			return fmt.Errorf("token %d: %d cached", n, token.Cached)
		}
		if want := q.want[n]; !same(token, want) {
			return fmt.Errorf("token %d is\n%+v, not\n%+v", n, token, want)
		}
		if n++; q.MaxNewTokens > 0 {
			text += answer.Push(token.ID)
		}
		if n == after {
			switch how {
			case breaks:
				return nil
			case cancels:
				cancel()
			case pauses:
				time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
			}
		}
	}
	switch {
	case (how == cancels || how == cancelled) && errors.Is(err, context.Canceled):
		return nil
	case err != nil:
		return err
	case n < len(q.want):
		return fmt.Errorf("the loop ends after %d of %d tokens", n, len(q.want))
	}
	if text += answer.End(); text != q.text && q.MaxNewTokens > 0 {
		return fmt.Errorf("the text is %q, not %q", text, q.text)
	}
	return nil
}

// same reports whether two tokens are equal to the last bit, but for times and for what was cached.
func same(a, b engine.Token) bool {
	return slices.Equal(a.Top, b.Top) && slices.EqualFunc(a.Prompt, b.Prompt, slices.Equal) &&
		a.ID == b.ID && a.LogProb == b.LogProb && a.Finish == b.Finish
}

// storm asks n questions at once, and waits until the engine is idle. The engine computes another question
// until all n have come, so it never has few of them because they come slowly.
func storm(t *testing.T, e *engine.Engine, d *device, all []*question, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(21, 22))
	var wait sync.WaitGroup
	busy, gate := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(busy) })
	d.begin = func(*model.Step) {
		begin()
		<-gate
	}
	wait.Go(func() {
		if err := take(e, all[0], whole, nil); err != nil {
			t.Errorf("before the others: %v", err)
		}
	})
	<-busy
	for i := range n {
		q, how := all[i%len(all)], whole
		if random.IntN(3) == 0 {
			how = manner(random.IntN(int(manners)))
		}
		own := rand.New(rand.NewPCG(uint64(i), 23))
		wait.Go(func() {
			if err := take(e, q, how, own); err != nil {
				t.Errorf("question %d, %d tokens, %+v, in manner %d: %v", i, len(q.IDs), q.config, how, err)
			}
		})
	}
	arrive(e, n+1)
	close(gate)
	wait.Wait()
	idle(t, e)
}

// idle waits until no sequence runs or waits. Then no sequence has a block.
func idle(t *testing.T, e *engine.Engine) {
	t.Helper()
	for s := e.Stats(); s.Running+s.Waiting > 0; s = e.Stats() {
		time.Sleep(time.Millisecond)
	}
	s := e.Stats()
	require.Zero(t, s.BlocksUsed)
	require.Zero(t, s.Paused)
	require.LessOrEqual(t, s.BlocksKnown, s.Blocks)
	require.LessOrEqual(t, s.PrefixHits, s.PrefixQueries)
}

// Whatever else the engine computes, an answer has the ids, the log probabilities, the text and the end of
// the answer alone, to the last bit.
func TestAnswersUnderLoad(t *testing.T) {
	for _, test := range []struct {
		checkpoint          string
		questions, requests int
	}{{"mini", 60, 200}, {"longrope", 40, 80}, {"window", 30, 60}} {
		if slow {
			test.questions, test.requests = test.questions/4, test.requests/5
		}
		a := newAnswers(t, test.checkpoint)
		all := a.ask(t, test.questions)
		for _, c := range []struct {
			name            string
			o               engine.Options
			blocks, maxStep int // of the model
			ahead           bool
		}{
			{"one at a time", engine.Options{Parallel: 1}, 0, 0, false},
			{"three, short steps", engine.Options{Parallel: 3, MaxStep: 3}, 0, 0, false},
			{"few blocks", engine.Options{Parallel: 16, MaxStep: 17}, few, 0, false},
			{"nothing shared", engine.Options{Parallel: 16, NoPrefixCache: true}, few, 512, false},
			{"steps ahead", engine.Options{Parallel: 16, MaxStep: 100}, 9, 512, true},
		} {
			t.Run(test.checkpoint+", "+c.name, func(t *testing.T) {
				d := newDevice(t)
				d.blocks = c.blocks
				var b model.Backend = d
				if c.ahead {
					b = &aheadDevice{device: d}
				}
				m := load(t, test.checkpoint, b, model.Options{Sequences: c.o.Parallel, MaxTokens: c.maxStep})
				require.Equal(t, a.model.Context, m.Context)
				c.o.Queue = 1000
				e := start(t, m, c.o)
				storm(t, e, d, all, test.requests)
				s := e.Stats()
				t.Logf("%+v", s)
				if c.o.NoPrefixCache {
					require.Zero(t, s.PrefixHits)
				}
				if c.blocks == few && test.requests == 200 { // fewer may find room; see TestPreemption
					require.Positive(t, s.Preemptions)
				}
				if c.o.MaxStep > 0 {
					require.LessOrEqual(t, d.most, c.o.MaxStep)
				}
				// Whether the storm finds a prefix depends on the order of its questions; this one is
				// found the second time.
				_, _ = cached(t, e, engine.Request{IDs: ids(31, 130)})
				_, n := cached(t, e, engine.Request{IDs: ids(31, 130)})
				require.Equal(t, !c.o.NoPrefixCache, n > 0)
			})
		}
	}
}

// few blocks hold a context, and not many sequences.
const few = 6

// Six sequences that have all blocks need more. Some are computed again, and nobody sees it, not their
// samplers either.
func TestPreemption(t *testing.T) {
	config := sampling.Defaults()
	config.DoSample, config.FrequencyPenalty = true, 1
	for _, checkpoint := range []string{"mini", "longrope"} {
		a := newAnswers(t, checkpoint)
		var all []*question
		for i := range 6 {
			q := &question{codec: a.codec, config: &config, seed: uint64(i)}
			q.Request = engine.Request{IDs: ids(11*i, 126-i%3), MaxNewTokens: 9}
			if i < 2 {
				q.config, q.LogProbs = nil, i == 0
			}
			a.answer(t, q)
			all = append(all, q)
		}
		for _, o := range []engine.Options{
			{Parallel: 6}, {Parallel: 6, MaxStep: 17}, {Parallel: 6, NoPrefixCache: true},
		} {
			d := newDevice(t)
			d.blocks = 6
			e := start(t, load(t, checkpoint, d, model.Options{Sequences: 6, MaxTokens: 512}), o)
			var once sync.Once
			d.begin = func(*model.Step) { once.Do(func() { arrive(e, 6) }) }
			var wait sync.WaitGroup
			for i, q := range all {
				wait.Go(func() {
					if err := take(e, q, whole, nil); err != nil {
						t.Errorf("question %d, %+v: %v", i, o, err)
					}
				})
			}
			wait.Wait()
			idle(t, e)
			require.Positive(t, e.Stats().Preemptions, "%+v", o)
		}
	}
}

// Log probabilities of a prompt alone: whatever its length, no token follows.
func TestPromptLogProbsAlone(t *testing.T) {
	a := newAnswers(t, "mini")
	for _, o := range []engine.Options{{MaxStep: 3}, {MaxStep: 64}, {}} {
		e := start(t, load(t, "mini", newDevice(t), model.Options{MaxTokens: 512}), o)
		for _, n := range []int{1, 2, 3, 4, 64, 65, 128, 129, 130} {
			for _, most := range []int{0, 1, 2} {
				q := a.alone(t, engine.Request{
					IDs: ids(n, n), MaxNewTokens: most, PromptLogProbs: true, Top: 2,
				})
				require.NoError(t, take(e, q, whole, nil), "%d ids, %d tokens, %+v", n, most, o)
			}
		}
	}
}
