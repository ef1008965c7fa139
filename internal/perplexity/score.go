package perplexity

import (
	"math"
	"sync"
	"sync/atomic"
)

// score is what one token of the text contributes. The fields after nll need a reference.
type score struct {
	nll       float64 // -log p(token)
	reference float64 // the same of the reference
	kl        float64 // Σ q·log(q/p) over the vocabulary, q of the reference
	same      bool    // the most probable token is the same
}

// row computes the score of a token from the logits [vocab] of the token before it. reference is nil if there
// is none. If a logit is NaN or infinite, nll is NaN: 0 times such a number is NaN.
func row(logits, reference []float32, token int32) score {
	if reference == nil {
		greatest := logits[argmax(logits)]
		var sum float64
		var zero float32
		for _, l := range logits {
			sum += math.Exp(float64(l) - float64(greatest))
			zero += 0 * l
		}
		return score{nll: logSum(greatest, sum) - float64(logits[token]) + float64(zero)}
	}
	top, topReference := argmax(logits), argmax(reference)
	greatest, greatestReference := logits[top], reference[topReference]
	var sum, sumReference, dot float64
	var zero float32
	for i, l := range logits {
		r := reference[i]
		q := math.Exp(float64(r) - float64(greatestReference))
		sum += math.Exp(float64(l) - float64(greatest))
		sumReference += q
		dot += q * (float64(r) - float64(l))
		zero += 0*l + 0*r
	}
	log, logReference := logSum(greatest, sum), logSum(greatestReference, sumReference)
	return score{
		nll:       log - float64(logits[token]) + float64(zero),
		reference: logReference - float64(reference[token]),
		// Σ q·((r - logReference) - (l - log)); rounding may make it negative
		kl:   max(0, dot/sumReference-logReference+log),
		same: top == topReference,
	}
}

// logSum returns the logarithm of the sum of exp(logit), where sum is that of exp(logit - greatest).
func logSum(greatest float32, sum float64) float64 { return float64(greatest) + math.Log(sum) }

// argmax returns the lowest index of the greatest value.
func argmax(values []float32) int {
	best := 0
	for i, v := range values {
		if v > values[best] {
			best = i
		}
	}
	return best
}

// rows computes the scores of consecutive tokens with several goroutines. logits and reference are
// [len(tokens), vocab]; reference is nil if there is none.
func rows(logits, reference []float32, tokens []int32, threads int) []score {
	scores := make([]score, len(tokens))
	vocab := len(logits) / len(tokens)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(threads, len(tokens)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(tokens); i = int(next.Add(1)) - 1 {
				var r []float32
				if reference != nil {
					r = reference[i*vocab:][:vocab]
				}
				scores[i] = row(logits[i*vocab:][:vocab], r, tokens[i])
			}
		})
	}
	group.Wait()
	return scores
}
