package engine

import (
	"slices"
	"time"

	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// reap ends the sequences whose consumers are gone.
func (e *Engine) reap() {
	gone := func(s *sequence) bool {
		err := s.done()
		if err != nil {
			e.end(s, err)
		}
		return err != nil
	}
	e.running = slices.DeleteFunc(e.running, gone)
	e.waiting = slices.DeleteFunc(e.waiting, gone)
}

// pause finds the sequences whose consumers take no tokens. It comes before admit, which gives their places
// to others: a sequence that was found later would keep its place while the engine sleeps.
func (e *Engine) pause() {
	for _, s := range e.running {
		wasPaused := s.paused.Load()
		s.paused.Store(s.full())
		if s.paused.Load() && s.full() { // again, because the consumer looks at paused after it takes a token
			continue
		}
		s.paused.Store(false)
		if wasPaused {
			s.begun = now()
		}
	}
}

// admit lets the oldest waiting sequences run, while there are blocks for all their ids. Paused sequences
// give their place and their blocks to those that wait.
func (e *Engine) admit() {
	for {
		first := slices.IndexFunc(e.waiting, (*sequence).ready)
		if first < 0 {
			return
		}
		s := e.waiting[first]
		if len(e.running) == e.options.Parallel && !e.preemptPaused() {
			return
		}
		e.adopt(s)
		missing := kvcache.BlocksFor(len(s.ids)) - len(s.cache.Blocks())
		for missing > e.pool.Free() && len(e.running) > 0 {
			if !e.preemptPaused() {
				s.cache.Retire(s.ids)
				return
			}
		}
		e.waiting = slices.DeleteFunc(e.waiting, func(w *sequence) bool { return w == s })
		if _, err := s.cache.Prepare(len(s.ids)); err != nil {
			e.end(s, err)
			continue
		}
		if s.begun.IsZero() {
			s.queued = now().Sub(s.arrived)
			e.counts.PromptTokens += uint64(len(s.ids))
			if e.shares(s) {
				e.counts.PrefixQueries += uint64(len(s.ids))
				e.counts.PrefixHits += uint64(s.cache.Len())
			}
		}
		s.paused.Store(false)
		s.begun, s.cached, s.fed = now(), s.cache.Len(), false
		s.turn, s.spent = e.turn, 0
		at, _ := slices.BinarySearchFunc(e.running, s, byAge)
		e.running = slices.Insert(e.running, at, s)
	}
}

func byAge(a, b *sequence) int {
	if a.number < b.number {
		return -1
	}
	return 1
}

// shares reports whether the blocks of a sequence may come from others, and go to others.
func (e *Engine) shares(s *sequence) bool {
	return !e.options.NoPrefixCache && !s.NoCache && !s.scoring()
}

// adopt gives a sequence the longest beginning of its ids that the pool knows, if that is more than its own
// cache holds.
func (e *Engine) adopt(s *sequence) {
	if !e.shares(s) {
		return
	}
	// One id at least must be computed, for the logits after it, and so must those that are watched.
	//
	// An engine that takes one request at a time has one caller with one text, and nobody else will ask for
	// blocks again that were computed for another end of it. With several callers, a few ids that all texts
	// begin with would cost the blocks of whole texts.
	most := len(s.ids) - 1
	if s.watched() {
		most = min(most, s.Watch.From)
	}
	oneCaller := e.options.Parallel+e.options.Queue == 1
	known := e.model.NewCache()
	if known.Adopt(s.ids[:most], len(s.ids), oneCaller) > s.cache.Len() {
		s.cache, known = known, s.cache
	}
	known.Retire(s.ids)
}

// giveBack returns the blocks of a sequence. They stay known for other prompts, if the sequence shares them.
func (e *Engine) giveBack(s *sequence) {
	if e.shares(s) {
		s.cache.Retire(s.ids)
	} else {
		s.cache.Reset()
	}
}

// preempt takes the blocks of a running sequence. It waits, and is computed again later.
func (e *Engine) preempt(s *sequence) {
	e.counts.Preemptions++
	e.giveBack(s)
	e.running = slices.DeleteFunc(e.running, func(r *sequence) bool { return r == s })
	at, _ := slices.BinarySearchFunc(e.waiting, s, byAge)
	e.waiting = slices.Insert(e.waiting, at, s)
}

// preemptPaused takes the blocks of a paused sequence, the youngest. It returns false if there is none.
func (e *Engine) preemptPaused() bool {
	for _, s := range slices.Backward(e.running) {
		if s.paused.Load() && s.full() {
			e.preempt(s)
			return true
		}
	}
	return false
}

// step is one call of [model.Model.Forward].
type step struct {
	parts  []part
	batch  []model.Sequence // of parts
	scored int              // new tokens whose logits are all wanted
	out    model.Output

	begun   time.Time
	choices []choice // of parts
}

// part is what a step computes of a sequence.
type part struct {
	*sequence
	last bool // all that was pending, so that a token follows
}

// layOut sets e.step to the next step. That is a step of one sequence that is computed alone, or an ordinary
// one: a token of each sequence that is decoding, and then pieces of prompts, the oldest first.
func (e *Engine) layOut() {
	e.step.parts, e.step.batch, e.step.scored = e.step.parts[:0], e.step.batch[:0], 0
	e.prepareAll()
	s := e.nextAlone()
	e.turn++
	if e.alone = s != nil; e.alone {
		s.turn = e.turn
		e.addNext(s, e.options.MaxStep)
		return
	}
	left := e.options.MaxStep
	for _, prompts := range []bool{false, true} {
		for _, s := range e.running {
			if left == 0 {
				return
			}
			if s.Alone || s.paused.Load() || s.pending() > 1 != prompts {
				continue
			}
			left -= e.addNext(s, left)
		}
	}
}

// nextAlone returns the sequence that the next step computes alone, or nil if the step is an ordinary one.
// Both kinds of steps take turns. Of several sequences that are computed alone, the next is the one whose
// last step is longest ago.
func (e *Engine) nextAlone() (next *sequence) {
	ordinary := false // a sequence that is not computed alone can run
	for _, s := range e.running {
		switch {
		case s.paused.Load():
		case !s.Alone:
			ordinary = true
		case next == nil || s.turn < next.turn:
			next = s
		}
	}
	if ordinary && e.alone {
		return nil
	}
	return next
}

// addNext adds at most n pending ids of a sequence to the step, after a look for those that are known by
// now. It returns how many it has added.
func (e *Engine) addNext(s *sequence, n int) int {
	if len(e.running) > 1 && s.pending() > kvcache.BlockTokens {
		e.adoptMore(s)
	}
	return e.step.add(s, n)
}

// prepareAll makes room in the caches of the running sequences that can go on.
func (e *Engine) prepareAll() {
	for i := 0; i < len(e.running); i++ {
		s := e.running[i]
		if s.paused.Load() {
			continue
		}
		err := e.prepare(s)
		// Less than before if older sequences have given their blocks back. The youngest may be gone itself.
		if i = slices.Index(e.running, s); i < 0 {
			break
		}
		if err != nil {
			e.running = slices.Delete(e.running, i, i+1)
			e.end(s, err)
			i--
		}
	}
}

// prepare makes room in the cache for all ids of a running sequence. If there are no blocks, paused and then
// younger sequences give theirs back, and then the sequence its own. The error is one of the only
// sequence that runs.
func (e *Engine) prepare(s *sequence) error {
	for {
		cached, err := s.cache.Prepare(len(s.ids))
		if err == nil {
			if !s.fed {
				s.cached = cached
			}
			return nil
		}
		if e.preemptPaused() {
			continue
		}
		youngest := e.running[len(e.running)-1]
		if youngest == s && len(e.running) == 1 {
			return err
		}
		e.preempt(youngest)
		if youngest == s {
			return nil
		}
	}
}

// adoptMore looks again for the beginning of a prompt, because another sequence may have computed it
// meanwhile.
func (e *Engine) adoptMore(s *sequence) {
	before, had := s.cache, s.cache.Len()
	e.adopt(s)
	if s.cache == before {
		return
	}
	if _, err := s.cache.Prepare(len(s.ids)); err != nil {
		return // cannot happen: the blocks of the cache before are free now
	}
	e.counts.PrefixHits += uint64(s.cache.Len() - had)
	s.cached = s.cache.Len()
}

// scoredTokens bounds the tokens of a step whose logits are all wanted, because 512 rows of a vocabulary of
// 200,064 would take 400 MB.
const scoredTokens = 64

// add adds at most the next n pending ids of a sequence to the step, and returns how many.
func (p *step) add(s *sequence, n int) int {
	at := s.cache.Len()
	n = min(n, s.pending())
	if s.watched() {
		switch w := s.Watch; {
		case at < w.From:
			n = min(n, w.From-at)
		case w.Tokens > 0:
			n = min(n, w.Tokens)
		}
	}
	if s.scoring() {
		if n = min(n, scoredTokens-p.scored); n == 0 {
			return 0
		}
		p.scored += n
	}
	last := n == s.pending()
	want := model.WantNothing
	switch {
	case s.scoring():
		want = model.WantAllLogits
	case last && s.greedy():
		want = model.WantNext
	case last:
		want = model.WantLogits
	}
	p.parts = append(p.parts, part{s, last})
	p.batch = append(p.batch, model.Sequence{IDs: s.ids[at : at+n], Cache: s.cache, Want: want})
	return n
}
