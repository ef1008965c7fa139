package engine

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"

	"phi3/internal/inspect"
	"phi3/internal/model"
	"phi3/internal/sampling"
)

// stepContext is done when nobody wants the results of the step any more. With several sequences that is when
// the engine is closed, because one that is gone must not stop the others.
func (e *Engine) stepContext() context.Context {
	if len(e.step.parts) == 1 {
		return e.step.parts[0].ctx
	}
	return e.ctx
}

// forward computes the step, and hands out the tokens that follow from it.
func (e *Engine) forward() {
	before := e.failed
	e.failed = nil
	p := &e.step
	ctx := e.stepContext()
	p.begun = now()
	stop, watched := e.watch()
	err := e.model.Forward(ctx, p.batch, &p.out)
	stop()
	if err != nil {
		if before != nil { // the same fault, seen first where it happened
			err = before
		}
		if !watched {
			e.counts.Failing = ctx.Err() == nil
		}
		for _, part := range p.parts {
			e.fail(part.sequence, err)
		}
		return
	}
	e.counts.Failing = false
	e.counts.Steps++
	logits, next := p.out.Logits, p.out.Next
	width := e.model.Config.HeadRows()
	p.choices = slices.Grow(p.choices[:0], len(p.parts))[:len(p.parts)]
	for i, part := range p.parts {
		s := part.sequence
		s.fed = true
		if s.Progress != nil && len(s.ids)-s.cached > 1 {
			s.Progress(s.cache.Len()-s.cached, len(s.ids)-s.cached)
		}
		rows := 0 // of logits that are this sequence's
		switch p.batch[i].Want {
		case model.WantAllLogits:
			rows = len(p.batch[i].IDs)
			s.score(logits[:rows*width], width)
		case model.WantLogits:
			rows = 1
		}
		p.choices[i] = choice{}
		if part.last && rows > 0 {
			p.choices[i].logits = logits[(rows-1)*width : rows*width]
		}
		logits = logits[rows*width:]
		if e.shares(s) {
			s.cache.Know(s.ids)
		}
		if !part.last {
			s.spent += now().Sub(p.begun)
		}
	}
	p.choose()
	for i, part := range p.parts {
		switch {
		case !part.last:
		case p.choices[i].logits == nil:
			e.chosen(part.sequence, next[0])
			next = next[1:]
		default:
			e.take(part.sequence, &p.choices[i])
		}
	}
	e.sweep()
}

// watch begins to watch the step, if it is one that is watched. stop must follow.
func (e *Engine) watch() (stop func(), watched bool) {
	s := e.step.parts[0].sequence // the only one, if it is watched
	if first := s.cache.Len(); s.watched() && first >= s.Watch.From {
		return s.Watch.Begin(e.model, first), true
	}
	return func() {}, false
}

// fail ends a running sequence with an error.
func (e *Engine) fail(s *sequence, err error) {
	if done := s.done(); done != nil {
		err = done
	}
	e.running = slices.DeleteFunc(e.running, func(r *sequence) bool { return r == s })
	e.end(s, err)
}

// score adds the log probabilities of the prompt's ids that follow the last tokens of the cache; logits has
// their rows.
func (s *sequence) score(logits []float32, width int) {
	first := s.cache.Len() - len(logits)/width
	for i := range len(logits) / width {
		after := first + i + 1 // the id that row i predicts
		if after == len(s.scores)+1 && after < len(s.IDs) {
			l, id := sampling.NewLogProbs(logits[i*width:(i+1)*width]), s.IDs[after]
			s.scores = append(s.scores, append([]LogProb{{id, l.Of(id)}}, top(l, s.Top)...))
		}
	}
}

func top(l sampling.LogProbs, n int) (best []LogProb) {
	for _, id := range l.Top(n) {
		best = append(best, LogProb{id, l.Of(id)})
	}
	return best
}

// choice is a token that the host chooses.
type choice struct {
	logits []float32 // [vocab]; nil: the host chooses none
	bad    int       // the first logit that is NaN or infinite; -1: none
	token  Token
	err    error // the sampler's
}

// choose makes the choices of the step, each on a goroutine of its own: to sort out a large vocabulary takes
// milliseconds, and the device waits.
func (p *step) choose() {
	var all sync.WaitGroup
	defer all.Wait()
	for i, part := range p.parts {
		switch {
		case p.choices[i].logits == nil:
		case len(p.parts) == 1:
			p.choices[i].make(part.sequence)
		default:
			all.Go(func() { p.choices[i].make(part.sequence) })
		}
	}
}

// make chooses the token after a sequence. It uses nothing that the sequences share.
func (c *choice) make(s *sequence) {
	if c.bad = inspect.FirstNotFinite(c.logits); c.bad >= 0 {
		return
	}
	if s.MaxNewTokens <= 0 {
		c.token = Token{ID: -1, Finish: FinishLength}
		return
	}
	if s.Sampler == nil {
		c.token.ID = sampling.Greedy(c.logits)
	} else if c.token.ID, c.err = s.Sampler.Sample(c.logits, s.ids); c.err != nil {
		return
	}
	if s.LogProbs {
		l := sampling.NewLogProbs(c.logits)
		c.token.LogProb, c.token.Top = l.Of(c.token.ID), top(l, s.Top)
	}
}

// take adds the token of a choice.
func (e *Engine) take(s *sequence, c *choice) {
	switch {
	case c.bad >= 0:
		e.chosen(s, int32(^c.bad))
	case c.err != nil:
		e.fail(s, c.err)
	case c.token.Finish != "":
		e.hand(s, c.token)
	default:
		e.add(s, c.token)
	}
}

// chosen adds the token that the device has chosen. A negative id is ^id of a logit that is NaN or infinite.
func (e *Engine) chosen(s *sequence, id int32) {
	if id < 0 {
		e.fail(s, inspect.TokenNotFinite(s.ctx, e.model, e.input(s), ^id))
		return
	}
	e.add(s, Token{ID: id})
}

func (e *Engine) input(s *sequence) model.Input { return model.Input{IDs: s.ids, Cache: s.cache} }

// add appends a token to a sequence and hands it out.
func (e *Engine) add(s *sequence, t Token) {
	t.Cached, t.Fed = s.cached, len(s.ids)-s.cached
	s.ids = append(s.ids, t.ID)
	switch {
	case slices.Contains(s.Stop, t.ID):
		t.Finish = FinishStop
	case s.generated() == s.MaxNewTokens:
		t.Finish = FinishLength
	case len(s.ids) > e.model.Context:
		t.Finish = FinishContext
	}
	e.counts.GeneratedTokens++
	e.hand(s, t)
}

// hand hands a token out. pause has seen that there is room for it. sweep must follow.
func (e *Engine) hand(s *sequence, t Token) {
	if s.generated() <= 1 {
		t.Queued, t.Prompt = s.queued, s.scores
	}
	at := now()
	if t.Time = at.Sub(s.begun); s.Alone {
		t.Time = s.spent + at.Sub(e.step.begun)
	}
	s.spent = 0
	s.begun, s.cached, s.fed, s.finished = at, len(s.ids)-1, false, t.Finish != ""
	if s.NoCache {
		s.cache.Reset()
	}
	s.tokens <- t
}

// sweep ends the sequences that have their last token.
func (e *Engine) sweep() {
	e.running = slices.DeleteFunc(e.running, func(s *sequence) bool {
		if s.finished {
			e.end(s, nil)
		}
		return s.finished
	})
	runtime.Gosched() // to the consumers: the next step may keep all processors busy
}

// decode computes the step and those after it, as long as every sequence is decoding, the device chooses the
// tokens, and there is nothing else to do. Then a device can begin each step before the last one has ended,
// see [model.Model.Decode]. It returns false if it has computed nothing.
func (e *Engine) decode() bool {
	p := &e.step
	if e.failed != nil || !e.onlyDecodes() {
		return false
	}
	most := math.MaxInt
	for _, part := range p.parts {
		most = min(most, part.MaxNewTokens-part.generated())
	}
	steps := 0
	var last []int32 // with a negative id
	for next, err := range e.model.Decode(e.stepContext(), p.batch, most) {
		if err != nil {
			e.failed = err // forward reports it, or layOut finds room in the cache
			break
		}
		steps++
		if slices.Min(next) < 0 {
			last = next
			break
		}
		if e.accept(next) {
			break
		}
	}
	// Only now the caches hold nothing of a step that was begun and dropped.
	for i, part := range p.parts {
		if last != nil {
			e.chosen(part.sequence, last[i])
		}
		if e.shares(part.sequence) {
			part.cache.Know(part.ids)
		}
	}
	e.sweep()
	return steps > 0
}

// onlyDecodes reports whether the step has one token of every sequence that can run, and the device chooses
// all that follow.
func (e *Engine) onlyDecodes() bool {
	able := 0
	for _, s := range e.running {
		if !s.paused.Load() {
			able++
		}
	}
	for i, part := range e.step.parts {
		if len(e.step.batch[i].IDs) > 1 || e.step.batch[i].Want != model.WantNext || part.NoCache {
			return false
		}
	}
	return able == len(e.step.parts)
}

// accept adds the tokens of a step of Decode. It returns true if the engine has something else to do.
func (e *Engine) accept(next []int32) (stop bool) {
	e.counts.Failing = false
	e.counts.Steps++
	for i, part := range e.step.parts {
		e.add(part.sequence, Token{ID: next[i]})
		stop = stop || part.finished || part.full()
	}
	e.publish()
	return stop || len(e.wake) > 0
}
