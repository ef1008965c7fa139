package explore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"phi3/internal/engine"
	"phi3/internal/nexttoken"
	"phi3/internal/openai"
	"phi3/internal/sampling"
)

// Sampling is how to choose the next token. The names and ranges are those of OpenAI's protocol and of
// generation_config.json. A member that a request leaves out has the checkpoint's value, as have all settings
// that are not here.
type Sampling struct {
	Temperature       float32 `json:"temperature"`        // 0: the most probable token
	TopK              int     `json:"top_k"`              // 0: off
	TopP              float64 `json:"top_p"`              // 1: off
	MinP              float64 `json:"min_p"`              // 0: off
	RepetitionPenalty float32 `json:"repetition_penalty"` // 1: off
	FrequencyPenalty  float32 `json:"frequency_penalty"`  // 0: off
	PresencePenalty   float32 `json:"presence_penalty"`   // 0: off
}

// NextRequest is the body of POST /explore/next.
type NextRequest struct {
	IDs       []int32  `json:"ids"`       // the text
	Generated int      `json:"generated"` // how many of the last ids continue the prompt, for the penalties
	Top       int      `json:"top"`       // the candidates to return: 1 … 200; 0: 40
	Sampling  Sampling `json:"sampling"`
	Draw      *float64 `json:"draw"` // 0 ≤ draw < 1: the random number of a draw; null: none
}

// Next is the response: the distribution of the next token, and what each step of sampling leaves of it.
type Next struct {
	Candidates []NextCandidate `json:"candidates"` // the most probable ones of the model, and of the last step
	// model, penalties, temperature, top_k, top_p, min_p; and typical_p if the checkpoint sets it
	Steps   []Step  `json:"steps"`
	Entropy float64 `json:"entropy"` // of the model's distribution, in nats
	Vocab   int     `json:"vocab_size"`
	// the first token, in the order of ids, at which the sum of the last step's probabilities exceeds the
	// request's Draw, as in [sampling.New]
	Drawn *NextCandidate `json:"drawn,omitempty"`
}

// Step is a step of sampling.
type Step struct {
	Name string `json:"name"`
	Kept int    `json:"kept"` // tokens that can still be chosen after it: their probability is above 0
}

// NextCandidate is a token that may follow. Its rank, logit and probability are the model's, as phi3
// next-token prints them.
type NextCandidate struct {
	nexttoken.Candidate
	Bytes   string    `json:"bytes"`             // as in Token: the page may append the candidate to the text
	Special bool      `json:"special"`           // such as <|end|>
	Steps   []float64 `json:"steps"`             // its probability after each of Next.Steps; 0: removed
	Removed string    `json:"removed,omitempty"` // the step that removed it
}

// Next computes the logits after a text, and applies the steps of sampling to them.
func (e *Explorer) Next(ctx context.Context, body []byte) (any, error) {
	r, err := e.parseNext(body)
	if err != nil {
		return nil, err
	}
	config, err := e.config(&r.Sampling)
	if err != nil {
		return nil, err
	}
	logits, err := e.logits(ctx, r.IDs)
	if err != nil {
		return nil, err
	}
	steps := sampling.Trace(config, logits, r.IDs, r.Generated)
	ranking := nexttoken.Rank(logits)
	next := &Next{Vocab: len(logits), Entropy: ranking.Entropy()}
	for _, s := range steps {
		next.Steps = append(next.Steps, Step{s.Name, s.Kept})
	}
	last := steps[len(steps)-1].Probabilities
	for _, c := range e.candidates(&ranking, r.Top, last) {
		next.Candidates = append(next.Candidates, e.candidate(c, steps))
	}
	if id := drawn(last, r.Draw); id >= 0 {
		next.Drawn = new(e.candidate(ranking.Candidate(e.Codec.Tokenizer, id), steps))
	}
	return next, nil
}

// drawn returns the token of a draw, or -1 if there is none.
func drawn(probabilities []float64, u *float64) (id int32) {
	id = -1
	if u == nil {
		return id
	}
	var sum float64
	for i, p := range probabilities {
		if p > 0 {
			id = int32(i) // if the rounded sum never exceeds u
		}
		if sum += p; sum > *u {
			break
		}
	}
	return id
}

// config is the checkpoint's config with the settings of a request.
func (e *Explorer) config(s *Sampling) (sampling.Config, error) {
	c := e.Defaults.Sampling
	c.TopK, c.TopP, c.MinP = s.TopK, s.TopP, s.MinP
	c.RepetitionPenalty = s.RepetitionPenalty
	c.FrequencyPenalty, c.PresencePenalty = s.FrequencyPenalty, s.PresencePenalty
	c.DoSample, c.Temperature = s.Temperature != 0, 1
	if c.DoSample {
		c.Temperature = s.Temperature
	}
	var wrong *sampling.RangeError
	switch {
	case s.Temperature < 0:
		return c, openai.Invalid("sampling.temperature", " is %v, not 0 or more.", s.Temperature)
	case errors.As(c.Check(), &wrong):
		return c, openai.Invalid("sampling."+wrong.Field, " is %v, not %s.", wrong.Value, wrong.Range)
	}
	return c, nil
}

// logits returns the logits [vocab] after a text. The caller must not change them.
func (e *Explorer) logits(ctx context.Context, ids []int32) ([]float32, error) {
	if known := e.rows.get(ids); known != nil {
		return known, nil
	}
	var keep keeper
	for _, err := range e.Engine.Generate(ctx, engine.Request{IDs: ids, MaxNewTokens: 1, Sampler: &keep}) {
		if err != nil {
			return nil, openai.AsError(err)
		}
	}
	e.rows.put(ids, keep.logits)
	return keep.logits, nil
}

// keeper is a sampler that keeps the logits. It chooses any token: what follows does not matter.
type keeper struct{ logits []float32 }

// Sample implements [engine.Sampler].
func (k *keeper) Sample(logits []float32, _ []int32) (int32, error) {
	k.logits = slices.Clone(logits)
	return 0, nil
}

// candidates are the n most probable tokens of the model, and then those of the last step that are not among
// them, by falling probability in the model.
func (e *Explorer) candidates(r *nexttoken.Ranking, n int, last []float64) []nexttoken.Candidate {
	t := e.Codec.Tokenizer
	all := r.Candidates(t, n)
	for _, id := range sampling.Highest(last, n) {
		if last[id] > 0 && !slices.ContainsFunc(all, func(c nexttoken.Candidate) bool { return c.ID == id }) {
			all = append(all, r.Candidate(t, id))
		}
	}
	slices.SortFunc(all, func(a, b nexttoken.Candidate) int { return cmp.Compare(a.Rank, b.Rank) })
	return all
}

// candidate adds what each step leaves of a candidate.
func (e *Explorer) candidate(c nexttoken.Candidate, steps []sampling.Step) NextCandidate {
	token := e.token(c.ID)
	next := NextCandidate{Candidate: c, Bytes: token.Bytes, Special: token.Special}
	for _, s := range steps {
		p := s.Probabilities[c.ID]
		next.Steps = append(next.Steps, p)
		if p == 0 && next.Removed == "" {
			next.Removed = s.Name
		}
	}
	return next
}
