package sampling

import (
	"math"
	"slices"
)

var ruledOut = float32(math.Inf(-1))

// forbid rules ids out. It ignores ids beyond the vocabulary, which a damaged checkpoint may name.
func forbid(scores []float32, ids []int32) {
	for _, id := range ids {
		if id >= 0 && int(id) < len(scores) {
			scores[id] = ruledOut
		}
	}
}

// addBias adds the biases of OpenAI's logit_bias. Each id has one, so the map's order does not matter.
func addBias(scores []float32, biases map[int32]float32) {
	for id, bias := range biases {
		if id >= 0 && int(id) < len(scores) {
			scores[id] += bias
		}
	}
}

// penalizeText lowers the scores of the ids of text: by the frequency penalty times the number of times that
// the id occurs in it, and by the presence penalty. text is what was generated, without the prompt. OpenAI's
// formula ("Advanced usage", "Parameter details") counts how often a token "was sampled prior to the current
// position". vLLM counts what is "in the generated text so far"
// (https://docs.vllm.ai/en/v0.8.3/api/inference_params.html).
//
// Each operation is rounded to float32, as in vLLM, so that no machine fuses two of them.
func (s *Sampler) penalizeText(text []int32) {
	if s.counts == nil {
		s.counts = make([]int32, len(s.scores))
	}
	for _, id := range text {
		if id >= 0 && int(id) < len(s.scores) {
			s.counts[id]++
		}
	}
	for _, id := range text {
		if id < 0 || int(id) >= len(s.scores) || s.counts[id] == 0 {
			continue
		}
		s.scores[id] -= float32(s.config.FrequencyPenalty * float32(s.counts[id]))
		s.scores[id] -= s.config.PresencePenalty
		s.counts[id] = 0
	}
}

// penalize makes every id that occurred less probable, as RepetitionPenaltyLogitsProcessor does. The number
// of times that it occurred does not matter.
func (s *Sampler) penalize(ids []int32) {
	if s.seen == nil {
		s.seen = make([]uint64, (len(s.scores)+63)/64)
	}
	clear(s.seen)
	r := s.config.RepetitionPenalty
	for _, id := range ids {
		if id < 0 || int(id) >= len(s.scores) || s.seen[id/64]>>(id%64)&1 == 1 {
			continue
		}
		s.seen[id/64] |= 1 << (id % 64)
		if s.scores[id] < 0 {
			s.scores[id] *= r
		} else {
			s.scores[id] /= r
		}
	}
}

// forbidRepeats rules out every id that followed the last n−1 ids at an earlier place, as
// NoRepeatNGramLogitsProcessor does. It finds the places as Knuth, Morris and Pratt do, so the time does not
// grow with n: with a text of one id, comparing at every place would take len(ids)·n steps.
func (s *Sampler) forbidRepeats(ids []int32, n int) {
	if len(ids) < n {
		return
	}
	last := ids[len(ids)-(n-1):]
	if n == 1 {
		forbid(s.scores, ids)
		return
	}
	// borders[i] is the length of the longest part, less than all, that last[:i+1] begins and ends with.
	// next returns how many of the first ids of last a text ends with, if it was k before id.
	s.borders = append(s.borders[:0], 0)
	next := func(k int32, id int32) int32 {
		for k > 0 && last[k] != id {
			k = s.borders[k-1]
		}
		if last[k] == id {
			k++
		}
		return k
	}
	k := int32(0)
	for _, id := range last[1:] {
		k = next(k, id)
		s.borders = append(s.borders, k)
	}
	k = 0
	for i, id := range ids[:len(ids)-1] {
		if k = next(k, id); int(k) == len(last) {
			forbid(s.scores, ids[i+1:i+2])
			k = s.borders[k-1]
		}
	}
}

// forbidWords rules out the ids that would complete one of the words, as NoBadWordsLogitsProcessor does. It
// ignores a word that is one id of eos.
func forbidWords(scores []float32, ids []int32, words [][]int32, eos []int32) {
	for _, word := range words {
		before, last := word[:len(word)-1], word[len(word)-1:]
		switch {
		case len(before) == 0 && slices.Contains(eos, last[0]), len(word) > len(ids) && len(before) > 0:
		case slices.Equal(ids[len(ids)-len(before):], before):
			forbid(scores, last)
		}
	}
}

// force makes ids the only choices, with equal scores, as ForcedBOSTokenLogitsProcessor and
// ForcedEOSTokenLogitsProcessor do.
func force(scores []float32, ids []int32) {
	for i := range scores {
		scores[i] = ruledOut
	}
	for _, id := range ids {
		if id >= 0 && int(id) < len(scores) {
			scores[id] = 0
		}
	}
}
