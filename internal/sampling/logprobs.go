package sampling

import (
	"cmp"
	"math"
	"slices"
)

// LogProbs is what a model said before anything was chosen: natural logarithms of the probabilities of its
// own distribution, the softmax of unprocessed logits at temperature 1.
type LogProbs struct {
	logSum float64 // log Σ e^logit
	logits []float32
}

// NewLogProbs looks at the logits [vocab] of one position, and keeps the slice.
func NewLogProbs(logits []float32) LogProbs {
	highest := float64(logits[Greedy(logits)])
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l) - highest)
	}
	return LogProbs{highest + math.Log(sum), logits}
}

// Of is the logarithm of a token's probability.
func (l LogProbs) Of(id int32) float64 { return float64(l.logits[id]) - l.logSum }

// Top returns the n most probable ids, equal ones by id.
func (l LogProbs) Top(n int) []int32 {
	n = min(n, len(l.logits))
	if n <= 0 {
		return nil
	}
	var heap []float32
	for _, logit := range l.logits {
		heap = pushHighest(heap, logit, n)
	}
	least := heap[0]
	var ids []int32
	for id, logit := range l.logits {
		if logit >= least {
			ids = append(ids, int32(id))
		}
	}
	slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(l.logits[b], l.logits[a]) })
	return ids[:n]
}
