package sampling

import (
	"math"
	"slices"
)

// filter applies temperature, top-k, top-p, min-p and typical-p to the scores, and leaves in s.kept the
// tokens that can be drawn: at least one, unless all have been ruled out before.
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

// topK keeps the k highest scores and those equal to the last of them: TopKLogitsWarper. One pass over the
// vocabulary keeps a heap of the k highest so far, and every token that was among them then.
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

// weigh finds the highest score, and gives the kept their weights.
func (s *Sampler) weigh() {
	s.best = ruledOut
	for _, k := range s.kept {
		s.best = max(s.best, k.score)
	}
	for i := range s.kept {
		k := &s.kept[i]
		// also where a tiny temperature has made the score infinite, and the difference no number
		k.weight = 1
		if k.score != s.best {
			k.weight = math.Exp(float64(k.score) - float64(s.best))
		}
	}
}

func (s *Sampler) drop(unwanted func(candidate) bool) { s.kept = slices.DeleteFunc(s.kept, unwanted) }

// topP keeps the shortest beginning of the tokens in falling order whose probability is p or more:
// TopPLogitsWarper. Of equal scores at the end of it the highest ids are kept, as a stable ascending sort has
// it there.
func (s *Sampler) topP(p float64) {
	total := s.total()
	// Of n tokens, those with less than (1−p)/n cannot have 1−p together, even all of them: they need no
	// ordering.
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

// typicalP orders tokens by the distance of their surprise −log p from the mean surprise, which is the
// entropy, and keeps the shortest beginning whose probability is p or more, and what is as far as its last
// one: TypicalLogitsWarper.
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
