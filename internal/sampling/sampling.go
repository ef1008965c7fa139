// Package sampling turns logits into the next token id. It knows nothing of models: a slice of logits comes in, an index goes out.
//
// Greedy choice is all there is so far; temperature, top-k and the rest will join it here.
package sampling

// Sampler picks the next token from the logits [vocab] of the last position. It may change the logits in place.
type Sampler interface {
	Sample(logits []float32) int32
}

// Greedy picks the largest logit; of equal ones the lowest id, as PyTorch's argmax documents (spec 4.4).
type Greedy struct{}

// Sample returns the index of the largest of logits, which must not be empty.
func (Greedy) Sample(logits []float32) int32 {
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return int32(best)
}
