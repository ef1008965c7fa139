package sampling

import (
	"math"
	"slices"
)

// filter applies temperature, top-k, top-p, min-p and typical-p to the scores. s.kept receives the tokens
// that can be drawn: at least one, unless all were ruled out before.
func (s *Sampler) filter() {
	c := &s.config
	if c.Temperature != 1 {
		for i := range s.scores {
			s.scores[i] /= c.Temperature
		}
	}
	if c.TopK > 0 && c.TopK < len(s.scores) {
		s.topK(c.TopK)
	} else {
		s.all()
	}
	s.weigh()
	if len(s.kept) == 0 {
		return
	}
	if c.TopP < 1 {
		s.topP(c.TopP)
	}
	if c.MinP > 0 {
		// the weight of the most probable token is 1
		s.drop(func(k candidate) bool { return k.weight < c.MinP })
	}
	if c.TypicalP < 1 {
		s.typicalP(c.TypicalP)
	}
}

// all keeps every token that has not been ruled out.
func (s *Sampler) all() {
	s.kept = s.kept[:0]
	for id, score := range s.scores {
		if score != ruledOut {
			s.kept = append(s.kept, candidate{id: int32(id), score: score})
		}
	}
}

// topK keeps the k highest scores and those equal to the last of them, as TopKLogitsWarper does. One pass
// over the vocabulary keeps a heap of the k highest scores so far, and every token that was among them at its
// turn.
func (s *Sampler) topK(k int) {
	s.kept, s.highest = s.kept[:0], s.highest[:0]
	least := ruledOut
	for id, score := range s.scores {
		if score < least || score == ruledOut {
			continue
		}
		s.kept = append(s.kept, candidate{id: int32(id), score: score})
		s.highest = pushHighest(s.highest, score, k)
		if len(s.highest) == k {
			least = s.highest[0]
		}
	}
	s.drop(func(c candidate) bool { return c.score < least })
}

// weigh finds the highest score and computes the weights of s.kept.
func (s *Sampler) weigh() {
	s.best = ruledOut
	for _, k := range s.kept {
		s.best = max(s.best, k.score)
	}
	for i := range s.kept {
		k := &s.kept[i]
		// A tiny temperature can make the highest score infinite. Then the difference would be NaN.
		k.weight = 1
		if k.score != s.best {
			k.weight = math.Exp(float64(k.score) - float64(s.best))
		}
	}
}

func (s *Sampler) drop(unwanted func(candidate) bool) { s.kept = slices.DeleteFunc(s.kept, unwanted) }

// topP sorts the tokens by falling score and keeps the fewest first ones whose probability is p or more, as
// TopPLogitsWarper does. Of equal scores at the end it keeps the highest ids, as that class does with a
// stable ascending sort.
func (s *Sampler) topP(p float64) {
	total := s.total()
	// Of n tokens, those with a probability below (1−p)/n have less than 1−p together, even all n. They are
	// dropped in any case and need no sorting.
	least := (1 - p) * total / float64(len(s.kept))
	s.ranked = s.ranked[:0]
	for _, k := range s.kept {
		if k.weight >= least {
			s.ranked = append(s.ranked, ranked{key: -float64(k.score), tie: -k.id, weight: k.weight})
		}
	}
	last := cut(s.ranked, p*total)
	s.drop(func(k candidate) bool { return last.before(ranked{key: -float64(k.score), tie: -k.id}) })
}

// typicalP sorts the tokens by the distance of −log p from its mean, the entropy. It keeps the fewest first
// ones whose probability is p or more, and those as far as the last of them, as TypicalLogitsWarper does.
func (s *Sampler) typicalP(p float64) {
	total := s.total()
	logTotal := math.Log(total)
	logP := func(k candidate) float64 {
		if k.score == s.best {
			return -logTotal
		}
		return float64(k.score) - float64(s.best) - logTotal
	}
	var entropy float64
	for _, k := range s.kept {
		if k.weight > 0 {
			entropy -= k.weight / total * logP(k)
		}
	}
	s.ranked = s.ranked[:0]
	for _, k := range s.kept {
		s.ranked = append(s.ranked, ranked{key: math.Abs(-logP(k) - entropy), tie: k.id, weight: k.weight})
	}
	last := cut(s.ranked, p*total)
	s.drop(func(k candidate) bool { return math.Abs(-logP(k)-entropy) > last.key })
}
