package model

import (
	"context"
	"errors"

	"phi3/internal/kvcache"
)

// Input is a text for [Model.Feed].
type Input struct {
	IDs   []int32        // the whole text
	Cache *kvcache.Cache // holds a beginning of the text, which may be empty
	// End, if not 0, is where to stop: only IDs[:End] are computed, with the RoPE factors of the whole text.
	End int
	// Progress, if set, is called after every step with the number of tokens fed so far and the number to
	// feed.
	Progress func(fed, total int)
}

// Feed computes the tokens that in.Cache does not hold yet, in steps of at most [Model.MaxTokens] tokens. It
// returns how many leading tokens the cache already held. If the cache holds the whole text, Feed computes
// the last token again.
//
// out receives the results of all computed tokens if it asks for all, and otherwise those of the last token.
// It may be nil.
//
// After an error, the cache holds no tokens that Feed added.
func (m *Model) Feed(ctx context.Context, in Input, out *Output) (cached int, err error) {
	end := in.End
	if end == 0 {
		end = len(in.IDs)
	}
	if end == 0 {
		return 0, errors.New("the text has no tokens")
	}
	if len(in.IDs) > m.Context {
		return 0, &TooLongError{Text: "sequence", Tokens: len(in.IDs), Context: m.Context}
	}
	if in.Cache.Len() >= end {
		in.Cache.Truncate(end - 1)
	}
	// Before the first step: the whole length decides the RoPE factors.
	if cached, err = in.Cache.Prepare(len(in.IDs)); err != nil {
		return 0, err
	}
	var all results
	for fed := cached; fed < end; {
		step := in.IDs[fed:min(fed+m.maxTokens, end)]
		fed += len(step)
		wanted := out
		if fed < end && out != nil && !out.AllLogits && !out.AllHidden {
			wanted = nil // only the cache matters
		}
		if err := m.Forward(ctx, []Sequence{{IDs: step, Cache: in.Cache}}, wanted); err != nil {
			in.Cache.Truncate(cached)
			return cached, err
		}
		all.add(wanted)
		if in.Progress != nil {
			in.Progress(fed-cached, end-cached)
		}
	}
	all.moveTo(out)
	return cached, nil
}

// results collects the results of all steps where an [Output] asks for them.
type results struct {
	logits, hidden []float32
	next           []int32
}

func (r *results) add(o *Output) {
	if o != nil && o.AllLogits {
		r.logits, r.next = append(r.logits, o.Logits...), append(r.next, o.Next...)
	}
	if o != nil && o.AllHidden {
		r.hidden = append(r.hidden, o.Hidden...)
	}
}

func (r *results) moveTo(o *Output) {
	if o != nil && o.AllLogits {
		o.Logits, o.Next = r.logits, r.next
	}
	if o != nil && o.AllHidden {
		o.Hidden = r.hidden
	}
}
