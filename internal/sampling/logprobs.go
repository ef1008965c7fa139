package sampling

import (
	"cmp"
	"math"
	"slices"
)

// LogProbs has the natural logarithms of the model's own probabilities: of the softmax of the logits before
// any step of sampling, at temperature 1.
type LogProbs struct {
	logSum float64 // log Σ e^logit
	logits []float32
}

// NewLogProbs takes the logits [vocab] of one position. It keeps the slice.
func NewLogProbs(logits []float32) LogProbs {
	highest := float64(logits[Greedy(logits)])
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l) - highest)
	}
	return LogProbs{highest + math.Log(sum), logits}
}

// Of returns the natural logarithm of a token's probability.
func (l LogProbs) Of(id int32) float64 { return float64(l.logits[id]) - l.logSum }

// Top returns the n most probable ids, the most probable first. Equally probable ids are in ascending order.
func (l LogProbs) Top(n int) []int32 { return Highest(l.logits, n) }

// Highest returns the ids of the n highest logits or probabilities, the highest first. Ids with equal ones
// are in ascending order.
func Highest[T float32 | float64](logits []T, n int) []int32 {
	n = min(n, len(logits))
	if n <= 0 {
		return nil
	}
	var heap []T
	for _, logit := range logits {
		heap = pushHighest(heap, logit, n)
	}
	least := heap[0]
	var ids []int32
	for id, logit := range logits {
		if logit >= least {
			ids = append(ids, int32(id))
		}
	}
	slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
	return ids[:n]
}
