package perplexity

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"phi3/internal/inspect"
	"phi3/internal/kvcache"
	"phi3/internal/model"
)

// Options of [Measure].
type Options struct {
	Window  int // the most tokens that the model reads at once, at least 2
	Stride  int // how many tokens after the beginning of a window the next one begins, 1 … Window
	Threads int // goroutines that evaluate logits; 0: one for each processor
	// Progress, if set, is called after every step with the number of tokens computed so far, and the number
	// to compute.
	Progress func(done, total int)
}

// maxLogits bounds the logits of a step: 128 MB for each model.
const maxLogits = 1 << 25

// Measure computes how well m predicts the text ids. If reference is not nil, it also compares m with it. The
// two models need the same vocabulary, and a context of at least the window.
func Measure(ctx context.Context, m, reference *model.Model, ids []int32, o Options) (*Report, error) {
	if len(ids) < 2 {
		return nil, errors.New("the text has fewer than 2 tokens: a perplexity needs a token and " +
			"one before it")
	}
	if o.Window < 2 || o.Stride < 1 || o.Stride > o.Window {
		return nil, fmt.Errorf("a window of %d tokens every %d tokens scores nothing, or not every token",
			o.Window, o.Stride)
	}
	if o.Threads < 1 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	run := &run{
		options: o, models: []side{{Model: m, cache: m.NewCache()}},
		step: min(m.MaxTokens(), max(1, maxLogits/m.Config.VocabSize)),
	}
	if reference != nil {
		if a, b := m.Config.VocabSize, reference.Config.VocabSize; a != b {
			return nil, fmt.Errorf("the model has a vocabulary of %d and the reference one of %d: their "+
				"probabilities cannot be compared", a, b)
		}
		run.models = append(run.models, side{Model: reference, cache: reference.NewCache()})
		run.step = min(run.step, reference.MaxTokens())
	}
	report := &Report{Tokens: len(ids), Window: o.Window, Stride: o.Stride}
	for w := range windows(len(ids), o.Window, o.Stride) {
		report.Windows++
		run.total += len(run.models) * (w.end - w.begin - 1)
	}
	var sums sums
	for w := range windows(len(ids), o.Window, o.Stride) {
		if err := run.window(ctx, ids[w.begin:w.end], w.first-w.begin, &sums); err != nil {
			return nil, err
		}
	}
	sums.report(report, reference != nil)
	return report, nil
}

// side is one of the models: the one to measure, or the reference.
type side struct {
	*model.Model
	cache *kvcache.Cache
	out   model.Output
}

type run struct {
	options     Options
	models      []side // the model, and the reference if there is one
	step        int    // the most tokens whose logits are kept at once
	done, total int    // tokens, of both models
}

// window adds the scores of the tokens ids[first:].
func (r *run) window(ctx context.Context, ids []int32, first int, sums *sums) error {
	for i := range r.models {
		defer r.models[i].cache.Reset()
		if err := r.feed(ctx, &r.models[i], ids, first-1, false); err != nil {
			return err
		}
	}
	for at := first; at < len(ids); at += r.step {
		tokens := ids[at:min(at+r.step, len(ids))]
		for i := range r.models {
			// The logits of a token come from the one before it.
			if err := r.feed(ctx, &r.models[i], ids, at-1+len(tokens), true); err != nil {
				return err
			}
		}
		var reference []float32
		if len(r.models) > 1 {
			reference = r.models[1].out.Logits
		}
		scores := rows(r.models[0].out.Logits, reference, tokens, r.options.Threads)
		for i, s := range scores {
			if math.IsNaN(s.nll) {
				return r.notFinite(ctx, ids, at+i)
			}
			sums.add(s)
		}
	}
	return nil
}

// feed computes the tokens ids[:end] that the cache of a model lacks, and returns their logits in out if it
// is asked to.
func (r *run) feed(ctx context.Context, m *side, ids []int32, end int, logits bool) error {
	from := m.cache.Len()
	if end <= from {
		return nil
	}
	in := model.Input{IDs: ids, Cache: m.cache, End: end}
	if r.options.Progress != nil {
		in.Progress = func(fed, _ int) { r.options.Progress(r.done+fed, r.total) }
	}
	var out *model.Output
	if logits {
		out = &m.out
		out.AllLogits = true
	}
	if _, err := m.Feed(ctx, in, out); err != nil {
		return err
	}
	r.done += end - from
	return nil
}

// notFinite returns the error for a logit of the token ids[at] that is NaN or infinite.
func (r *run) notFinite(ctx context.Context, ids []int32, at int) error {
	for i := range r.models {
		m := &r.models[i]
		m.cache.Reset()
		in := model.Input{IDs: ids, Cache: m.cache, End: at}
		m.out.AllLogits = false
		if _, err := m.Feed(ctx, in, &m.out); err != nil {
			return err
		}
		if id := inspect.FirstNotFinite(m.out.Logits); id >= 0 {
			return inspect.NotFinite(ctx, m.Model, in, fmt.Sprintf("token %d after %d tokens", id, at))
		}
	}
	return errors.New("a probability is NaN, but no logit is NaN or infinite")
}
