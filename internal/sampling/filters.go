package sampling

import (
	"math"
	"slices"
)

// A filter is a step of a draw, after the temperature. It works on the tokens that the one before left.
type filter struct {
	name  string // of the field of Config, as in generation_config.json
	apply func(*Sampler)
}

// filters are the filters in their order. The first one starts from the scores and fills s.kept.
var filters = [...]filter{
	{"top_k", (*Sampler).topK},
	{"top_p", (*Sampler).topP},
	{"min_p", (*Sampler).minP},
	{"typical_p", (*Sampler).typicalP},
}

// filter applies temperature, top-k, top-p, min-p and typical-p to the scores. s.kept receives the tokens
// that can be drawn: at least one, unless all were ruled out before.
func (s *Sampler) filter() {
	s.heat()
	for i := range filters {
		filters[i].apply(s)
	}
}

// heat divides the scores by the temperature.
func (s *Sampler) heat() {
	scores, t := s.scores, s.config.Temperature
	if t == 1 {
		return
	}
	for i := range scores {
		scores[i] /= t
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
	s.weigh()
}

// topK keeps the k highest scores and those equal to the last of them, as TopKLogitsWarper does. One pass
// over the vocabulary keeps a heap of the k highest scores so far, and every token that was among them at its
// turn.
func (s *Sampler) topK() {
	k := s.config.TopK
	if k == 0 || k >= len(s.scores) {
		s.all()
		return
	}
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
	s.weigh()
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
func (s *Sampler) topP() {
	p := s.config.TopP
	if p == 1 || len(s.kept) == 0 {
		return
	}
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

// minP keeps the tokens that have this fraction of the highest probability. The weight of the most probable
// token is 1.
func (s *Sampler) minP() {
	if least := s.config.MinP; least > 0 {
		s.drop(func(k candidate) bool { return k.weight < least })
	}
}

// typicalP sorts the tokens by the distance of −log p from its mean, the entropy. It keeps the fewest first
// ones whose probability is p or more, and those as far as the last of them, as TypicalLogitsWarper does.
func (s *Sampler) typicalP() {
	p := s.config.TypicalP
	if p == 1 || len(s.kept) == 0 {
		return
	}
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
