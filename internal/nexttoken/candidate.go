package nexttoken

import (
	"math"

	"phi3/internal/sampling"
	"phi3/internal/tokenizer"
)

// Candidate is one possible next token.
type Candidate struct {
	Rank int `json:"rank"` // 1 is the most probable
	tokenizer.Token
	Logit       float32 `json:"logit"`
	Probability float64 `json:"probability"`
	Cumulative  float64 `json:"cumulative"` // of this and all ranks before it
}

// ranking orders all tokens by falling probability, and equal ones by id. Probabilities are a softmax in
// float64.
type ranking struct {
	logits []float32 // [vocab]
	top    float64   // the highest of them
	total  float64   // Σ e^(logit - top)
	tokens *tokenizer.Tokenizer
}

func rank(t *tokenizer.Tokenizer, logits []float32) ranking {
	r := ranking{logits: logits, top: float64(logits[sampling.Greedy(logits)]), tokens: t}
	for _, l := range logits {
		r.total += math.Exp(float64(l) - r.top)
	}
	return r
}

func (r *ranking) probability(id int32) float64 {
	return math.Exp(float64(r.logits[id])-r.top) / r.total
}

// first returns the n most probable tokens.
func (r *ranking) first(n int) []Candidate {
	var first []Candidate
	cumulative := 0.0
	for i, id := range sampling.NewLogProbs(r.logits).Top(n) {
		p := r.probability(id)
		cumulative += p
		first = append(first, Candidate{i + 1, r.tokens.Token(id), r.logits[id], p, min(cumulative, 1)})
	}
	return first
}

// of returns the candidate with an id.
func (r *ranking) of(id int32) Candidate {
	logit, before, cumulative := r.logits[id], 0, r.probability(id)
	for other, l := range r.logits {
		if l > logit || l == logit && int32(other) < id {
			before++
			cumulative += r.probability(int32(other))
		}
	}
	return Candidate{before + 1, r.tokens.Token(id), logit, r.probability(id), min(cumulative, 1)}
}
