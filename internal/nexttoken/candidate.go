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

// Ranking orders all tokens by falling probability, and equal ones by id. Probabilities are a softmax in
// float64.
type Ranking struct {
	logits []float32 // [vocab]
	top    float64   // the highest of them
	total  float64   // Σ e^(logit - top)
	drop   float64   // Σ e^(logit - top)·(top - logit)
}

// Rank ranks the logits [vocab] of one position. It keeps the slice.
func Rank(logits []float32) Ranking {
	r := Ranking{logits: logits, top: float64(logits[sampling.Greedy(logits)])}
	for _, l := range logits {
		below := float64(l) - r.top
		weight := math.Exp(below)
		r.total += weight
		r.drop -= weight * below
	}
	return r
}

// Finite reports whether no logit is NaN or infinite. The other methods need that.
func (r *Ranking) Finite() bool {
	return !math.IsNaN(r.total+r.drop) && !math.IsInf(r.total, 0)
}

// Entropy returns the entropy of the distribution in nats.
func (r *Ranking) Entropy() float64 { return math.Log(r.total) + r.drop/r.total }

// Logit returns the logit of a token.
func (r *Ranking) Logit(id int32) float32 { return r.logits[id] }

// Probability returns the probability of a token.
func (r *Ranking) Probability(id int32) float64 {
	return math.Exp(float64(r.logits[id])-r.top) / r.total
}

// First returns the n most probable ids.
func (r *Ranking) First(n int) []int32 { return sampling.Highest(r.logits, n) }

// Of returns the rank of a token. 1 is the most probable.
func (r *Ranking) Of(id int32) int {
	logit, rank := r.logits[id], 1
	for _, l := range r.logits[:id] {
		if l >= logit {
			rank++
		}
	}
	for _, l := range r.logits[id+1:] {
		if l > logit {
			rank++
		}
	}
	return rank
}

// Candidates returns the n most probable tokens.
func (r *Ranking) Candidates(t *tokenizer.Tokenizer, n int) []Candidate {
	var first []Candidate
	cumulative := 0.0
	for i, id := range r.First(n) {
		p := r.Probability(id)
		cumulative += p
		first = append(first, Candidate{i + 1, t.Token(id), r.logits[id], p, min(cumulative, 1)})
	}
	return first
}

// Candidate returns a token with its numbers.
func (r *Ranking) Candidate(t *tokenizer.Tokenizer, id int32) Candidate {
	logit, cumulative := r.logits[id], r.Probability(id)
	for other, l := range r.logits {
		if l > logit || l == logit && int32(other) < id {
			cumulative += r.Probability(int32(other))
		}
	}
	return Candidate{r.Of(id), t.Token(id), logit, r.Probability(id), min(cumulative, 1)}
}
